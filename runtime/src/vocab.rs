//! Letters and their numbers, and text as letters.

use crate::error::Error;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// The output classes of a CTC head: one is the blank, `|` ends a word.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocab {
    tokens: Vec<String>,
    ids: BTreeMap<String, usize>,
    blank: usize,
}

pub const WORD_END: &str = "|";

/// Names of the padding token, which Hugging Face takes for the blank.
const PADDING: [&str; 2] = ["<pad>", "[PAD]"];

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
    /// Numbers the tokens in order. The blank is the padding token where there is one, else 0.
    pub fn new(tokens: Vec<String>) -> Vocab {
        let ids: BTreeMap<String, usize> = tokens.iter().enumerate().map(|(i, t)| (t.clone(), i)).collect();
        let blank = PADDING.iter().find_map(|p| ids.get(*p)).copied().unwrap_or(0);
        Vocab { tokens, ids, blank }
    }

    /// Reads `vocab.json` (token: number) or fairseq's `dict.ltr.txt` (`token count` per line, after the four tokens
    /// that fairseq puts first; its `<s>`, number 0, is its blank).
    pub fn read(path: &Path) -> Result<Vocab, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let wrong = |what: String| {
            Error::data(
                path.display(),
                what,
                "write one number per token, 0 to N-1, 0 the blank",
            )
        };
        if path.extension().is_none_or(|e| e != "json") {
            let mut tokens: Vec<String> = ["<s>", "<pad>", "</s>", "<unk>"].map(String::from).to_vec();
            for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
                let Some((token, count)) = line.rsplit_once(' ') else {
                    return Err(wrong(format!("line {} is not `token count`", i + 1)));
                };
                if count.parse::<u64>().is_err() {
                    return Err(wrong(format!("line {}: `{count}` is no count", i + 1)));
                }
                tokens.push(token.to_string());
            }
            return Ok(Vocab {
                blank: 0,
                ..Vocab::new(tokens)
            });
        }
        let map: Map<String, Value> =
            serde_json::from_str(&text).map_err(|e| wrong(format!("not a JSON object: {e}")))?;
        let mut tokens = vec![None; map.len()];
        for (token, id) in map {
            match id.as_u64().and_then(|i| tokens.get_mut(i as usize)) {
                Some(place @ None) => *place = Some(token),
                _ => return Err(wrong(format!("token `{token}` has the number {id}"))),
            }
        }
        // Every place is filled: as many distinct numbers below the count as tokens.
        Ok(Vocab::new(tokens.into_iter().flatten().collect()))
    }

    pub fn to_json(&self) -> String {
        let map: Map<String, Value> = self
            .tokens
            .iter()
            .enumerate()
            .map(|(i, t)| (t.clone(), i.into()))
            .collect();
        serde_json::to_string_pretty(&Value::Object(map)).expect("strings and numbers always serialise")
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The class that says nothing.
    pub fn blank(&self) -> usize {
        self.blank
    }

    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    pub fn token(&self, id: usize) -> Option<&str> {
        self.tokens.get(id).map(String::as_str)
    }

    /// Text in the letters' case, with single spaces between words and without punctuation that has no number.
    pub fn normalize(&self, text: &str) -> String {
        let upper = self.ids.contains_key("A") || !self.ids.contains_key("a");
        let cased = if upper {
            text.to_uppercase()
        } else {
            text.to_lowercase()
        };
        let mut out = String::with_capacity(cased.len());
        for c in cased.chars() {
            let c = if c == '\u{2019}' { '\'' } else { c };
            let known = self.ids.contains_key(c.encode_utf8(&mut [0; 4]) as &str);
            match c {
                '|' => out.push(' '),
                _ if known => out.push(c),
                '-' | '/' | '\u{2013}' | '\u{2014}' => out.push(' '),
                _ if c.is_ascii_punctuation()
                    || "\u{201c}\u{201d}\u{2018}\u{2026}\u{ab}\u{bb}\u{a1}\u{bf}".contains(c) => {}
                _ => out.push(c),
            }
        }
        out.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Labels of a text: its letters and `|` after every word, the last included, as in fairseq's `.ltr` files.
    /// Fails with the first letter that has no number.
    pub fn encode(&self, text: &str) -> Result<Vec<i32>, char> {
        let mut labels = vec![];
        for word in self.normalize(text).split(' ').filter(|w| !w.is_empty()) {
            for c in word.chars() {
                labels.push(*self.ids.get(c.encode_utf8(&mut [0; 4]) as &str).ok_or(c)? as i32);
            }
            labels.push(*self.ids.get(WORD_END).ok_or('|')? as i32);
        }
        Ok(labels)
    }

    /// Text of best-path CTC classes: repeats collapsed, blanks and special tokens dropped, `|` a space.
    pub fn decode(&self, classes: &[usize]) -> String {
        let mut out = String::new();
        let mut last = self.blank;
        for class in classes {
            if *class != last && *class != self.blank {
                match self.token(*class) {
                    Some(WORD_END) => out.push(' '),
                    Some(t) if !is_special(t) => out.push_str(t),
                    _ => {}
                }
            }
            last = *class;
        }
        out.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// `<unk>`, `[UNK]` and their like.
fn is_special(token: &str) -> bool {
    let within = |open, close| token.starts_with(open) && token.ends_with(close);
    token.len() > 1 && (within('<', '>') || within('[', ']'))
}

/// The most likely class of each frame of logits [T, V]; the first of equals.
pub fn best_path(logits: &[f32], classes: usize) -> Vec<usize> {
    logits
        .chunks_exact(classes)
        .map(|row| {
            row.iter()
                .enumerate()
                .fold(0, |best, (i, v)| if *v > row[best] { i } else { best })
        })
        .collect()
}

/// Frames CTC needs for labels: one each, and a blank between equal neighbours.
pub fn frames_needed(labels: &[i32]) -> usize {
    labels.len() + labels.windows(2).filter(|w| w[0] == w[1]).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_path_that_spells_a_text_decodes_to_it(text in "[A-Z']{1,6}( [A-Z']{1,6}){0,4}", repeats in 1usize..4) {
            let vocab = Vocab::default();
            let labels = vocab.encode(&text).unwrap();
            let mut path = vec![];
            for (i, l) in labels.iter().enumerate() {
                if i > 0 && labels[i - 1] == *l {
                    path.push(vocab.blank());
                }
                path.extend(std::iter::repeat_n(*l as usize, repeats));
            }
            prop_assert_eq!(vocab.decode(&path), text);
            if repeats == 1 {
                prop_assert_eq!(path.len(), frames_needed(&labels));
            }
        }
    }

    #[test]
    fn text_is_normalised_and_strangers_are_named() {
        let vocab = Vocab::default();
        assert_eq!(
            vocab.normalize("  it\u{2019}s well-known,\tisn't it?"),
            "IT'S WELL KNOWN ISN'T IT"
        );
        assert_eq!(vocab.encode("take 7"), Err('7'));
        assert_eq!(vocab.encode("A B"), Ok(vec![7, 4, 24, 4]));
    }

    #[test]
    fn files_read_back_and_gaps_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vocab.json");
        std::fs::write(&path, Vocab::default().to_json()).unwrap();
        assert_eq!(Vocab::read(&path).unwrap(), Vocab::default());
        std::fs::write(&path, r#"{"<pad>": 0, "A": 2}"#).unwrap();
        assert!(Vocab::read(&path).unwrap_err().to_string().contains("`A`"));
        let dict = dir.path().join("dict.ltr.txt");
        std::fs::write(&dict, "| 94802\nE 51860\n").unwrap();
        assert_eq!(Vocab::read(&dict).unwrap().encode("e e"), Ok(vec![5, 4, 5, 4]));
    }
}
