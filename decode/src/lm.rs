//! Backoff language models: ARPA files and KenLM's binaries of all types.
//!
//! Large binaries are mapped, so that they start at once and are read only where they are asked; small ones are held, so that
//! nothing happens to them when somebody writes to the file. ARPA files become the same tables in
//! memory. Every place that a file names is checked before it is read.

mod arpa;
mod build;
mod bytes;
mod estimate;
mod hash;
mod header;
mod probing;
mod trie;

use crate::error::Error;
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use header::{Header, Kind};
use memmap2::Mmap;
use probing::Probing;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use trie::Trie;

pub use build::{Ngrams, build};
pub use estimate::{Counter, Estimate};

/// Number of a word in a model.
pub type Word = u32;

/// The number of every word that a model lacks.
pub const UNKNOWN: Word = 0;

/// Bytes that tell what a file is, and bytes of a binary that is held instead of mapped.
const HEAD: u64 = 4096;
const MOST_HELD: u64 = 64 << 20;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const REMEDY: &str = "copy or make the file again";

/// log10 of what an n-gram is worth, and of what backing off from it costs.
#[derive(Clone, Copy, Debug)]
struct Entry {
    prob: f32,
    /// -0.0 where no longer n-gram continues this one.
    backoff: f32,
}

impl Entry {
    const NONE: Entry = Entry {
        prob: -100.0,
        backoff: -0.0,
    };
}

/// A way through n-grams from the last word to earlier ones.
trait Walk {
    type Node: Copy;
    fn unigram(&self, bytes: &[u8], word: Word) -> (Entry, Self::Node);
    /// An n-gram with one word more before it; level 0 has two words.
    fn middle(&self, bytes: &[u8], level: usize, node: Self::Node, word: Word) -> Option<(Entry, Self::Node)>;
    fn longest(&self, bytes: &[u8], node: Self::Node, word: Word) -> Option<f32>;
}

enum Tables {
    Probing(Probing),
    Trie(Trie),
}

/// A language model.
pub struct Model {
    bytes: Bytes,
    tables: Tables,
    order: usize,
    /// Words, the unknown one included.
    count: usize,
    /// Where the words' names begin, if the file has them.
    names: Option<usize>,
    place: String,
    begin: Word,
    end: Word,
}

/// What a model remembers of the words so far, latest first: no more than can still matter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    words: Vec<Word>,
    /// Per context of so many words what backing off from it costs.
    backoffs: Vec<f32>,
}

impl State {
    /// The words that still matter, latest first.
    pub fn words(&self) -> &[Word] {
        &self.words
    }
}

/// log10 of a word's probability, and the length of the n-gram that it comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// log10 of the probability.
    pub log10: f32,
    /// Length of the n-gram.
    pub length: usize,
}

impl Model {
    /// Opens an ARPA file, also gzipped, or a KenLM binary.
    ///
    /// # Errors
    /// Where it cannot be read, or is damaged.
    pub fn open(path: &Path) -> Result<Model, Error> {
        let mut file = File::open(path).map_err(Error::read(path))?;
        let place = path.display().to_string();
        let found = file.metadata().map_err(Error::read(path))?;
        let mut head = vec![];
        file.by_ref()
            .take(HEAD)
            .read_to_end(&mut head)
            .map_err(Error::read(path))?;
        if found.is_file() && found.len() > MOST_HELD && header::is_binary(&head) {
            // SAFETY: the map is only read, and what is read is checked; another program that shortens the file under us ends
            // this one with a signal, it does not corrupt memory.
            let map = unsafe { Mmap::map(&file) }.map_err(Error::read(path))?;
            return Model::of(Bytes::Mapped(map), place);
        }
        // The beginning again, also where nobody can go back.
        let mut whole = head.as_slice().chain(&file);
        if header::is_binary(&head) {
            let mut all = vec![];
            whole.read_to_end(&mut all).map_err(Error::read(path))?;
            return Model::of(Bytes::Held(all), place);
        }
        let mut text = BufReader::with_capacity(1 << 18, whole);
        let image = match head.starts_with(&GZIP) {
            true => arpa::read(&place, &mut BufReader::new(MultiGzDecoder::new(text)))?,
            false => arpa::read(&place, &mut text)?,
        };
        Model::of(Bytes::Held(image), place)
    }

    /// A model from the bytes of a KenLM binary; messages name the place.
    ///
    /// # Errors
    /// Where they are damaged.
    pub fn from_bytes(bytes: Vec<u8>, place: &str) -> Result<Model, Error> {
        Model::of(Bytes::Held(bytes), place.into())
    }

