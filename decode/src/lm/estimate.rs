//! Language models from texts: modified Kneser-Ney (Chen and Goodman 1998, equation 26 and following), interpolated, as KenLM's
//! lmplz estimates it.

use super::build::{Ngrams, build, key};
use super::hash::murmur;
use super::{UNKNOWN, Word};
use rustc_hash::FxHashMap;
use std::io::Write;

const BEGIN: Word = 1;
const END: Word = 2;
/// Discounts where counts of counts are too few to tell them, as lmplz takes them.
const FALLBACK: [f64; 4] = [0.0, 0.5, 1.0, 1.5];

/// n-grams of one order, with how often each was seen.
struct Order {
    words: Vec<Word>,
    counts: Vec<u64>,
    places: FxHashMap<u64, u32>,
}

/// Counts n-grams of sentences.
pub struct Counter {
    names: Vec<String>,
    ids: FxHashMap<u64, Word>,
    orders: Vec<Order>,
    sentence: Vec<Word>,
    /// Sentences counted so far.
    pub sentences: usize,
    /// Words counted so far, without ends of sentences.
    pub words: usize,
}

/// A language model as n-grams.
pub struct Estimate {
    names: Vec<String>,
    orders: Vec<Ngrams>,
    /// Orders whose discounts are those for small corpora.
    pub fallback: Vec<usize>,
}

impl Counter {
    /// # Panics
    /// Where the order is 0.
    pub fn new(order: usize) -> Counter {
        assert!(order > 0, "a model has an order of at least 1");
        let names = ["<unk>", "<s>", "</s>"].map(String::from).to_vec();
        Counter {
            ids: names.iter().zip(0..).map(|(n, i)| (murmur(n.as_bytes()), i)).collect(),
            names,
            orders: (0..order)
                .map(|_| Order {
                    words: vec![],
                    counts: vec![],
                    places: FxHashMap::default(),
                })
                .collect(),
            sentence: vec![],
            sentences: 0,
            words: 0,
        }
    }

    /// Counts a sentence; one without words is passed over, and so are words that only models use.
    pub fn sentence<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        self.sentence.clear();
        self.sentence.push(BEGIN);
        for word in words {
            let next = self.names.len() as Word;
            let id = *self.ids.entry(murmur(word.as_bytes())).or_insert(next);
            if id == next {
                self.names.push(word.to_string());
            }
            if id > END {
                self.sentence.push(id);
            }
        }
        if self.sentence.len() == 1 {
            return;
        }
        self.sentences += 1;
        self.words += self.sentence.len() - 1;
        self.sentence.push(END);
        for (i, order) in self.orders.iter_mut().enumerate() {
            for words in self.sentence.windows(i + 1) {
                order.add(words);
            }
        }
    }

    /// Estimates; `prune` has per order the count up to which n-grams are left out, the last one for all higher orders.
    pub fn estimate(self, prune: &[u64]) -> Estimate {
        let adjusted: Vec<Vec<u64>> = (0..self.orders.len()).map(|i| self.adjusted(i)).collect();
        let mut estimate = Estimate {
            orders: vec![],
            fallback: vec![],
            names: self.names.clone(),
        };
        // ln of nothing: probabilities of n-grams of the order below, by their places.
        let mut below: Vec<f64> = vec![];
        for (i, counts) in adjusted.iter().enumerate() {
            let limit = prune.get(i).or(prune.last()).copied().unwrap_or(0);
            let discounts = discounts(&self.orders[i], counts);
            if discounts.is_none() {
                estimate.fallback.push(i + 1);
            }
            let discounts = discounts.unwrap_or(FALLBACK);
            below = self.order(i, counts, discounts, limit, &below, &mut estimate.orders);
        }
        estimate
    }

    /// Counts of the highest order; of lower ones the number of words seen before, unless a sentence begins there.
    fn adjusted(&self, i: usize) -> Vec<u64> {
        let own = &self.orders[i];
        let mut counts = own.counts.clone();
        let Some(longer) = self.orders.get(i + 1) else {
            if i == 0 {
                own.place(&[BEGIN]).into_iter().for_each(|p| counts[p] = 0);
            }
            return counts;
        };
        for (place, words) in own.words.chunks_exact(i + 1).enumerate() {
            if words[0] != BEGIN || i == 0 {
                counts[place] = 0;
            }
        }
        for words in longer.words.chunks_exact(i + 2) {
            if words[1] != BEGIN {
                let place = own.place(&words[1..]).expect("parts of n-grams were counted");
                counts[place] += 1;
            }
        }
        counts
    }

    /// Probabilities of one order, and the backoffs of the order below.
    fn order(
        &self,
        i: usize,
        counts: &[u64],
        discounts: [f64; 4],
        limit: u64,
        below: &[f64],
        done: &mut Vec<Ngrams>,
    ) -> Vec<f64> {
        let own = &self.orders[i];
        let discount = |c: u64| discounts[c.min(3) as usize];
        let pruned = |place: usize| i > 0 && own.counts[place] <= limit;
        // Per context: what follows it in all, and what is taken from that for words that were not seen there.
        let contexts = if i == 0 { 1 } else { self.orders[i - 1].counts.len() };
        let mut sums = vec![(0.0, 0.0); contexts];
        let context = |words: &[Word]| match i {
            0 => 0,
            _ => self.orders[i - 1]
                .place(&words[..i])
                .expect("parts of n-grams were counted"),
        };
        for (place, words) in own.words.chunks_exact(i + 1).enumerate() {
            let (sum, taken) = &mut sums[context(words)];
            let count = counts[place];
            *sum += count as f64;
            *taken += if pruned(place) { count as f64 } else { discount(count) };
        }
        if i == 0 {
            return self.unigrams(counts, &discount, sums[0], done);
        }
        let mut probs = vec![f64::NAN; counts.len()];
        let mut out = Ngrams::new(i + 1);
        for (place, words) in own.words.chunks_exact(i + 1).enumerate() {
            if pruned(place) {
                continue;
            }
            let (sum, taken) = sums[context(words)];
            let shorter = self.orders[i - 1]
                .place(&words[1..])
                .expect("parts of n-grams were counted");
            let prob = (counts[place] as f64 - discount(counts[place])) / sum + taken / sum * below[shorter];
            probs[place] = prob;
            out.push(words, prob.log10() as f32, 0.0);
        }
        let backoff = |words: &[Word]| {
            let place = self.orders[i - 1].place(words)?;
            let (sum, taken) = sums[place];
            (sum > 0.0).then(|| (taken / sum).log10() as f32)
        };
        done[i - 1].set_backoffs(&backoff);
        done.push(out);
        probs
    }

    /// All words, the unknown one too, share what discounts take.
    fn unigrams(
        &self,
        counts: &[u64],
        discount: &dyn Fn(u64) -> f64,
        (sum, taken): (f64, f64),
        done: &mut Vec<Ngrams>,
    ) -> Vec<f64> {
        let share = taken / sum / (self.names.len() - 1) as f64;
        let mut probs = vec![0.0; counts.len()];
        let mut out = Ngrams::new(1);
        for word in 0..self.names.len() as Word {
            let prob = match self.orders[0].place(&[word]) {
                _ if word == BEGIN => 1.0,
                None => share,
                Some(place) => (counts[place] as f64 - discount(counts[place])) / sum + share,
            };
            if let Some(place) = self.orders[0].place(&[word]) {
                probs[place] = prob;
            }
            out.push(&[word], prob.log10() as f32, 0.0);
        }
        debug_assert_eq!(UNKNOWN, 0);
        done.push(out);
        probs
    }
}

