//! Words that may come out, as a tree of their letters.

use crate::alphabet::Alphabet;
use crate::error::Error;
use crate::lm::{Model, State, UNKNOWN, Word};
use flate2::read::MultiGzDecoder;
use std::io::Read;
use std::path::Path;

/// A word with a spelling.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What is written for it; what its letters write where there is none.
    pub text: Option<String>,
    /// Its number in the language model.
    pub word: Word,
}

/// A tree of letters, breadth first: the children of a node follow each other, in order of their classes.
#[derive(Clone, Debug)]
pub struct Lexicon {
    classes: Vec<u32>,
    /// Per node its first child; one more at the end.
    first: Vec<u32>,
    /// Per node its first entry; one more at the end.
    ends: Vec<u32>,
    /// Per node the most that a word below it is worth by itself, log10.
    best: Vec<f32>,
    entries: Vec<Entry>,
}

impl Lexicon {
    /// A lexicon of spellings. Where one spelling has several entries without texts, the likeliest stays.
    pub fn new(words: Vec<(Vec<u32>, Entry)>, model: Option<&Model>) -> Lexicon {
        let (none, mut next) = (State::default(), State::default());
        let mut worth = |word: Word| model.map_or(0.0, |m| m.score(&none, word, &mut next).log10);
        let mut words: Vec<(Vec<u32>, Entry, f32)> = words
            .into_iter()
            .filter(|(spelling, _)| !spelling.is_empty())
            .map(|(spelling, entry)| {
                let worth = worth(entry.word);
                (spelling, entry, worth)
            })
            .collect();
        words.sort_by(|a, b| {
            let by_worth = b.2.total_cmp(&a.2).then(a.1.word.cmp(&b.1.word));
            a.0.cmp(&b.0).then_with(|| a.1.text.cmp(&b.1.text)).then(by_worth)
        });
        words.dedup_by(|later, kept| later.0 == kept.0 && later.1.text == kept.1.text);
        let mut lexicon = Lexicon {
            classes: vec![u32::MAX],
            first: vec![],
            ends: vec![],
            best: vec![],
            entries: vec![],
        };
        // Nodes in the order in which they are numbered: a range of words with the same beginning, and its length.
        let mut queue = std::collections::VecDeque::from([(0, words.len(), 0)]);
        while let Some((from, to, depth)) = queue.pop_front() {
            lexicon.first.push(lexicon.classes.len() as u32);
            lexicon.ends.push(lexicon.entries.len() as u32);
            let best = words[from..to].iter().map(|w| w.2).fold(f32::NEG_INFINITY, f32::max);
            lexicon.best.push(best);
            let mut at = from;
            while at < to && words[at].0.len() == depth {
                lexicon.entries.push(words[at].1.clone());
                at += 1;
            }
            while at < to {
                let class = words[at].0[depth];
                let size = words[at..to].partition_point(|w| w.0[depth] == class);
                lexicon.classes.push(class);
                queue.push_back((at, at + size, depth + 1));
                at += size;
            }
        }
        lexicon.first.push(lexicon.classes.len() as u32);
        lexicon.ends.push(lexicon.entries.len() as u32);
        lexicon
    }

    /// The words of a language model that can be spelled; `None` where its file does not have them.
    ///
    /// # Errors
    /// Where the file's words are damaged.
    pub fn of_model(model: &Model, spell: &dyn Fn(&str) -> Option<Vec<u32>>) -> Result<Option<Lexicon>, Error> {
        if !model.has_words() {
            return Ok(None);
        }
        let special = ["<s>", "</s>", "<unk>", "<UNK>"];
        let mut words = vec![];
        for (id, name) in model.words()?.into_iter().enumerate() {
            if let Some(spelling) = spell(name).filter(|_| !special.contains(&name)) {
                words.push((
                    spelling,
                    Entry {
                        text: None,
                        word: id as Word,
                    },
                ));
            }
        }
        Ok(Some(Lexicon::new(words, Some(model))))
    }

