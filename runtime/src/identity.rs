//! What a run was begun with: recordings, texts and vocabulary, identified by content and not by path.
//!
//! Recordings are identified by their bytes: all of them if they are few (256 MiB in total), else the head, the middle
//! and the tail of each, and its size. So a moved folder, or another path to it, is the same data, and a start stays
//! quick.

use crate::data::Corpus;
use crate::digest::{Digest, Hasher};
use crate::error::Error;
use crate::log::Progress;
use crate::run::Known;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

/// Bytes that are read of all recordings together, and the least of each.
const MOST: u64 = 256 << 20;
const LEAST: u64 = 12 << 10;

/// A set of clips.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clips {
    pub count: u64,
    /// At 16 kHz.
    pub samples: u64,
    /// Of the recordings and of the texts, in order.
    pub recordings: Digest,
    pub texts: Digest,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub train: Clips,
    pub valid: Clips,
    /// Tokens by their numbers; none in pretraining.
    pub vocabulary: Option<Vec<String>>,
}

impl Clips {
    /// Reads what there is to tell the clips of a corpus by.
    ///
    /// # Errors
    /// Where a recording cannot be read.
    pub fn of(corpus: &Corpus) -> Result<Clips, Error> {
        let path = |i: usize| corpus.utterances[i].path.as_path();
        // A recording may hold several clips.
        let mut files: BTreeMap<&Path, Digest> = (0..corpus.len()).map(|i| (path(i), Digest::default())).collect();
        let size = |path: &&Path| {
            std::fs::metadata(path)
                .map(|m| m.len())
                .map_err(Error::io("read", path))
        };
        let sizes: Vec<u64> = files.keys().map(size).collect::<Result<_, Error>>()?;
        let each = match sizes.iter().sum::<u64>() <= MOST {
            true => u64::MAX,
            false => (MOST / sizes.len() as u64).max(LEAST),
        };
        let progress = Mutex::new(Progress::new("recordings compared", files.len()));
        let digests: Result<Vec<Digest>, Error> = files
            .keys()
            .collect::<Vec<_>>()
            .into_par_iter()
            .zip(sizes)
            .map(|(path, size)| {
                let digest = sampled(path, size, each);
                progress.lock().unwrap_or_else(|e| e.into_inner()).step();
                digest
            })
            .collect();
        files
            .values_mut()
            .zip(digests?)
            .for_each(|(place, digest)| *place = digest);
        let (mut recordings, mut texts) = (Hasher::default(), Hasher::default());
        for (i, (utterance, length)) in corpus.utterances.iter().zip(&corpus.lengths).enumerate() {
            recordings.field(files[path(i)].as_str().as_bytes());
            recordings.update(&(*length as u64).to_le_bytes());
            if let Some(segment) = utterance.segment {
                recordings.field(segment.to_string().as_bytes());
            }
            texts.field(utterance.text.as_deref().map_or(b"", str::as_bytes));
            texts.update(&[utterance.text.is_some() as u8]);
            if let Some(clusters) = &utterance.clusters {
                texts.field(clusters.as_bytes());
            }
        }
        Ok(Clips {
            count: corpus.len() as u64,
            samples: corpus.lengths.iter().map(|n| *n as u64).sum(),
            recordings: recordings.finish(),
            texts: texts.finish(),
        })
    }

    /// What differs from `then`, with the values of both.
    fn difference(&self, then: &Clips) -> Option<String> {
        let seconds = |c: &Clips| c.samples as f64 / crate::audio::RATE as f64;
        if self.recordings != then.recordings {
            Some(format!(
                "the recordings differ: {} clips of {:.1} s (digest {}) then, {} of {:.1} s (digest {}) now",
                then.count,
                seconds(then),
                then.recordings.short(),
                self.count,
                seconds(self),
                self.recordings.short()
            ))
        } else if self.texts != then.texts {
            Some(format!(
                "the texts of the recordings differ (digest {} then, {} now)",
                then.texts.short(),
                self.texts.short()
            ))
        } else {
            None
        }
    }
}

/// A digest of a file's size and of `each` of its bytes, evenly from its head, middle and tail.
fn sampled(path: &Path, size: u64, each: u64) -> Result<Digest, Error> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut hasher = Hasher::default();
    hasher.update(&size.to_le_bytes());
    let mut take = |from: u64, length: u64| -> Result<(), Error> {
        let mut bytes = vec![0; length.min(1 << 20) as usize];
        let mut at = from;
        while at < from + length {
            let n = (from + length - at).min(bytes.len() as u64) as usize;
            file.read_exact_at(&mut bytes[..n], at)
                .map_err(Error::io("read", path))?;
            hasher.update(&bytes[..n]);
            at += n as u64;
        }
        Ok(())
    };
    if size <= each {
        take(0, size)?;
    } else {
        let part = each / 3;
        take(0, part)?;
        take(size / 2 - part / 2, part)?;
        take(size - part, part)?;
    }
    Ok(hasher.finish())
}