impl Order {
    fn add(&mut self, words: &[Word]) {
        let next = self.counts.len() as u32;
        let place = *self.places.entry(key(words)).or_insert(next);
        if place == next {
            self.words.extend_from_slice(words);
            self.counts.push(0);
        }
        self.counts[place as usize] += 1;
    }

    fn place(&self, words: &[Word]) -> Option<usize> {
        self.places.get(&key(words)).map(|p| *p as usize)
    }
}

/// What is taken from counts of 1, 2, and 3 and more; `None` where counts of counts do not tell.
fn discounts(order: &Order, counts: &[u64]) -> Option<[f64; 4]> {
    let mut n = [0f64; 5];
    for (place, count) in counts.iter().enumerate() {
        let begin = order.words.len() == counts.len() && order.words[place] == BEGIN;
        if (1..=4).contains(count) && !begin {
            n[*count as usize] += 1.0;
        }
    }
    if n[1..4].contains(&0.0) {
        return None;
    }
    let y = n[1] / (n[1] + 2.0 * n[2]);
    let mut out = [0.0; 4];
    for j in 1..4 {
        out[j] = j as f64 - (j + 1) as f64 * y * n[j + 1] / n[j];
        if !(0.0..=j as f64).contains(&out[j]) {
            return None;
        }
    }
    Some(out)
}

impl Estimate {
    /// n-grams of each order.
    pub fn counts(&self) -> Vec<usize> {
        self.orders.iter().map(Ngrams::len).collect()
    }

    /// The bytes of a KenLM probing binary.
    ///
    /// # Errors
    /// Where it is too large for this machine.
    pub fn binary(self) -> Result<Vec<u8>, String> {
        build(&self.names, self.orders)
    }

    /// Writes an ARPA file.
    pub fn arpa(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "\\data\\")?;
        for (i, order) in self.orders.iter().enumerate() {
            writeln!(out, "ngram {}={}", i + 1, order.len())?;
        }
        for (i, order) in self.orders.iter().enumerate() {
            writeln!(out, "\n\\{}-grams:", i + 1)?;
            for (words, prob, backoff) in order.iter() {
                write!(out, "{prob}\t")?;
                for (at, word) in words.iter().enumerate() {
                    let gap = if at > 0 { " " } else { "" };
                    write!(out, "{gap}{}", self.names[*word as usize])?;
                }
                match i + 1 == self.orders.len() {
                    true => writeln!(out)?,
                    false => writeln!(out, "\t{backoff}")?,
                }
            }
        }
        writeln!(out, "\n\\end\\")
    }
}
