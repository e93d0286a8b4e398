//! Inputs on their way: through pinned memory on a stream of their own, so that copying goes on beside launches.

use super::driver::{self, CUstream, Event, Pinned};
use crate::error::Error;
use rayon::prelude::*;

/// Bytes that one thread copies at a time.
const PIECE: usize = 1 << 20;

pub struct Staging {
    pinned: Option<Pinned>,
    /// The last copy out of the pinned memory is done.
    copied: Event,
    /// The last launches that read what was copied are done.
    used: Event,
}

impl Staging {
    pub fn new() -> Result<Staging, Error> {
        Ok(Staging {
            pinned: None,
            copied: Event::new()?,
            used: Event::new()?,
        })
    }

    /// Copies parts to the device on `copies`; `work` waits for them.
    pub fn stage(&mut self, parts: &[(u64, &[u8])], copies: CUstream, work: CUstream) -> Result<(), Error> {
        let bytes: usize = parts.iter().map(|(_, part)| part.len()).sum();
        if bytes == 0 {
            return Ok(());
        }
        self.copied.wait()?;
        if self.pinned.as_ref().is_none_or(|p| p.len() < bytes) {
            self.pinned = None;
            self.pinned = Some(Pinned::new(bytes)?);
        }
        self.used.hold(copies)?;
        let mut rest = self.pinned.as_mut().map(Pinned::bytes).unwrap_or_default();
        for (to, part) in parts.iter().filter(|(_, part)| !part.is_empty()) {
            let (own, after) = rest.split_at_mut(part.len());
            // One thread alone copies slower than the bus.
            let pieces = own.par_chunks_mut(PIECE).zip(part.par_chunks(PIECE));
            pieces.for_each(|(own, part)| own.copy_from_slice(part));
            driver::copy_to_device(*to, own, copies)?;
            rest = after;
        }
        self.copied.record(copies)?;
        self.copied.hold(work)
    }

    pub fn used(&mut self, work: CUstream) -> Result<(), Error> {
        self.used.record(work)
    }
}
