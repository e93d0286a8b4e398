//! Coverage of texts by a vocabulary: letters it has, letters it lacks, and what normalisation drops.

use super::Vocab;
use super::letters::{is_apostrophe, is_dash, is_invisible, is_optional_point, is_punctuation};
use std::collections::BTreeMap;

/// Counts over texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Coverage {
    pub texts: usize,
    /// Texts with a letter that has no token.
    pub affected: usize,
    /// Tokens found, by how often.
    pub found: BTreeMap<String, usize>,
    /// Letters without a token.
    pub lacking: BTreeMap<String, usize>,
    /// Punctuation and the like that normalisation drops.
    pub dropped: BTreeMap<char, usize>,
}

impl Vocab {
    pub fn coverage<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> Coverage {
        let mut all = Coverage::default();
        for text in texts {
            self.add_coverage(text, &mut all);
        }
        all
    }

    fn add_coverage(&self, text: &str, all: &mut Coverage) {
        all.texts += 1;
        let mut whole = true;
        for piece in self.words(text).iter().flatten() {
            match self.segment(piece) {
                Ok(ids) => ids.into_iter().filter_map(|i| self.token(i)).for_each(|t| {
                    *all.found.entry(t.into()).or_default() += 1;
                }),
                Err(first) => {
                    whole = false;
                    self.add_lacking(piece, first, all);
                }
            }
        }
        all.affected += !whole as usize;
        for c in text.chars().filter(|c| self.drops(*c)) {
            *all.dropped.entry(c).or_default() += 1;
        }
    }

    /// Every letter of a piece that is in no token, or else the one that its tokens stop at.
    fn add_lacking(&self, piece: &str, first: String, all: &mut Coverage) {
        let strangers: Vec<String> = piece
            .chars()
            .filter(|c| self.segment(&c.to_string()).is_err() && !self.knows(*c))
            .map(String::from)
            .collect();
        let named = if strangers.is_empty() { vec![first] } else { strangers };
        for letter in named {
            *all.lacking.entry(letter).or_default() += 1;
        }
    }

    fn drops(&self, c: char) -> bool {
        let mark = is_invisible(c) || is_optional_point(c) || is_dash(c) || is_punctuation(c);
        let kept = self.knows(c) || self.rules.keep_punctuation || is_apostrophe(c, Some('a'), Some('a'));
        mark && !kept && !c.is_whitespace() && c != '|'
    }
}

impl Coverage {
    /// The letters that are lacking with their counts, the most frequent first, ten at most.
    pub fn describe_lacking(&self) -> String {
        describe(self.lacking.iter().map(|(t, n)| (t.clone(), *n)).collect())
    }

    /// What is dropped, in the same form.
    pub fn describe_dropped(&self) -> String {
        describe(self.dropped.iter().map(|(c, n)| (c.to_string(), *n)).collect())
    }
}

fn describe(mut counts: Vec<(String, usize)>) -> String {
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let shown: Vec<String> = counts
        .iter()
        .take(10)
        .map(|(t, n)| format!("{} ({n})", name(t)))
        .collect();
    match counts.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A letter as it can be read: what has no shape alone by its code point too.
pub(crate) fn name(letter: &str) -> String {
    let mut letters = letter.chars();
    match (letters.next(), letters.next()) {
        (Some(c), None) if !c.is_alphanumeric() && !c.is_ascii_graphic() => format!("`{c}` U+{:04X}", c as u32),
        _ => format!("`{letter}`"),
    }
}
