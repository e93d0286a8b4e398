//! Texts to words in the vocabulary's letters.

use super::letters::{
    APOSTROPHE, JOINERS, is_apostrophe, is_dash, is_invisible, is_lone_jamo, is_optional_point, is_punctuation,
    is_special,
};
use super::{Vocab, WORD_END};
use unicode_normalization::UnicodeNormalization;

/// A dot that lower case leaves on an i that has one.
const DOT_ABOVE: char = '\u{307}';

impl Vocab {
    /// The pieces of each word, cleaned. A word has one piece, or one per token where spaces separate tokens.
    pub(super) fn words(&self, text: &str) -> Vec<Vec<String>> {
        let ends_words = |piece: &str| piece == WORD_END;
        let separated = self.spaces_separate_tokens() || text.split_whitespace().any(ends_words);
        if !separated {
            return self.pieces(text).into_iter().map(|word| vec![word]).collect();
        }
        let mut words = vec![vec![]];
        for piece in text.split_whitespace() {
            if ends_words(piece) {
                words.push(vec![]);
            } else {
                let word = words.last_mut().expect("there is always a word to add to");
                let parts = piece.split('|').filter(|part| !self.is_event(part));
                word.extend(parts.flat_map(|part| self.pieces(part)));
            }
        }
        words.retain(|w| !w.is_empty());
        if self.index.word_end.is_none() {
            words = vec![words.concat()];
            words.retain(|w| !w.is_empty());
        }
        words
    }

    /// Whether a token of a text stands for something that is not said: `<noise>`, `[laugh]`. Vocabularies never write such
    /// tokens, and so they are not read either.
    fn is_event(&self, piece: &str) -> bool {
        let composed: String = if self.composes() {
            piece.nfc().collect()
        } else {
            piece.into()
        };
        self.spaces_separate_tokens() && is_special(&composed)
    }

    /// What spaces separate in the cleaned text, without joiners that have nothing to join.
    fn pieces(&self, text: &str) -> Vec<String> {
        let joiners: &[char] = if self.spaces_separate_tokens() { &[] } else { &JOINERS };
        let clean = self.clean(text);
        let words = clean.split_whitespace().map(|w| w.trim_matches(joiners));
        words.filter(|w| !w.is_empty()).map(String::from).collect()
    }

    pub(super) fn knows(&self, c: char) -> bool {
        self.index.chars.contains(&c)
    }

    /// Case folded, apostrophes made alike, and dropped what has no sound; spaces where words part.
    fn clean(&self, text: &str) -> String {
        let composed: String = if self.composes() {
            text.nfc().collect()
        } else {
            text.into()
        };
        let cased = match self.index.case {
            Some(case) => case.apply(&composed, &|c| self.knows(c), self.index.turkic),
            None => composed,
        };
        // Before neighbours are looked at, what cannot be seen between them goes.
        let seen = |c: &char| self.knows(*c) || !(JOINERS.contains(c) || is_invisible(*c) || is_optional_point(*c));
        let letters: Vec<char> = cased.chars().filter(|c| c.is_whitespace() || seen(c)).collect();
        let mut out = String::with_capacity(cased.len());
        for (i, c) in letters.iter().enumerate() {
            let before = i.checked_sub(1).map(|b| letters[b]);
            self.letter(*c, before, letters.get(i + 1).copied(), &mut out);
        }
        if self.composes() { out.nfc().collect() } else { out }
    }

    /// Adds what a character becomes.
    fn letter(&self, c: char, before: Option<char>, after: Option<char>, out: &mut String) {
        let keep = self.rules.keep_punctuation;
        match c {
            _ if c.is_whitespace() || c == '|' => out.push(' '),
            _ if self.knows(c) => out.push(c),
            DOT_ABOVE if out.ends_with('i') => {}
            _ if is_apostrophe(c, before, after) => match self.apostrophe() {
                Some(own) => out.push(own),
                None if keep => out.push(c),
                None => {}
            },
            _ if self.index.jamo && is_lone_jamo(c) => out.extend(std::iter::once(c).nfkd()),
            _ if keep => out.push(c),
            _ if is_dash(c) => out.push(' '),
            _ if is_punctuation(c) => {}
            _ => out.push(c),
        }
    }

    /// The vocabulary's own apostrophe.
    fn apostrophe(&self) -> Option<char> {
        let usual = [APOSTROPHE, '\u{2019}', '\u{2bc}', '\u{2bb}'];
        usual.into_iter().find(|c| self.knows(*c))
    }
}
