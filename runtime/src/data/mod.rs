//! Where recordings and their texts come from.

mod batcher;
mod loader;
mod open;

pub use batcher::{Batcher, Limits, Plan, Position};
#[cfg(test)]
pub use loader::held;
pub use loader::{Clip, Loaded, Loader, Task};
pub use open::open;

use crate::error::Error;
use crate::random::{Purpose, Stream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A recording and, where it has one, its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Utterance {
    pub path: PathBuf,
    pub text: Option<String>,
}

/// A clip that could not be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    pub path: PathBuf,
    pub reason: String,
}

/// Utterances with their lengths.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    pub utterances: Vec<Utterance>,
    /// Samples at 16 kHz.
    pub lengths: Vec<usize>,
}

impl Corpus {
    /// Opens a data set and finds the lengths; clips that cannot be read are returned beside it.
    pub fn open(place: &Path) -> Result<(Corpus, Vec<Skipped>), Error> {
        let utterances = open(place)?;
        let lengths = probe_all(&utterances);
        let (mut corpus, mut skipped) = (Corpus::default(), vec![]);
        for (utterance, length) in utterances.into_iter().zip(lengths) {
            match length {
                Ok(n) => {
                    corpus.utterances.push(utterance);
                    corpus.lengths.push(n);
                }
                Err(e) => skipped.push(Skipped {
                    path: utterance.path,
                    reason: e.to_string(),
                }),
            }
        }
        match skipped.first() {
            Some(first) if corpus.utterances.is_empty() => Err(Error::data(
                place.display(),
                format!(
                    "none of its {} recordings can be read; the first: {}",
                    skipped.len(),
                    first.reason
                ),
                "repair or convert them",
            )),
            _ => Ok((corpus, skipped)),
        }
    }

    pub fn len(&self) -> usize {
        self.utterances.len()
    }

    pub fn is_empty(&self) -> bool {
        self.utterances.is_empty()
    }

    /// Keeps what `keep` accepts; the rest is returned with its reason.
    pub fn retain(&mut self, mut keep: impl FnMut(&Utterance, usize) -> Result<(), String>) -> Vec<Skipped> {
        let (mut kept, mut skipped) = (Corpus::default(), vec![]);
        for (utterance, length) in std::mem::take(&mut self.utterances).into_iter().zip(&self.lengths) {
            match keep(&utterance, *length) {
                Ok(()) => {
                    kept.utterances.push(utterance);
                    kept.lengths.push(*length);
                }
                Err(reason) => skipped.push(Skipped {
                    path: utterance.path,
                    reason,
                }),
            }
        }
        *self = kept;
        skipped
    }

    /// Takes a random share out for validation: at least one clip, and at least one stays.
    pub fn split(self, share: f64, seed: u64) -> (Corpus, Corpus) {
        let take = ((self.len() as f64 * share).round() as usize).clamp(1, self.len().saturating_sub(1).max(1));
        let mut order: Vec<usize> = (0..self.len()).collect();
        if share <= 0.0 || self.len() < 2 {
            return (self, Corpus::default());
        }
        Stream::new(seed, Purpose::Split, 0, 0).choose(&mut order, take);
        let mut chosen = vec![false; self.len()];
        order[..take].iter().for_each(|i| chosen[*i] = true);
        let (mut rest, mut taken) = (Corpus::default(), Corpus::default());
        for (i, (utterance, length)) in self.utterances.into_iter().zip(self.lengths).enumerate() {
            let side = if chosen[i] { &mut taken } else { &mut rest };
            side.utterances.push(utterance);
            side.lengths.push(length);
        }
        (rest, taken)
    }

    /// A number that changes when files, lengths or texts do: a run is resumed only on the data it was begun on.
    pub fn fingerprint(&self) -> u64 {
        let mut h = crate::random::hash("corpus");
        for (u, n) in self.utterances.iter().zip(&self.lengths) {
            let line = format!("{h:x} {} {n} {:?}", u.path.display(), u.text);
            h = crate::random::hash(&line);
        }
        h
    }
}

/// Lengths of all recordings, found on all cores.
fn probe_all(utterances: &[Utterance]) -> Vec<Result<usize, Error>> {
    let threads = std::thread::available_parallelism()
        .map_or(1, |n| n.get())
        .min(utterances.len().max(1));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = vec![];
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(u) = utterances.get(i) else { return found };
            found.push((i, crate::audio::probe(&u.path)));
        }
    };
    let mut all: Vec<(usize, Result<usize, Error>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|w| w.join().expect("probing returns errors, it does not panic"))
            .collect()
    });
    all.sort_by_key(|(i, _)| *i);
    all.into_iter().map(|(_, n)| n).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_counts_at_the_rate_of_its_recordings() {
        let dir = tempfile::tempdir().unwrap();
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 8_000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut w = hound::WavWriter::create(dir.path().join("a.wav"), spec).unwrap();
        (0..500).for_each(|s| w.write_sample(s as i16).unwrap());
        w.finalize().unwrap();
        let manifest = dir.path().join("train.tsv");
        std::fs::write(&manifest, ".\na.wav\t500\ngone.wav\t500\n").unwrap();
        let (corpus, skipped) = Corpus::open(&manifest).unwrap();
        assert_eq!((corpus.lengths, skipped.len()), (vec![1_000], 1));
    }
}
