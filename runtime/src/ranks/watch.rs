//! Whether all ranks are still there. Each has a connection to rank 0 and says a few times a second what it is doing. Where one is gone,
//! is silent for too long, or fails, rank 0 says so once and has all end, whatever call they hang in.

mod frame;
mod guest;
mod host;

pub use guest::Guest;
pub use host::{Door, Host};

use super::now::Status;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// From one sign of life to the next; what a rank is said to have been doing is as old at most.
const BEAT: Duration = Duration::from_millis(200);

/// What a rank says to rank 0.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Said {
    Hello {
        token: u64,
        rank: usize,
    },
    Alive(Status),
    /// It cannot go on: the code of its error and what it is.
    Failed {
        code: u8,
        text: String,
    },
    Goodbye,
}

/// What rank 0 says to the others.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Told {
    Alive,
    /// End at once with this code.
    End {
        code: u8,
    },
    Goodbye,
}

/// Who a rank is, for messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub rank: usize,
    pub host: String,
    pub pid: u32,
}

impl Member {
    pub fn name(&self) -> String {
        format!("rank {} on {} (pid {})", self.rank, self.host, self.pid)
    }
}

/// Seconds after which something is no longer waited for.
#[derive(Debug)]
pub struct Limits {
    /// Of a rank that says nothing.
    silence: AtomicU64,
    /// Of a rank that does not get on.
    stall: AtomicU64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            silence: AtomicU64::new(30),
            stall: AtomicU64::new(1800),
        }
    }
}

impl Limits {
    pub fn set(&self, silence: f64, stall: f64) {
        self.silence.store(silence.ceil() as u64, Ordering::Relaxed);
        self.stall.store(stall.ceil() as u64, Ordering::Relaxed);
    }
    fn silence(&self) -> Duration {
        Duration::from_secs(self.silence.load(Ordering::Relaxed))
    }
    fn stall(&self) -> f64 {
        self.stall.load(Ordering::Relaxed) as f64
    }
}

/// Ends this process now: no destructor waits for a call that hangs.
pub fn leave(code: u8) -> ! {
    // SAFETY: nothing of this process runs after it.
    unsafe { libc::_exit(code as i32) }
}
