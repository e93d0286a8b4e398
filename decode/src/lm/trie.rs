//! Tries of n-grams, last word first, as KenLM's trie models have them: with or without quantised values, with pointers
//! written out or their high parts in an array.

use super::bytes::{bits_at, bits_for, f32_at, u64_at};
use super::{Entry, Walk, Word};

const UNIGRAM: usize = 16;

/// Children of a node: records of the next order.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    from: u64,
    to: u64,
}

#[derive(Clone, Debug)]
enum Values {
    Plain,
    /// Bits of an index and where its table lies; the longest order has no backoffs.
    Quantised {
        prob: (u32, usize),
        backoff: (u32, usize),
    },
}

#[derive(Clone, Debug)]
enum Pointers {
    None,
    Plain {
        bits: u32,
    },
    /// Low bits are in the record; the high part is a place in an array of first records.
    Array {
        low: u32,
        start: usize,
        len: u64,
    },
}

#[derive(Clone, Debug)]
struct Level {
    base: usize,
    record: u64,
    word_bits: u32,
    count: u64,
    values: Values,
    pointers: Pointers,
    /// Records of the next order.
    next: u64,
}

#[derive(Clone, Debug)]
pub struct Trie {
    /// Sorted hashes.
    hashes: usize,
    words: u64,
    unigrams: usize,
    bigrams: u64,
    levels: Vec<Level>,
    /// Behind the last record.
    pub end: usize,
}

impl Trie {
    pub fn lay(bytes: &[u8], header: usize, counts: &[u64], quantised: bool, array: bool) -> Result<Trie, String> {
        lay(bytes, header, counts, quantised, array).ok_or_else(|| "its parts do not fit its length".to_string())?
    }

