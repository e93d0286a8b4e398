//! Staging of inputs: through pinned memory on a separate stream, so that copies overlap launches.

use super::driver::{self, CUstream, Event, Pinned};
use crate::error::Error;
use crate::threads::start_in;

/// Bytes that are worth a thread, and how many threads copy at most.
const PIECE: usize = 4 << 20;
const THREADS: usize = 4;

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
            copy(own, part);
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

/// Several threads copy what is long: one alone is slower than the bus. They are none of the pool's, where the next batch's
/// noise may be waiting in line.
fn copy(to: &mut [u8], from: &[u8]) {
    let piece = from.len().div_ceil(THREADS).max(PIECE);
    if from.len() <= piece {
        return to.copy_from_slice(from);
    }
    std::thread::scope(|scope| {
        for (to, from) in to.chunks_mut(piece).zip(from.chunks(piece)) {
            if let Err(copy) = start_in(scope, || to.copy_from_slice(from)) {
                copy();
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_copied_by_any_number_of_threads() {
        for bytes in [0, 1, PIECE, PIECE + 1, 3 * PIECE - 1, (THREADS + 2) * PIECE + 5] {
            let from: Vec<u8> = (0..bytes).map(|i| (i * 7 + i / 251) as u8).collect();
            let mut to = vec![0; bytes];
            copy(&mut to, &from);
            assert!(to == from, "{bytes} bytes");
        }
    }
}
