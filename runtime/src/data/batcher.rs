//! Which clips go together and in what order: a function of the lengths, the seed and the epoch alone.

use crate::random::{Purpose, Stream};
use serde::{Deserialize, Serialize};

/// Sizes of a batch. Lengths in samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Samples of a batch once all its clips have the length of the longest.
    pub max_tokens: usize,
    /// Clips of a batch.
    pub max_batch: usize,
    /// A longer clip is cropped to this.
    pub max_crop: usize,
    /// Crop every clip of a batch to the shortest of them, rather than pad to the longest.
    pub crop_to_shortest: bool,
}

/// A clip that is so many times shorter than the longest of a batch does not join it where all would be cropped to it.
const SPOILS: usize = 4;

/// A place in the endless sequence of batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    pub epoch: u64,
    /// Batch within the epoch.
    pub batch: u64,
    /// Part of a batch whose clips turned out too long to go together.
    pub part: u64,
}

/// One batch: the clips, and the most samples each may keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub position: Position,
    pub clips: Vec<usize>,
    pub crop: usize,
}

/// Plans the batches of a corpus.
#[derive(Clone, Debug)]
pub struct Batcher {
    lengths: Vec<usize>,
    limits: Limits,
    seed: u64,
    /// Random order; otherwise the same batches, longest first, in every epoch.
    shuffle: bool,
}

impl Batcher {
    pub fn new(lengths: Vec<usize>, limits: Limits, seed: u64, shuffle: bool) -> Batcher {
        Batcher {
            lengths,
            limits,
            seed,
            shuffle,
        }
    }

    /// The batches of an epoch. Clips of like length go together (ties in random order), as many as the limits allow;
    /// the order of batches is random. Every clip is in exactly one batch.
    pub fn epoch(&self, epoch: u64) -> Vec<Plan> {
        let mut order: Vec<usize> = (0..self.lengths.len()).collect();
        let mut stream = Stream::new(self.seed, Purpose::Order, epoch, 0);
        if self.shuffle {
            let all = order.len();
            stream.choose(&mut order, all);
        }
        let size = |i: &usize| self.lengths[*i].min(self.limits.max_crop);
        order.sort_by_key(|i| std::cmp::Reverse(size(i)));
        let mut groups: Vec<Vec<usize>> = vec![];
        for clip in order {
            match groups.last_mut() {
                Some(group)
                    if group.len() < self.limits.max_batch
                        && (group.len() + 1) * size(&group[0]) <= self.limits.max_tokens
                        && !(self.limits.crop_to_shortest && size(&clip) * SPOILS < size(&group[0])) =>
                {
                    group.push(clip)
                }
                _ => groups.push(vec![clip]),
            }
        }
        if self.shuffle {
            let all = groups.len();
            stream.choose(&mut groups, all);
        }
        groups
            .into_iter()
            .enumerate()
            .map(|(batch, clips)| {
                let shortest = clips.iter().map(size).min().unwrap_or(0);
                let crop = if self.limits.crop_to_shortest {
                    shortest
                } else {
                    self.limits.max_crop
                };
                Plan {
                    position: Position {
                        epoch,
                        batch: batch as u64,
                        part: 0,
                    },
                    clips,
                    crop,
                }
            })
            .collect()
    }

    /// Plans from a place on, epoch after epoch without end (none at all where there are no clips).
    pub fn from(self, start: Position) -> impl Iterator<Item = Plan> + Send {
        // A plan is made whole; the loader passes over the parts before the start.
        let start = Position { part: 0, ..start };
        let epochs = if self.lengths.is_empty() {
            start.epoch..start.epoch
        } else {
            start.epoch..u64::MAX
        };
        epochs
            .flat_map(move |e| self.epoch(e))
            .filter(move |p| p.position >= start)
    }

    /// Where training goes on after so many plans from a place on. Every epoch has as many plans: how clips are grouped depends
    /// on the lengths alone, in whatever order equal ones come.
    pub fn after(from: Position, plans: u64, in_epoch: u64) -> Position {
        let batch = from.batch + plans;
        Position {
            epoch: from.epoch + batch / in_epoch.max(1),
            batch: batch % in_epoch.max(1),
            part: 0,
        }
    }

    /// Where in a clip of `length` the crop to `crop` samples begins.
    pub fn crop_start(seed: u64, position: Position, row: usize, length: usize, crop: usize) -> usize {
        let spare = length.saturating_sub(crop);
        let mut stream = Stream::new(seed, Purpose::Crop, position.epoch, position.batch << 20 | row as u64);
        if spare == 0 { 0 } else { stream.below(spare + 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_clip_once_within_the_limits_and_resumable(
            lengths in prop::collection::vec(1usize..500, 1..60), seed: u64, max_tokens in 500usize..3000,
            max_batch in 1usize..9, crop_to_shortest: bool, skip in 0usize..40,
        ) {
            let limits = Limits { max_tokens, max_batch, max_crop: 300, crop_to_shortest };
            let batcher = Batcher::new(lengths.clone(), limits, seed, true);
            for plan in batcher.epoch(3) {
                let longest = plan.clips.iter().map(|i| lengths[*i].min(300)).max().unwrap();
                prop_assert!(plan.clips.len() * longest <= max_tokens && plan.clips.len() <= max_batch);
            }
            let mut seen: Vec<usize> = batcher.epoch(3).into_iter().flat_map(|p| p.clips).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            let all: Vec<Plan> = batcher.clone().from(Position::default()).take(skip + 5).collect();
            let count = batcher.epoch(0).len() as u64;
            for (i, plan) in all.iter().enumerate() {
                prop_assert_eq!(Batcher::after(Position::default(), i as u64, count), plan.position);
            }
            let later: Vec<Plan> = batcher.from(all[skip].position).take(5).collect();
            prop_assert_eq!(&all[skip..], &later[..]);
        }
    }

    #[test]
    fn a_short_clip_does_not_crop_the_long_ones() {
        let limits = Limits {
            max_tokens: 100_000,
            max_batch: 9,
            max_crop: 2_000,
            crop_to_shortest: true,
        };
        let crops = |limits| -> Vec<usize> {
            let plans = Batcher::new(vec![1_000, 900, 20, 700, 240], limits, 1, false).epoch(0);
            plans.iter().map(|p| p.crop).collect()
        };
        assert_eq!(crops(limits), [700, 240, 20]);
        let padded = Limits {
            crop_to_shortest: false,
            ..limits
        };
        assert_eq!(crops(padded), [2_000]);
    }

    #[test]
    fn epochs_differ() {
        let limits = Limits {
            max_tokens: 100,
            max_batch: 4,
            max_crop: 50,
            crop_to_shortest: true,
        };
        let batcher = Batcher::new((1..100).collect(), limits, 1, true);
        let clips = |e| batcher.epoch(e).into_iter().map(|p| p.clips).collect::<Vec<_>>();
        assert_ne!(clips(0), clips(1));
        assert_eq!(clips(1), clips(1));
    }
}
