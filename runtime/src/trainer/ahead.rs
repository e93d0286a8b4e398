//! The batch after the one that is running: noise and negatives are drawn for it while the device is busy.

use crate::batch::{Batch, Clips, Occasion, build};
use crate::data::{Clip, Position};
use crate::error::Error;
use crate::geometry::Geometry;
use crate::settings::Settings;
use ir::artifact::Program;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::ScopedJoinHandle;

/// Clips of a batch that is still to be built.
pub struct Gathered {
    /// Where training goes on after this batch.
    pub next: Position,
    pub program: Arc<Program>,
    pub clips: Vec<Clip>,
    pub labels: Vec<Vec<i32>>,
    pub occasion: Occasion,
}

/// A batch, or why it could not be built: whoever runs it hears of that.
pub struct Ready {
    pub next: Position,
    pub samples: u64,
    pub batch: Result<Batch, Error>,
}

impl Ready {
    pub fn new(gathered: Gathered, geometry: &Geometry, settings: &Settings) -> Ready {
        let waves: Vec<&[f32]> = gathered.clips.iter().map(|c| c.wave.as_slice()).collect();
        let clips = Clips {
            waves: &waves,
            labels: &gathered.labels,
        };
        Ready {
            next: gathered.next,
            samples: waves.iter().map(|w| w.len() as u64).sum(),
            batch: build(&gathered.program, geometry, settings, clips, gathered.occasion),
        }
    }
}

/// Does `run`, and beside it, on a thread of its own, builds what was gathered. That nothing could be gathered is an error of
/// the batch after this one.
pub fn beside<T>(
    gathered: Result<Option<Gathered>, Error>,
    (geometry, settings): (&Geometry, &Settings),
    ready: &mut Option<Result<Ready, Error>>,
    run: impl FnOnce() -> T,
) -> T {
    std::thread::scope(|scope| {
        let building = gathered.map(|g| g.map(|g| scope.spawn(move || Ready::new(g, geometry, settings))));
        let result = run();
        let wait = |building: ScopedJoinHandle<Ready>| building.join().unwrap_or_else(|panic| resume_unwind(panic));
        *ready = building.map(|b| b.map(wait)).transpose();
        result
    })
}
