//! Parts of long recordings.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A place in a recording.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum At {
    /// In samples at the recording's own rate.
    Samples(u64),
    Seconds(f64),
}

impl Eq for At {}

impl At {
    pub(super) fn frames(self, rate: u32) -> u64 {
        match self {
            At::Samples(n) => n,
            At::Seconds(s) => (s.max(0.0) * rate as f64).round() as u64,
        }
    }
}

/// A part of a recording: where it begins, and how long it lasts (to the end, where that is not said).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub start: At,
    pub length: Option<At>,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            At::Samples(n) => write!(f, "{n}"),
            At::Seconds(s) => write!(f, "{s}s"),
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.start)?;
        self.length.map_or(Ok(()), |n| write!(f, ":{n}"))
    }
}