    fn of(bytes: Bytes, place: String) -> Result<Model, Error> {
        let damaged = |what: String| Error::file(&place, what, REMEDY);
        let header = Header::read(&bytes).map_err(damaged)?;
        let short = || damaged("it is shorter than its header says".into());
        let (tables, end) = match header.kind {
            Kind::Probing { rest } => {
                let probing = Probing::lay(header.size, header.multiplier, &header.counts, rest).ok_or_else(short)?;
                let end = probing.end;
                (Tables::Probing(probing), end)
            }
            Kind::Trie { quantised, array } => {
                let trie = Trie::lay(&bytes, header.size, &header.counts, quantised, array).map_err(damaged)?;
                let end = trie.end;
                (Tables::Trie(trie), end)
            }
        };
        if end > bytes.len() {
            return Err(short());
        }
        if header.has_words && !(bytes[end..].starts_with(b"<unk>\0") && bytes.ends_with(b"\0")) {
            return Err(damaged("its words are not where its header says".into()));
        }
        let mut model = Model {
            tables,
            order: header.counts.len(),
            count: header.counts[0] as usize,
            names: header.has_words.then_some(end),
            begin: UNKNOWN,
            end: UNKNOWN,
            bytes,
            place,
        };
        model.begin = model.index("<s>");
        model.end = model.index("</s>");
        Ok(model)
    }

    /// Length of the longest n-grams.
    pub fn order(&self) -> usize {
        self.order
    }

    /// Words, the unknown one included.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the model has no words.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The number of a word; [`UNKNOWN`] where the model lacks it.
    pub fn index(&self, word: &str) -> Word {
        let hash = hash::murmur(word.as_bytes());
        let found = match &self.tables {
            Tables::Probing(t) => t.word(&self.bytes, hash),
            Tables::Trie(t) => t.word(&self.bytes, hash),
        };
        found.filter(|w| (*w as usize) < self.count).unwrap_or(UNKNOWN)
    }

    /// The number of `</s>`.
    pub fn sentence_end(&self) -> Word {
        self.end
    }

    /// Whether the file has the words themselves, not only their hashes.
    pub fn has_words(&self) -> bool {
        self.names.is_some()
    }

    /// The words in order of their numbers, `<unk>` first; none where the file does not have them.
    ///
    /// # Errors
    /// Where they are fewer than the model's, or no UTF-8.
    pub fn words(&self) -> Result<Vec<&str>, Error> {
        let Some(start) = self.names else { return Ok(vec![]) };
        let damaged = |what: &str| Error::file(&self.place, what, REMEDY);
        let names = self.bytes[start..].split(|b| *b == 0).take(self.count);
        let names: Result<Vec<&str>, _> = names.map(std::str::from_utf8).collect();
        let names = names.map_err(|_| damaged("its words are not UTF-8"))?;
        match names.len() == self.count && !names.iter().any(|n| n.is_empty()) {
            true => Ok(names),
            false => Err(damaged("it lacks the names of some words")),
        }
    }

    /// After `<s>`.
    pub fn begin(&self) -> State {
        let mut next = State::default();
        if self.begin != UNKNOWN {
            self.score(&State::default(), self.begin, &mut next);
        }
        next
    }

    /// What a word is worth after others; `next` becomes what is remembered behind it.
    pub fn score(&self, state: &State, word: Word, next: &mut State) -> Score {
        match &self.tables {
            Tables::Probing(t) => self.walk(t, state, word, next),
            Tables::Trie(t) => self.walk(t, state, word, next),
        }
    }

    fn walk<W: Walk>(&self, tables: &W, state: &State, word: Word, next: &mut State) -> Score {
        next.words.clear();
        next.backoffs.clear();
        let (entry, mut node) = tables.unigram(&self.bytes, word);
        let (mut log10, mut length, mut kept) = (entry.prob, 1, 0);
        let mut keep = |word: Word, backoff: f32, length: usize| {
            next.words.push(word);
            next.backoffs.push(backoff);
            if continues(backoff) {
                kept = length;
            }
        };
        if self.order > 1 {
            keep(word, entry.backoff, 1);
        }
        for (i, earlier) in state.words.iter().enumerate() {
            if i + 2 == self.order {
                if let Some(prob) = tables.longest(&self.bytes, node, *earlier) {
                    (log10, length) = (prob, i + 2);
                }
                break;
            }
            let Some((entry, further)) = tables.middle(&self.bytes, i, node, *earlier) else {
                break;
            };
            (log10, length, node) = (entry.prob, i + 2, further);
            keep(*earlier, entry.backoff, length);
        }
        for backoff in state.backoffs.iter().skip(length - 1) {
            log10 += backoff;
        }
        next.words.truncate(kept);
        next.backoffs.truncate(kept);
        // Only damaged files hold what is no number.
        if !log10.is_finite() {
            log10 = Entry::NONE.prob;
        }
        Score { log10, length }
    }
}

/// Whether a context with this backoff can matter: KenLM writes -0.0 where no n-gram continues it and it costs nothing.
fn continues(backoff: f32) -> bool {
    backoff.to_bits() != (-0.0f32).to_bits()
}
