//! n-grams to the tables of a KenLM probing binary, words included.

use super::bytes::f32_at;
use super::hash::murmur;
use super::header::Header;
use super::probing::{Probing, Table, longer};
use super::{Word, continues};
use rustc_hash::FxHashSet;

const MULTIPLIER: f32 = 1.5;

/// n-grams of one order, in the order of the text.
#[derive(Clone, Debug, Default)]
pub struct Ngrams {
    order: usize,
    words: Vec<Word>,
    probs: Vec<f32>,
    backoffs: Vec<f32>,
}

impl Ngrams {
    /// No n-grams yet, of an order.
    pub fn new(order: usize) -> Ngrams {
        Ngrams {
            order,
            ..Ngrams::default()
        }
    }

    /// Adds an n-gram.
    pub fn push(&mut self, words: &[Word], prob: f32, backoff: f32) {
        self.words.extend_from_slice(words);
        self.probs.push(prob);
        self.backoffs.push(backoff);
    }

    /// Changes the numbers of an n-gram.
    pub fn set(&mut self, at: usize, prob: f32, backoff: f32) {
        self.probs[at] = prob;
        self.backoffs[at] = backoff;
    }

    /// Gives backoffs to n-grams that have one.
    pub(super) fn set_backoffs(&mut self, backoff: &dyn Fn(&[Word]) -> Option<f32>) {
        for (words, own) in self.words.chunks_exact(self.order).zip(&mut self.backoffs) {
            *own = backoff(words).unwrap_or(*own);
        }
    }

    /// Number of n-grams.
    pub fn len(&self) -> usize {
        self.probs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.probs.is_empty()
    }

    /// Words, log10 of the probability, backoff.
    pub fn iter(&self) -> impl Iterator<Item = (&[Word], f32, f32)> {
        let values = self.probs.iter().zip(&self.backoffs);
        self.words
            .chunks_exact(self.order)
            .zip(values)
            .map(|(w, (p, b))| (w, *p, *b))
    }
}

/// What stands for an n-gram in tables.
pub fn key(words: &[Word]) -> u64 {
    let (last, earlier) = words.split_last().expect("an n-gram has words");
    earlier.iter().rev().fold(*last as u64, |key, w| longer(key, *w))
}

/// The bytes of a probing model. Names are in order of the words' numbers, `<unk>` first; unigrams too.
///
/// n-grams whose beginning or end is no n-gram get it, worth what backing off gives, since they are looked for through it.
///
/// # Errors
/// Where an n-gram is given twice.
pub fn build(names: &[String], mut orders: Vec<Ngrams>) -> Result<Vec<u8>, String> {
    let added = complete(&mut orders);
    let counts: Vec<u64> = orders.iter().map(|o| o.len() as u64).collect();
    let mut bytes = Header::probing(MULTIPLIER, &counts);
    let lay = Probing::lay(bytes.len(), MULTIPLIER, &counts, false).ok_or("it is too large for this machine")?;
    let head = bytes.len();
    bytes.resize(lay.end, 0);
    bytes[head + 4..head + 8].copy_from_slice(&(names.len() as u32).to_le_bytes());
    for (id, name) in names.iter().enumerate().skip(1) {
        if let Some(at) = lay.words.insert(&mut bytes, murmur(name.as_bytes())) {
            bytes[at..at + 4].copy_from_slice(&(id as u32).to_le_bytes());
        }
    }
    let tables = Places { lay: &lay, names };
    for (i, order) in orders.iter().enumerate() {
        for (words, prob, backoff) in order.iter() {
            let at = tables
                .insert(&mut bytes, words)
                .ok_or_else(|| format!("the {}-gram `{}` is given twice", i + 1, tables.text(words)))?;
            // Set signs mean: nothing longer ends with it, nothing longer begins with it.
            put(&mut bytes, at, -prob.abs());
            if i + 1 < orders.len() {
                put(&mut bytes, at + 4, if backoff == 0.0 { -0.0 } else { backoff });
            }
        }
    }
    for (i, order) in orders.iter().enumerate().skip(1) {
        for (place, (words, ..)) in order.iter().enumerate() {
            let context = tables.find(&bytes, &words[..i]);
            if !continues(get(&bytes, context + 4)) {
                put(&mut bytes, context + 4, 0.0);
            }
            let shorter = tables.find(&bytes, &words[1..]);
            if added.contains(&(i, place)) {
                // Shorter ones come first, so that theirs is known.
                let worth = get(&bytes, context + 4) - get(&bytes, shorter).abs();
                let own = tables.find(&bytes, words);
                put(&mut bytes, own, -worth.abs());
            }
            let prob = get(&bytes, shorter);
            put(&mut bytes, shorter, prob.abs());
        }
    }
    for name in names {
        bytes.extend(name.as_bytes());
        bytes.push(0);
    }
    Ok(bytes)
}

/// Adds beginnings and ends that are missing; gives which they are: order less one, and place.
fn complete(orders: &mut [Ngrams]) -> FxHashSet<(usize, usize)> {
    let mut known: Vec<FxHashSet<u64>> = orders
        .iter()
        .map(|o| o.iter().map(|(w, ..)| key(w)).collect())
        .collect();
    let mut added = FxHashSet::default();
    for i in (2..orders.len()).rev() {
        let (lower, upper) = orders.split_at_mut(i);
        let lower = &mut lower[i - 1];
        for (words, ..) in upper[0].iter() {
            for part in [&words[..i], &words[1..]] {
                if known[i - 1].insert(key(part)) {
                    added.insert((i - 1, lower.len()));
                    lower.push(part, f32::NAN, 0.0);
                }
            }
        }
    }
    added
}

fn put(bytes: &mut [u8], at: usize, value: f32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn get(bytes: &[u8], at: usize) -> f32 {
    f32_at(bytes, at).expect("tables lie within the bytes")
}

/// Where n-grams are.
struct Places<'a> {
    lay: &'a Probing,
    names: &'a [String],
}

impl Places<'_> {
    fn table(&self, order: usize) -> &Table {
        self.lay
            .middle
            .get(order - 2)
            .or(self.lay.longest.as_ref())
            .expect("every order has a table")
    }

    fn insert(&self, bytes: &mut [u8], words: &[Word]) -> Option<usize> {
        match words {
            [one] => Some(self.lay.unigrams + *one as usize * self.lay.unigram_size),
            _ => self.table(words.len()).insert(bytes, key(words)),
        }
    }

    /// The place of an n-gram that is there.
    fn find(&self, bytes: &[u8], words: &[Word]) -> usize {
        match words {
            [one] => self.lay.unigrams + *one as usize * self.lay.unigram_size,
            _ => self
                .table(words.len())
                .find(bytes, key(words))
                .expect("what is looked for was completed before"),
        }
    }

    fn text(&self, words: &[Word]) -> String {
        let names: Vec<&str> = words.iter().map(|w| self.names[*w as usize].as_str()).collect();
        names.join(" ")
    }
}
