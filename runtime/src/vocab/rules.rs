//! How texts become tokens: what a user may turn on and off, kept with a run.

use serde::{Deserialize, Serialize};

/// What a token stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Units {
    /// Letters of words. Tokens of several letters are found in a word, the longest first.
    #[default]
    Letters,
    /// The letters that Korean syllables are made of; output is composed to syllables again.
    Jamo,
    /// Whatever spaces separate: phonemes and the like. `|` ends a word where there is such a token.
    Tokens,
}

impl Units {
    pub const NAMES: [&'static str; 3] = ["letters", "jamo", "tokens"];

    pub fn parse(name: &str) -> Option<Units> {
        [Units::Letters, Units::Jamo, Units::Tokens]
            .into_iter()
            .zip(Units::NAMES)
            .find_map(|(units, own)| (own == name).then_some(units))
    }
}

/// Rules of text normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// Unicode's composed normal form, on tokens and texts.
    pub nfc: bool,
    /// Texts take the case of a vocabulary that has one case.
    pub fold_case: bool,
    /// Punctuation without a token is an unknown letter instead of being dropped.
    pub keep_punctuation: bool,
    pub units: Units,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            nfc: true,
            fold_case: true,
            keep_punctuation: false,
            units: Units::Letters,
        }
    }
}