    /// Reads `WORD TAB S P E L L I N G |` lines, or words alone, which are spelled by their letters.
    ///
    /// # Errors
    /// Where it cannot be read, or a spelling has a token that the alphabet lacks, or no word can be spelled.
    pub fn open(
        path: &Path,
        alphabet: &Alphabet,
        model: Option<&Model>,
        spell: &dyn Fn(&str) -> Option<Vec<u32>>,
    ) -> Result<(Lexicon, Skipped), Error> {
        let text = read_text(path)?;
        let (mut words, mut skipped) = (vec![], Skipped::default());
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let place = || format!("{}:{}", path.display(), number + 1);
            let (word, spelling) = match line.split_once('\t').or_else(|| line.split_once(' ')) {
                Some((word, spelling)) => (word, Some(spelling)),
                None => (line, None),
            };
            let spelling = match spelling {
                Some(tokens) => Some(classes(tokens, alphabet).map_err(|token| {
                    Error::file(
                        place(),
                        format!("the vocabulary has no token `{token}`"),
                        "write `WORD<TAB>S P E L L I N G |` in tokens of the vocabulary, or one word a line",
                    )
                })?),
                None => spell(word),
            };
            match spelling.filter(|s| !s.is_empty()) {
                Some(spelling) => {
                    let number = model.map_or(UNKNOWN, |m| known(m, word));
                    skipped.unknown += (model.is_some() && number == UNKNOWN) as usize;
                    words.push((
                        spelling,
                        Entry {
                            text: Some(word.to_string()),
                            word: number,
                        },
                    ));
                }
                None => {
                    skipped.count += 1;
                    skipped.first.get_or_insert_with(|| word.to_string());
                }
            }
        }
        if words.is_empty() {
            return Err(Error::file(
                path.display(),
                "none of its words can be written in the letters of the vocabulary",
                "give one word a line, or `WORD<TAB>S P E L L I N G |`",
            ));
        }
        Ok((Lexicon::new(words, model), skipped))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An entry by its number.
    pub fn entry(&self, number: u32) -> &Entry {
        &self.entries[number as usize]
    }

    pub(crate) fn child(&self, node: u32, class: u32) -> Option<u32> {
        let (from, to) = (self.first[node as usize], self.first[node as usize + 1]);
        let classes = &self.classes[from as usize..to as usize];
        classes.binary_search(&class).ok().map(|i| from + i as u32)
    }

    pub(crate) fn children(&self, node: u32) -> std::ops::Range<u32> {
        self.first[node as usize]..self.first[node as usize + 1]
    }

    /// The last letter of a node's words.
    pub(crate) fn class(&self, node: u32) -> u32 {
        self.classes[node as usize]
    }

    pub(crate) fn entries(&self, node: u32) -> std::ops::Range<u32> {
        self.ends[node as usize]..self.ends[node as usize + 1]
    }

    pub(crate) fn best(&self, node: u32) -> f32 {
        self.best[node as usize]
    }
}

/// Words of a lexicon that cannot come out or that the language model lacks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Skipped {
    /// Words that the vocabulary cannot write.
    pub count: usize,
    /// The first of them.
    pub first: Option<String>,
    /// Words that the language model lacks.
    pub unknown: usize,
}

/// A word as a model knows it: as it is, or in another case.
fn known(model: &Model, word: &str) -> Word {
    let forms = [word.to_string(), word.to_lowercase(), word.to_uppercase()];
    forms
        .iter()
        .map(|w| model.index(w))
        .find(|w| *w != UNKNOWN)
        .unwrap_or(UNKNOWN)
}

/// Classes of tokens that spaces separate, without ends of words; fails with the first that is none.
fn classes(tokens: &str, alphabet: &Alphabet) -> Result<Vec<u32>, String> {
    let mut out = vec![];
    for token in tokens.split_whitespace() {
        let class = alphabet.tokens.iter().position(|t| t == token);
        match class.filter(|c| *c != alphabet.blank && !alphabet.silent[*c]) {
            Some(class) if Some(class) == alphabet.word_end => {}
            Some(class) => out.push(class as u32),
            None if token == "|" => {}
            None => return Err(token.into()),
        }
    }
    Ok(out)
}

/// A text file, also gzipped.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    let bytes = std::fs::read(path).map_err(Error::read(path))?;
    let bytes = match bytes.starts_with(&[0x1f, 0x8b]) {
        false => bytes,
        true => {
            let mut all = vec![];
            MultiGzDecoder::new(&bytes[..])
                .read_to_end(&mut all)
                .map_err(Error::read(path))?;
            all
        }
    };
    String::from_utf8(bytes)
        .map_err(|_| Error::file(path.display(), "it is not UTF-8 text", "save it as UTF-8"))
        .map(|text| text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text))
}
