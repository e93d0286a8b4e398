//! Prefetches the next batch: its noise and negatives are drawn while the device computes.

use crate::data::Clip;
use crate::error::Error;
use crate::feeds::{Batch, Clips, Feeds, Occasion};
use crate::threads::start_in;
use ir::artifact::Program;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::ScopedJoinHandle;

/// Clips of a batch that is still to be built.
pub struct Gathered {
    /// Of the batch, and of the part of it that this is.
    pub number: u64,
    pub part: u64,
    /// Nothing of its update comes after it.
    pub last: bool,
    pub program: Arc<Program>,
    pub clips: Vec<Clip>,
    pub labels: Vec<Vec<i32>>,
    pub occasion: Occasion,
}

/// A batch, or why it could not be built: whoever runs it hears of that.
pub struct Ready {
    pub number: u64,
    pub part: u64,
    pub last: bool,
    pub samples: u64,
    pub batch: Result<Batch, Error>,
}

impl Ready {
    pub fn new(gathered: Gathered, feeds: &Feeds) -> Ready {
        let waves: Vec<&[f32]> = gathered.clips.iter().map(|c| c.wave.as_slice()).collect();
        let clips = Clips {
            waves: &waves,
            labels: &gathered.labels,
        };
        Ready {
            number: gathered.number,
            part: gathered.part,
            last: gathered.last,
            samples: waves.iter().map(|w| w.len() as u64).sum(),
            batch: feeds.draw(&gathered.program, clips, &gathered.occasion),
        }
    }
}

/// Does `run`, and beside it, on a thread of its own, builds what was gathered. That nothing could be gathered is an error of
/// the batch after this one.
pub fn beside<T>(
    gathered: Result<Option<Gathered>, Error>,
    feeds: &Feeds,
    ready: &mut Option<Result<Ready, Error>>,
    run: impl FnOnce() -> T,
) -> T {
    std::thread::scope(|scope| {
        let building = gathered.map(|g| g.map(|g| start_in(scope, move || Ready::new(g, feeds))));
        let result = run();
        *ready = building.map(|b| b.map(finish)).transpose();
        result
    })
}

/// Waits for a thread, or does its work where none was to be had.
fn finish(building: Result<ScopedJoinHandle<Ready>, impl FnOnce() -> Ready>) -> Ready {
    match building {
        Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
        Err(build) => build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    fn gathered(program: Arc<Program>) -> Gathered {
        Gathered {
            number: 0,
            part: 0,
            last: false,
            program,
            clips: vec![Clip {
                path: "a.wav".into(),
                wave: vec![0.5; 400],
                start: 0,
                text: None,
                clusters: None,
            }],
            labels: vec![vec![]],
            occasion: Occasion {
                seed: 1,
                major: 2,
                minor: 0,
                update: 2,
                masks: true,
                noise: true,
                whole: false,
            },
        }
    }

    /// What is built beside a run is what would have been built before it; that nothing could be gathered does not end the run.
    #[test]
    fn the_next_batch_or_why_there_is_none_is_kept_for_its_turn() {
        let artifact = fake::artifact();
        let feeds = fake::feeds("pretrain");
        let program = artifact.programs.iter().find(|p| p.name == "pretrain").unwrap();
        let program = Arc::new(program.clone());
        let given = &feeds;
        let mut ready = None;

        assert_eq!(beside(Ok(Some(gathered(program.clone()))), given, &mut ready, || 1), 1);
        let built = ready.take().unwrap().unwrap();
        let directly = Ready::new(gathered(program), &feeds);
        assert_eq!((built.samples, directly.samples), (400, 400));
        assert_eq!(built.batch.unwrap().inputs, directly.batch.unwrap().inputs);

        assert_eq!(beside(Ok(None), given, &mut ready, || 2), 2);
        assert!(ready.is_none());
        let nothing = Error::Training {
            update: 3,
            what: "no clips".into(),
        };
        assert_eq!(beside(Err(nothing), given, &mut ready, || 3), 3);
        let error = ready.unwrap().err().unwrap().to_string();
        assert!(error.contains("no clips"), "{error}");
    }
}
