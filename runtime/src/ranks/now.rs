//! What a rank is doing, to be read by the threads that watch.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What a rank may be doing. The number is what goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Starting,
    Reading,
    Computing,
    /// Waits for the others, or exchanges numbers with them.
    Exchanging,
    Validating,
    Writing,
    Ending,
}

const ALL: [Phase; 7] = [
    Phase::Starting,
    Phase::Reading,
    Phase::Computing,
    Phase::Exchanging,
    Phase::Validating,
    Phase::Writing,
    Phase::Ending,
];

impl Phase {
    pub fn words(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Reading => "reading data",
            Phase::Computing => "computing",
            Phase::Exchanging => "summing",
            Phase::Validating => "validating",
            Phase::Writing => "writing a checkpoint",
            Phase::Ending => "ending",
        }
    }
}

/// What a rank does and since when, as others are told.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub update: u64,
    pub phase: Phase,
    /// In this phase.
    pub seconds: f64,
}

/// What this process does.
pub struct Now {
    begun: Instant,
    update: AtomicU64,
    phase: AtomicU64,
    /// Milliseconds after `begun`.
    since: AtomicU64,
}

impl Default for Now {
    fn default() -> Now {
        Now {
            begun: Instant::now(),
            update: AtomicU64::new(0),
            phase: AtomicU64::new(0),
            since: AtomicU64::new(0),
        }
    }
}

impl Now {
    fn millis(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// Begins a phase; the one before is given back.
    pub fn enter(&self, phase: Phase) -> Phase {
        self.since.store(self.millis(), Ordering::Relaxed);
        let at = ALL.iter().position(|p| *p == phase).unwrap_or(0) as u64;
        ALL[self.phase.swap(at, Ordering::Relaxed) as usize % ALL.len()]
    }

    pub fn at_update(&self, update: u64) {
        self.update.store(update, Ordering::Relaxed);
    }

    pub fn status(&self) -> Status {
        Status {
            update: self.update.load(Ordering::Relaxed),
            phase: ALL[self.phase.load(Ordering::Relaxed) as usize % ALL.len()],
            seconds: self.millis().saturating_sub(self.since.load(Ordering::Relaxed)) as f64 / 1000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_lasts_until_the_next() {
        let now = Now::default();
        assert_eq!(now.enter(Phase::Reading), Phase::Starting);
        now.at_update(7);
        let status = now.status();
        assert_eq!((status.update, status.phase), (7, Phase::Reading));
        assert!(status.seconds < 10.0);
        assert_eq!(now.enter(Phase::Exchanging), Phase::Reading);
    }
}
