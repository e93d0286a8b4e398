//! Tokens and their numbers, and text as tokens.
//!
//! `rules` says what a user may turn off, `clean` brings texts to the vocabulary's letters, `segment` finds tokens in words,
//! `read` opens vocabularies, `make` makes one of texts, `coverage` counts what a vocabulary lacks.

mod case;
mod clean;
mod coverage;
mod ctc;
mod letters;
mod make;
mod read;
mod rules;
mod segment;
#[cfg(test)]
mod tests;

pub use coverage::Coverage;
pub(crate) use coverage::name as readable;
pub use ctc::{best_path, frames_needed};
pub use make::make;
pub(crate) use read::RULES;
pub use read::Roles;
pub use rules::{Rules, Units};

use case::Case;
use letters::{is_jamo, is_special};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use unicode_normalization::UnicodeNormalization;

/// The output classes of a CTC head: one is the blank, one may end words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vocab {
    /// By number, as they are written in files. Empty: a number without a token.
    tokens: Vec<String>,
    roles: Roles,
    rules: Rules,
    index: Index,
}

/// What is looked up while texts are read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Index {
    /// Tokens that texts are made of, in their normal form.
    ids: BTreeMap<String, usize>,
    /// The characters of these.
    chars: BTreeSet<char>,
    /// Characters of the longest of these.
    longest: usize,
    /// Tokens that are never written out: blank, unknown, start, end.
    silent: BTreeSet<usize>,
    blank: usize,
    word_end: Option<usize>,
    case: Option<Case>,
    turkic: bool,
    jamo: bool,
}

pub const WORD_END: &str = "|";

/// Names of the token that ends a word, the usual one first.
const WORD_ENDS: [&str; 4] = [WORD_END, " ", "<space>", "\u{2581}"];

/// Names of the padding token, which is the blank.
const BLANKS: [&str; 6] = ["<pad>", "[PAD]", "<blank>", "[BLANK]", "<ctc_blank>", "<s>"];

/// The letters of the published English checkpoints, in their order.
const DEFAULT: &[&str] = &[
    "<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "A", "O", "N", "I", "H", "S", "R", "D", "L", "U", "M", "W", "C",
    "F", "G", "Y", "P", "B", "V", "K", "'", "X", "J", "Q", "Z",
];

impl Default for Vocab {
    fn default() -> Self {
        Vocab::new(DEFAULT.iter().map(|t| t.to_string()).collect())
    }
}

impl Vocab {
    /// Numbers the tokens in order; what they are for is told by their usual names.
    pub fn new(tokens: Vec<String>) -> Vocab {
        Vocab::with(tokens, Roles::default(), Rules::default())
    }

    /// Numbers the tokens in order. The blank is the one that `roles` names, else the one with a usual name, else number 0.
    pub fn with(tokens: Vec<String>, roles: Roles, rules: Rules) -> Vocab {
        let index = Index::new(&tokens, &roles, rules);
        Vocab {
            tokens,
            roles,
            rules,
            index,
        }
    }

    /// The same tokens under other rules.
    pub fn with_rules(self, rules: Rules) -> Vocab {
        Vocab::with(self.tokens, self.roles, rules)
    }

    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// The same tokens with the blank as number 0, which the loss takes for the blank, and per new number the old one.
    pub fn blank_first(&self) -> (Vocab, Vec<usize>) {
        let blank = self.blank();
        let order: Vec<usize> = std::iter::once(blank)
            .chain((0..self.len()).filter(|i| *i != blank))
            .collect();
        let tokens = order.iter().map(|i| self.tokens[*i].clone()).collect();
        let roles = Roles {
            blank: Some(self.tokens[blank].clone()),
            ..self.roles.clone()
        };
        (Vocab::with(tokens, roles, self.rules), order)
    }

    /// The first `count` tokens.
    pub(crate) fn truncated(&self, count: usize) -> Vocab {
        Vocab::with(self.tokens[..count].to_vec(), self.roles.clone(), self.rules)
    }

