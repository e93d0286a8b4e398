//! Hash tables of n-grams, as KenLM's probing models have them.

use super::bytes::{f32_at, u32_at, u64_at};
use super::{Entry, Walk, Word};

const UNIGRAM: usize = 8;
const WORD_ENTRY: usize = 12;

/// Where a table lies. All of it is within the file.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    pub start: usize,
    pub buckets: u64,
    pub entry: usize,
}

#[derive(Clone, Debug)]
pub struct Probing {
    pub words: Table,
    pub unigrams: usize,
    pub unigram_size: usize,
    pub middle: Vec<Table>,
    pub longest: Option<Table>,
    /// Behind the last table.
    pub end: usize,
}

pub fn buckets(multiplier: f32, entries: u64) -> u64 {
    (entries + 1).max((multiplier * entries as f32) as u64)
}

/// The key of an n-gram with one earlier word more.
pub fn longer(key: u64, word: Word) -> u64 {
    key.wrapping_mul(8_978_948_897_894_561_157) ^ (1 + word as u64).wrapping_mul(17_894_857_484_156_487_943)
}

impl Table {
    /// Lays a table at a place; `None` where it would be too large.
    fn lay(at: &mut usize, buckets: u64, entry: usize) -> Option<Table> {
        let table = Table {
            start: *at,
            buckets,
            entry,
        };
        *at = at.checked_add(usize::try_from(buckets).ok()?.checked_mul(entry)?)?;
        Some(table)
    }

    /// The place of a key's entry, behind the key itself.
    pub fn find(&self, bytes: &[u8], key: u64) -> Option<usize> {
        let mut bucket = key % self.buckets;
        // Sound tables have an empty bucket; damaged ones are gone through once.
        for _ in 0..self.buckets {
            let at = self.start + bucket as usize * self.entry;
            match u64_at(bytes, at)? {
                k if k == key => return Some(at + 8),
                0 => return None,
                _ => {}
            }
            bucket += 1;
            if bucket == self.buckets {
                bucket = 0;
            }
        }
        None
    }

    /// The place for a new key's entry, behind the key itself, which is written; `None` where the key is there already.
    pub fn insert(&self, bytes: &mut [u8], key: u64) -> Option<usize> {
        let mut bucket = key % self.buckets;
        loop {
            let at = self.start + bucket as usize * self.entry;
            match u64_at(bytes, at)? {
                k if k == key => return None,
                0 => {
                    bytes[at..at + 8].copy_from_slice(&key.to_le_bytes());
                    return Some(at + 8);
                }
                _ => bucket = (bucket + 1) % self.buckets,
            }
        }
    }
}

impl Probing {
    /// Where everything lies behind a header; `None` where sizes are too large to be.
    pub fn lay(header: usize, multiplier: f32, counts: &[u64], rest: bool) -> Option<Probing> {
        let extra = if rest { 4 } else { 0 };
        let mut at = header.checked_add(8)?;
        let words = Table::lay(&mut at, buckets(multiplier, counts[0]), WORD_ENTRY)?;
        let unigrams = at;
        let unigram_size = UNIGRAM + extra;
        at = at.checked_add((counts[0] as usize + 1).checked_mul(unigram_size)?)?;
        let (mut middle, mut longest) = (vec![], None);
        for (i, count) in counts.iter().enumerate().skip(1) {
            let last = i + 1 == counts.len();
            let entry = if last { 12 } else { 16 + extra };
            let table = Table::lay(&mut at, buckets(multiplier, *count), entry)?;
            match last {
                true => longest = Some(table),
                false => middle.push(table),
            }
        }
        Some(Probing {
            words,
            unigrams,
            unigram_size,
            middle,
            longest,
            end: at,
        })
    }

    pub fn word(&self, bytes: &[u8], hash: u64) -> Option<Word> {
        u32_at(bytes, self.words.find(bytes, hash)?)
    }
}

/// The sign of a probability tells whether a longer n-gram ends with this one: it is kept by KenLM as a flag.
fn entry(bytes: &[u8], at: usize) -> Option<Entry> {
    Some(Entry {
        prob: -f32_at(bytes, at)?.abs(),
        backoff: f32_at(bytes, at + 4)?,
    })
}

impl Walk for Probing {
    type Node = u64;

    fn unigram(&self, bytes: &[u8], word: Word) -> (Entry, u64) {
        let at = self.unigrams + word as usize * self.unigram_size;
        (entry(bytes, at).unwrap_or(Entry::NONE), word as u64)
    }

    fn middle(&self, bytes: &[u8], level: usize, node: u64, word: Word) -> Option<(Entry, u64)> {
        let key = longer(node, word);
        let at = self.middle[level].find(bytes, key)?;
        Some((entry(bytes, at)?, key))
    }

    fn longest(&self, bytes: &[u8], node: u64, word: Word) -> Option<f32> {
        let table = self.longest.as_ref()?;
        Some(-f32_at(bytes, table.find(bytes, longer(node, word))?)?.abs())
    }
}
