//! Tokens in a word: the longest first, as long as the rest of the word has tokens too.

use super::Vocab;
use super::letters::is_lone_jamo;
use unicode_normalization::UnicodeNormalization;

impl Vocab {
    /// The numbers of the tokens that a cleaned word is made of, or its first letter that has none.
    pub(super) fn segment(&self, word: &str) -> Result<Vec<usize>, String> {
        let letters = self.expand(word);
        if self.index.longest <= 1 {
            let id = |c: &char| self.lookup(std::slice::from_ref(c)).ok_or_else(|| c.to_string());
            return letters.iter().map(id).collect();
        }
        // Per place the length of the longest token after which the rest can be written, from the end on.
        let n = letters.len();
        let mut length = vec![None; n + 1];
        length[n] = Some(0);
        for at in (0..n).rev() {
            let most = self.index.longest.min(n - at);
            let fits = |l: &usize| length[at + l].is_some() && self.lookup(&letters[at..at + l]).is_some();
            length[at] = (1..=most).rev().find(fits);
        }
        if length[0].is_none() {
            return Err(self.stranger(&letters));
        }
        let (mut at, mut ids) = (0, vec![]);
        while at < n {
            let next = at + length[at].unwrap_or(n);
            ids.extend(self.lookup(&letters[at..next]));
            at = next;
        }
        Ok(ids)
    }

    fn lookup(&self, letters: &[char]) -> Option<usize> {
        let token: String = letters.iter().collect();
        self.index.ids.get(&token).copied()
    }

    /// The letter at which the longest tokens, one after the other, end.
    fn stranger(&self, letters: &[char]) -> String {
        let mut at = 0;
        while at < letters.len() {
            let most = self.index.longest.min(letters.len() - at);
            let Some(found) = (1..=most).rev().find(|l| self.lookup(&letters[at..at + l]).is_some()) else {
                return letters[at].to_string();
            };
            at += found;
        }
        letters.iter().collect()
    }

    /// Letters, those without a token taken apart where their parts have tokens: syllables to jamo, letters to letter and mark.
    fn expand(&self, word: &str) -> Vec<char> {
        let mut out = vec![];
        for c in word.chars() {
            let parts: Vec<char> = if self.knows(c) || !self.composes() {
                vec![c]
            } else if is_lone_jamo(c) {
                std::iter::once(c).nfkd().collect()
            } else {
                std::iter::once(c).nfd().collect()
            };
            if parts.iter().all(|p| self.knows(*p)) {
                out.extend(parts);
            } else {
                out.push(c);
            }
        }
        out
    }
}