    pub fn word(&self, bytes: &[u8], hash: u64) -> Option<Word> {
        let (mut low, mut high) = (0, self.words);
        while low < high {
            let middle = low + (high - low) / 2;
            let found = u64_at(bytes, self.hashes + 8 * middle as usize)?;
            match found.cmp(&hash) {
                std::cmp::Ordering::Equal => return Some(middle as Word + 1),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

fn advance(at: &mut usize, bytes: u64) -> Option<usize> {
    let start = *at;
    *at = start.checked_add(usize::try_from(bytes).ok()?)?;
    Some(start)
}

fn lay(bytes: &[u8], header: usize, counts: &[u64], quantised: bool, array: bool) -> Option<Result<Trie, String>> {
    let mut at = header;
    let hashes = advance(&mut at, 8)? + 8;
    let words = u64_at(bytes, hashes - 8)?;
    advance(&mut at, 8 * counts[0])?;
    if words > counts[0] {
        return Some(Err(format!("it has {words} words and {} unigrams", counts[0])));
    }
    let order = counts.len();
    let mut tables = vec![Values::Plain; order];
    if quantised {
        let start = advance(&mut at, 8)?;
        let (version, prob, backoff) = (*bytes.get(start)?, *bytes.get(start + 1)?, *bytes.get(start + 2)?);
        if version != 2 {
            return Some(Err(format!(
                "its values are quantised in the way {version} instead of 2"
            )));
        }
        let (prob, backoff) = (prob as u32, backoff as u32);
        if !(1..=25).contains(&prob) || backoff > 25 {
            return Some(Err(format!("its values have {prob} and {backoff} bits")));
        }
        for (i, table) in tables.iter_mut().enumerate().skip(1) {
            let probs = advance(&mut at, 4 << prob)?;
            *table = Values::Quantised {
                prob: (prob, probs),
                backoff: match i + 1 == order {
                    true => (0, 0),
                    false => (backoff, advance(&mut at, 4 << backoff)?),
                },
            };
        }
    }
    let unigrams = advance(&mut at, (counts[0] + 2) * UNIGRAM as u64)?;
    let word_bits = bits_for(counts[0]);
    let mut levels = vec![];
    for i in 1..order {
        let (count, last) = (counts[i], i + 1 == order);
        let next = if last { 0 } else { counts[i + 1] };
        let pointers = match (last, array) {
            (true, _) => Pointers::None,
            (false, false) => Pointers::Plain { bits: bits_for(next) },
            (false, true) => {
                let most = *bytes.get(at + 1)? as u32;
                let low = bits_for(next) - chopped(count + 1, next, most);
                let len = (next >> low) + 1;
                let start = at.checked_next_multiple_of(8)?.checked_add(8)?;
                advance(&mut at, len.checked_add(1)?.checked_mul(8)?.checked_add(7)?)?;
                Pointers::Array { low, start, len }
            }
        };
        let pointer_bits = match pointers {
            Pointers::None => 0,
            Pointers::Plain { bits } => bits,
            Pointers::Array { low, .. } => low,
        };
        if pointer_bits > 57 {
            return None;
        }
        let value_bits = match (&tables[i], last) {
            (Values::Plain, true) => 31,
            (Values::Plain, false) => 63,
            (Values::Quantised { prob, backoff }, _) => prob.0 + backoff.0,
        };
        let record = (word_bits + value_bits + pointer_bits) as u64;
        let base = advance(&mut at, (count + 1).checked_mul(record)?.checked_add(7)? / 8 + 8)?;
        levels.push(Level {
            base,
            record,
            word_bits,
            count,
            values: tables[i].clone(),
            pointers,
            next,
        });
    }
    if at > bytes.len() {
        return None;
    }
    Some(Ok(Trie {
        hashes,
        words,
        unigrams,
        bigrams: counts[1],
        levels,
        end: at,
    }))
}

/// High bits of pointers that are left to the array, so that records and array together are smallest.
fn chopped(records: u64, next: u64, most: u32) -> u32 {
    let bits = bits_for(next);
    let cost = |chop: u32| (next.checked_shr(bits - chop).unwrap_or(0) as i128) * 64 - records as i128 * chop as i128;
    let mut best = 0;
    for chop in 0..=most.min(bits) {
        if cost(chop) < cost(best) {
            best = chop;
        }
    }
    best
}

impl Level {
    fn bit(&self, record: u64) -> u64 {
        record * self.record
    }

    fn word(&self, bytes: &[u8], record: u64) -> u64 {
        bits_at(bytes, self.base, self.bit(record), self.word_bits)
    }

    fn find(&self, bytes: &[u8], node: Range, word: Word) -> Option<u64> {
        let (mut low, mut high) = (node.from.min(self.count), node.to.min(self.count));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.word(bytes, middle).cmp(&(word as u64)) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn entry(&self, bytes: &[u8], record: u64, longest: bool) -> Option<Entry> {
        let at = self.bit(record) + self.word_bits as u64;
        Some(match self.values {
            Values::Plain => {
                let prob = bits_at(bytes, self.base, at, 31) as u32;
                let backoff = match longest {
                    true => 0,
                    false => bits_at(bytes, self.base, at + 31, 32) as u32,
                };
                Entry {
                    prob: f32::from_bits(prob | 1 << 31),
                    backoff: f32::from_bits(backoff),
                }
            }
            Values::Quantised { prob, backoff } => {
                let value = |(bits, table): (u32, usize), at: u64| {
                    f32_at(bytes, table + 4 * bits_at(bytes, self.base, at, bits) as usize)
                };
                Entry {
                    prob: value(prob, at + backoff.0 as u64)?,
                    backoff: if longest { 0.0 } else { value(backoff, at)? },
                }
            }
        })
    }

    fn value_bits(&self) -> u64 {
        match self.values {
            Values::Plain => 63,
            Values::Quantised { prob, backoff } => (prob.0 + backoff.0) as u64,
        }
    }

    fn children(&self, bytes: &[u8], record: u64) -> Range {
        let at = |record: u64| self.bit(record) + self.word_bits as u64 + self.value_bits();
        let (from, to) = match self.pointers {
            Pointers::None => (0, 0),
            Pointers::Plain { bits } => (
                bits_at(bytes, self.base, at(record), bits),
                bits_at(bytes, self.base, at(record + 1), bits),
            ),
            Pointers::Array { low, start, len } => {
                let high = |record: u64| {
                    let (mut from, mut to) = (0, len);
                    while from < to {
                        let middle = from + (to - from) / 2;
                        match u64_at(bytes, start + 8 * middle as usize) {
                            Some(first) if first <= record => from = middle + 1,
                            _ => to = middle,
                        }
                    }
                    from.saturating_sub(1) << low
                };
                let whole = |record| high(record) | bits_at(bytes, self.base, at(record), low);
                (whole(record), whole(record + 1))
            }
        };
        Range {
            from: from.min(self.next),
            to: to.min(self.next),
        }
    }
}

impl Walk for Trie {
    type Node = Range;

    fn unigram(&self, bytes: &[u8], word: Word) -> (Entry, Range) {
        let at = self.unigrams + word as usize * UNIGRAM;
        let read = || {
            let entry = Entry {
                prob: -f32_at(bytes, at)?.abs(),
                backoff: f32_at(bytes, at + 4)?,
            };
            let children = Range {
                from: u64_at(bytes, at + 8)?.min(self.bigrams),
                to: u64_at(bytes, at + 8 + UNIGRAM)?.min(self.bigrams),
            };
            Some((entry, children))
        };
        read().unwrap_or((Entry::NONE, Range { from: 0, to: 0 }))
    }

    fn middle(&self, bytes: &[u8], level: usize, node: Range, word: Word) -> Option<(Entry, Range)> {
        let own = &self.levels[level];
        let record = own.find(bytes, node, word)?;
        Some((own.entry(bytes, record, false)?, own.children(bytes, record)))
    }

    fn longest(&self, bytes: &[u8], node: Range, word: Word) -> Option<f32> {
        let own = self.levels.last()?;
        let record = own.find(bytes, node, word)?;
        Some(own.entry(bytes, record, true)?.prob)
    }
}
