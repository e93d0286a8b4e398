//! The classes of a matrix, and what they are for.

/// What the columns of a matrix of log-probabilities mean.
#[derive(Clone, Debug)]
pub struct Alphabet {
    /// What each class writes; empty: nothing.
    pub tokens: Vec<String>,
    /// The class of the CTC blank.
    pub blank: usize,
    /// The class that ends words.
    pub word_end: Option<usize>,
    /// Classes that are never part of a text, besides the blank.
    pub silent: Vec<bool>,
}

impl Alphabet {
    /// Tokens in angle brackets are silent.
    pub fn new(tokens: Vec<String>, blank: usize, word_end: Option<usize>) -> Alphabet {
        let machinery = |t: &String| t.is_empty() || t.len() > 2 && t.starts_with('<') && t.ends_with('>');
        Alphabet {
            silent: tokens.iter().map(machinery).collect(),
            tokens,
            blank,
            word_end,
        }
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are no classes.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Whether a class is a letter: neither blank, nor end of word, nor silent.
    pub fn is_letter(&self, class: usize) -> bool {
        class != self.blank && Some(class) != self.word_end && !self.silent[class]
    }

    /// What letters write one after the other.
    pub fn write(&self, letters: &[u32]) -> String {
        letters.iter().map(|c| self.tokens[*c as usize].as_str()).collect()
    }

    /// The classes of a word, if each of its characters is one.
    pub fn spell(&self, word: &str) -> Option<Vec<u32>> {
        let mut text = [0; 4];
        let class = |c: char| {
            let c: &str = c.encode_utf8(&mut text);
            (0..self.len()).find(|i| self.is_letter(*i) && self.tokens[*i] == c)
        };
        word.chars().map(class).map(|c| c.map(|c| c as u32)).collect()
    }
}