    pub fn to_json(&self) -> String {
        let named = self.tokens.iter().enumerate().filter(|(_, t)| !t.is_empty());
        let map: Map<String, Value> = named.map(|(i, t)| (t.clone(), i.into())).collect();
        serde_json::to_string_pretty(&Value::Object(map)).expect("strings and numbers always serialise")
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The class that says nothing.
    pub fn blank(&self) -> usize {
        self.index.blank
    }

    /// The class that ends a word.
    pub fn word_end(&self) -> Option<usize> {
        self.index.word_end
    }

    /// The token of a number, as it is written in files.
    pub fn token(&self, id: usize) -> Option<&str> {
        self.tokens.get(id).map(String::as_str).filter(|t| !t.is_empty())
    }

    /// The number of a token by its name in files.
    pub fn id(&self, token: &str) -> Option<usize> {
        self.tokens
            .iter()
            .position(|t| t == token)
            .filter(|_| !token.is_empty())
    }

    pub fn writes_lower_case(&self) -> bool {
        self.roles.lower_output
    }

    pub fn has_jamo(&self) -> bool {
        self.index.jamo
    }

    /// Whether a token is for the machinery (blank, unknown, start, end), not for texts.
    pub fn is_silent(&self, id: usize) -> bool {
        self.index.silent.contains(&id)
    }

    /// The number that another vocabulary has for the same token: blank and end of word by what they are for, unknown tokens
    /// by being unknown, letters by their normal form.
    pub fn same_in(&self, id: usize, other: &Vocab) -> Option<usize> {
        if id == self.blank() {
            return Some(other.blank());
        }
        if Some(id) == self.word_end() {
            return other.word_end();
        }
        let token = self.token(id)?;
        if self.is_silent(id) {
            let unknown = |t: &str| ["<unk>", "[UNK]"].contains(&t);
            let same = |i: &usize| {
                *i != other.blank()
                    && other
                        .token(*i)
                        .is_some_and(|t| t == token || unknown(t) && unknown(token))
            };
            return (0..other.len()).find(same);
        }
        other.index.ids.get(&token.nfc().collect::<String>()).copied()
    }

    /// Whether spaces of a text separate tokens of one word.
    fn spaces_separate_tokens(&self) -> bool {
        self.rules.units == Units::Tokens || self.index.word_end.is_none() && self.index.longest > 1
    }

    /// Whether texts are composed to Unicode's normal form.
    fn composes(&self) -> bool {
        self.rules.nfc || self.rules.units == Units::Jamo
    }

    /// A text as the vocabulary can write it: in its case, with single spaces, without punctuation that has no token. What
    /// else it cannot write stays. `decode` of a path that spells `encode(text)` gives the same.
    pub fn normalize(&self, text: &str) -> String {
        let words = self.words(text).into_iter();
        if !self.spaces_separate_tokens() {
            let gap = if self.index.word_end.is_some() { " " } else { "" };
            return self.finish(words.map(|pieces| pieces.concat()).collect::<Vec<_>>().join(gap));
        }
        let spell = |piece: String| match self.segment(&piece) {
            Ok(ids) => ids
                .iter()
                .map(|i| self.tokens[*i].as_str())
                .collect::<Vec<_>>()
                .join(" "),
            Err(_) => piece,
        };
        let words = words.map(|pieces| pieces.into_iter().map(spell).collect::<Vec<_>>().join(" "));
        let gap = if self.index.word_end.is_some() { " | " } else { " " };
        self.finish(words.collect::<Vec<_>>().join(gap))
    }

    /// Labels of a text: its tokens, and after every word, the last included, the token that ends words, as in fairseq's
    /// `.ltr` files. Fails with the first letter that has no token.
    pub fn encode(&self, text: &str) -> Result<Vec<i32>, String> {
        let mut labels = vec![];
        for pieces in self.words(text) {
            for piece in pieces {
                labels.extend(self.segment(&piece)?.into_iter().map(|i| i as i32));
            }
            labels.extend(self.index.word_end.map(|i| i as i32));
        }
        Ok(labels)
    }

    /// Text of best-path CTC classes: repeats collapsed, blanks and special tokens dropped, ends of words as spaces.
    pub fn decode(&self, classes: &[usize]) -> String {
        let mut last = self.blank();
        let mut spoken = vec![];
        for class in classes {
            if *class != last && *class != self.blank() && !self.is_silent(*class) {
                spoken.push(*class);
            }
            last = *class;
        }
        let separate = self.spaces_separate_tokens();
        let (between, end) = match (separate, self.rules.units) {
            (false, _) => ("", " "),
            (true, _) => (" ", WORD_END),
        };
        let written = spoken.into_iter().filter_map(|id| match self.index.word_end {
            Some(own) if own == id => Some(end),
            _ => self.token(id),
        });
        let text = written.collect::<Vec<_>>().join(between);
        // Ends of words that follow each other, or come first or last, end no word.
        let words = text.split(if separate { WORD_END } else { " " });
        let words = words.map(|w| w.split_whitespace().collect::<Vec<_>>().join(" "));
        let words: Vec<String> = words.filter(|w| !w.is_empty()).collect();
        self.finish(words.join(if separate { " | " } else { " " }))
    }

    /// What is done to every text that is written.
    fn finish(&self, text: String) -> String {
        let text = if self.composes() { text.nfc().collect() } else { text };
        if self.roles.lower_output {
            text.to_lowercase()
        } else {
            text
        }
    }
}

impl Index {
    fn new(tokens: &[String], roles: &Roles, rules: Rules) -> Index {
        let find = |name: &str| tokens.iter().position(|t| t == name && !t.is_empty());
        let named = |own: &Option<String>, usual: &[&str]| {
            own.as_deref()
                .and_then(find)
                .or_else(|| usual.iter().find_map(|n| find(n)))
        };
        let blank = named(&roles.blank, &BLANKS).or(roles.blank_id).unwrap_or(0);
        let word_end = named(&roles.word_end, &WORD_ENDS);
        let machinery = |(i, t): &(usize, &String)| {
            *i == blank || Some(*i) != word_end && (is_special(t) || roles.special.contains(*t))
        };
        let silent: BTreeSet<usize> = tokens.iter().enumerate().filter(machinery).map(|(i, _)| i).collect();
        let mut index = Index {
            silent,
            blank,
            word_end,
            ..Index::default()
        };
        for (i, token) in tokens.iter().enumerate() {
            if token.is_empty() || index.silent.contains(&i) || Some(i) == word_end {
                continue;
            }
            let form: String = if rules.nfc {
                token.nfc().collect()
            } else {
                token.clone()
            };
            index.longest = index.longest.max(form.chars().count());
            index.chars.extend(form.chars());
            // The first of tokens that are the same in their normal form serves.
            index.ids.entry(form).or_insert(i);
        }
        index.case = Case::of(index.chars.iter().copied()).filter(|_| rules.fold_case);
        index.turkic = case::is_turkic(index.chars.iter().copied());
        index.jamo = index.chars.iter().any(|c| is_jamo(*c));
        index
    }
}