impl Identity {
    /// What differs from what a run was begun with, with the values of both. `earlier` is what version 0.1 would keep now.
    pub fn difference(&self, then: &Known, earlier: u64) -> Option<String> {
        let then = match then {
            Known::Now(then) => then,
            Known::Earlier(number) if *number == earlier => return None,
            Known::Earlier(_) => {
                let why = "w2vc 0.1 began the run and knew data by their path: give --data as it was given then";
                return Some(format!("the training data are not those it was begun with; {why}"));
            }
        };
        let data =
            |what: &str, difference: String| format!("the {what} data are not those it was begun with: {difference}");
        let train = self.train.difference(&then.train).map(|d| data("training", d));
        let valid = || self.valid.difference(&then.valid).map(|d| data("validation", d));
        let vocabulary = || {
            let (then, now) = (then.vocabulary.as_deref()?, self.vocabulary.as_deref()?);
            let told = |list: &[String], i: usize| list.get(i).map_or("absent".into(), |t| format!("`{t}`"));
            let at = (0..then.len().max(now.len())).find(|i| then.get(*i) != now.get(*i))?;
            Some(format!(
                "the vocabulary is not that it was begun with: token {at} was {} and is {}",
                told(then, at),
                told(now, at)
            ))
        };
        train.or_else(vocabulary).or_else(valid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Utterance;

    fn corpus(dir: &Path, names: &[&str]) -> Corpus {
        let utterance = |name: &&str| Utterance {
            segment: None,
            path: dir.join(name),
            text: Some(name.to_string()),
            clusters: None,
        };
        Corpus {
            utterances: names.iter().map(utterance).collect(),
            lengths: vec![7; names.len()],
        }
    }

    #[test]
    fn data_are_known_by_their_content_wherever_they_lie() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let put = |dir: &Path, name: &str, last: u8| std::fs::write(dir.join(name), [1, 2, last]).unwrap();
        for dir in [one.path(), two.path()] {
            put(dir, "a", 3);
            put(dir, "b", 4);
        }
        let of = |dir: &Path| Clips::of(&corpus(dir, &["a", "b"])).unwrap();
        let first = of(one.path());
        assert_eq!(first, of(two.path()));
        assert_ne!(
            first.recordings,
            Clips::of(&corpus(one.path(), &["b", "a"])).unwrap().recordings
        );
        put(two.path(), "b", 5);
        let said = of(two.path()).difference(&first).unwrap();
        assert!(
            said.contains("recordings") && said.contains(first.recordings.short()),
            "{said}"
        );
        std::fs::remove_file(two.path().join("b")).unwrap();
        assert!(Clips::of(&corpus(two.path(), &["a", "b"])).is_err());
    }

    #[test]
    fn of_a_large_file_head_middle_tail_and_size_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let of = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            sampled(&path, bytes.len() as u64, 30).unwrap()
        };
        let base = vec![0u8; 1000];
        let first = of(&base);
        for (at, seen) in [(0, true), (500, true), (999, true), (250, false)] {
            let mut other = base.clone();
            other[at] = 1;
            assert_eq!(of(&other) != first, seen, "{at}");
        }
        assert_ne!(of(&base[1..]), first);
    }

    #[test]
    fn what_differs_is_named_with_both_values() {
        let vocabulary = |tokens: &[&str]| Identity {
            vocabulary: Some(tokens.iter().map(|t| t.to_string()).collect()),
            ..Identity::default()
        };
        let then = Known::Now(vocabulary(&["<pad>", "E", "T"]));
        assert_eq!(vocabulary(&["<pad>", "E", "T"]).difference(&then, 0), None);
        let said = vocabulary(&["<pad>", "T", "E"]).difference(&then, 0).unwrap();
        assert!(said.contains("token 1 was `E` and is `T`"), "{said}");
        let said = vocabulary(&["<pad>", "E"]).difference(&then, 0).unwrap();
        assert!(said.contains("token 2 was `T` and is absent"), "{said}");
        assert_eq!(Identity::default().difference(&Known::Earlier(5), 5), None);
        let said = Identity::default().difference(&Known::Earlier(5), 6).unwrap();
        assert!(said.contains("w2vc 0.1"), "{said}");
    }
}
