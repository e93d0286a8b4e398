//! Where recordings and their texts come from.

mod batcher;
mod clip;
mod folder;
#[cfg(test)]
mod forms;
mod loader;
mod manifest;
mod open;
mod path;
mod place;
mod probe;
mod skips;
mod table;
mod text;

pub use batcher::{Batcher, Limits, Plan, Position};
#[cfg(test)]
pub use loader::held;
pub use loader::{Clip, Loaded, Loader, Task};
pub use open::{listing, open};
pub use probe::{Decoded, decode_all};
pub use skips::{DEFAULT_SHARE, SILENT, Skipped, too_many};
pub(crate) use skips::{enough_left, table as table_of_reasons};

use crate::audio::Segment;
use crate::error::Error;
use crate::random::{Purpose, Stream};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A recording, or a part of one, and, where it has one, its text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Utterance {
    #[serde(with = "path")]
    pub path: PathBuf,
    pub segment: Option<Segment>,
    pub text: Option<String>,
    /// Numbers for its frames, with spaces between: a line of a .km file.
    pub clusters: Option<String>,
}

impl Utterance {
    /// What it is called: the path, and the segment behind it.
    pub fn name(&self) -> PathBuf {
        match self.segment {
            None => self.path.clone(),
            Some(segment) => format!("{}:{segment}", self.path.display()).into(),
        }
    }
}

/// What a data set names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub utterances: Vec<Utterance>,
    /// Files that are no recordings known by extension, counted by it.
    pub unknown: BTreeMap<String, usize>,
}

impl Listing {
    /// One line about files that were passed over, where there are any.
    pub fn unknown_note(&self) -> Option<String> {
        let all: usize = self.unknown.values().sum();
        let kinds: Vec<String> = self.unknown.iter().map(|(k, n)| format!("{n} {k}")).collect();
        (all > 0).then(|| {
            format!(
                "{all} files are not known as recordings and passed over: {}",
                kinds.join(", ")
            )
        })
    }
}

/// Utterances with their lengths.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Corpus {
    pub utterances: Vec<Utterance>,
    /// Samples at 16 kHz.
    pub lengths: Vec<usize>,
}

impl Corpus {
    /// Opens data sets and finds the lengths; clips that cannot be read are returned beside it, and remarks on the whole.
    ///
    /// # Errors
    /// Where nothing can be read, or the system fails to read: what is trained on must not depend on that.
    pub fn open(places: &[PathBuf]) -> Result<Opened, Error> {
        let mut listing = Listing::default();
        for place in places {
            let own = open::listing(place)?;
            listing.utterances.extend(own.utterances);
            for (kind, count) in own.unknown {
                *listing.unknown.entry(kind).or_default() += count;
            }
        }
        let mut notes: Vec<String> = listing.unknown_note().into_iter().collect();
        notes.extend(repeated_note(&listing.utterances));
        let lengths = probe::lengths(&listing.utterances)?;
        let mut opened = Opened {
            corpus: Corpus::default(),
            skipped: vec![],
            notes,
        };
        for (utterance, length) in listing.utterances.into_iter().zip(lengths) {
            match length {
                Ok(n) => {
                    opened.corpus.utterances.push(utterance);
                    opened.corpus.lengths.push(n);
                }
                Err(reason) => opened.skipped.push(Skipped {
                    path: utterance.name(),
                    reason,
                }),
            }
        }
        match opened.skipped.first() {
            Some(first) if opened.corpus.is_empty() => Err(Error::data(
                show_places(places),
                format!(
                    "none of its {} recordings can be read; the first, {}: {}",
                    opened.skipped.len(),
                    first.path.display(),
                    first.reason
                ),
                "repair or convert them",
            )),
            _ => Ok(opened),
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
                    path: utterance.name(),
                    reason,
                }),
            }
        }
        *self = kept;
        skipped
    }

    /// Takes a random share out for validation, of at most so many samples: at least one clip, and at least one stays.
    pub fn split(self, share: f64, most: usize, seed: u64) -> (Corpus, Corpus) {
        let take = ((self.len() as f64 * share).round() as usize).clamp(1, self.len().saturating_sub(1).max(1));
        let mut order: Vec<usize> = (0..self.len()).collect();
        if share <= 0.0 || self.len() < 2 {
            return (self, Corpus::default());
        }
        Stream::new(seed, Purpose::Split, 0, 0).choose(&mut order, take);
        let mut chosen = vec![false; self.len()];
        let mut room = most;
        for (n, i) in order[..take].iter().enumerate() {
            room = room.saturating_sub(self.lengths[*i]);
            chosen[*i] = n == 0 || room > 0;
        }
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
            let line = format!("{h:x} {} {n} {:?}", u.name().display(), u.text);
            h = crate::random::hash(&line);
            h ^= u.clusters.as_deref().map_or(0, crate::random::hash);
        }
        h
    }
}

/// A corpus as it was found.
pub struct Opened {
    pub corpus: Corpus,
    /// Clips that cannot be read.
    pub skipped: Vec<Skipped>,
    /// Remarks on the whole.
    pub notes: Vec<String>,
}

/// Data sets as a message names them.
pub fn show_places(places: &[PathBuf]) -> String {
    let names: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
    names.join(", ")
}

/// One line about recordings that are listed more than once, where there are any.
pub fn repeated_note(utterances: &[Utterance]) -> Option<String> {
    let mut seen: BTreeMap<PathBuf, &Option<String>> = BTreeMap::new();
    let (mut again, mut otherwise) = (vec![], 0);
    for utterance in utterances {
        match seen.get(&utterance.name()) {
            None => {
                seen.insert(utterance.name(), &utterance.text);
            }
            Some(text) => {
                otherwise += usize::from(*text != &utterance.text);
                again.push(utterance.name());
            }
        }
    }
    let first = again.first()?.display().to_string();
    let texts = match otherwise {
        0 => String::new(),
        n => format!(", {n} of them with another text"),
    };
    Some(format!(
        "{} clips are listed more than once{texts}; the first: {first}",
        again.len()
    ))
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
        let opened = Corpus::open(&[manifest]).unwrap();
        assert_eq!((opened.corpus.lengths, opened.skipped.len()), (vec![1_000], 1));
    }
}
