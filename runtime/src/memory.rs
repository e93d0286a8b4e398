//! Whether something fits, before anything is allocated for it.

mod limits;

use crate::error::Error;
use crate::session::{Session, Tensor};
use limits::{kilobytes, room};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that this process may hold, where it shares the machine with others of its job.
static OWN: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Memory that can be had without swapping, in bytes: of the machine, of the containers around this process, and of its own
/// limits the least. Unknown where the system does not tell.
pub fn available() -> Option<usize> {
    let free = room(Path::new("/"))?;
    match OWN.load(Ordering::Relaxed) {
        usize::MAX => Some(free),
        own => Some(free.min(own.saturating_sub(resident().unwrap_or(0)))),
    }
}

/// Has this process take no more than its part of what is free now: so many processes begin on this machine at once.
pub fn share_with(processes: usize) {
    if let (true, Some(free)) = (processes > 1, room(Path::new("/"))) {
        OWN.store(resident().unwrap_or(0) + free / processes, Ordering::Relaxed);
    }
}

/// The most memory this process has held, in bytes.
pub fn peak_resident() -> Option<usize> {
    kilobytes(Path::new("/proc/self/status"), "VmHWM")
}

/// The memory this process holds, in bytes.
pub fn resident() -> Option<usize> {
    kilobytes(Path::new("/proc/self/status"), "VmRSS")
}

/// Fails where so many bytes more cannot be had; `what` needs them.
///
/// # Errors
/// [`Error::Room`].
pub fn require(needed: usize, what: &str, remedy: &str) -> Result<(), Error> {
    match available().filter(|free| needed > *free) {
        Some(available) => Err(Error::Room {
            what: what.into(),
            needed,
            available,
            remedy: remedy.into(),
        }),
        None => Ok(()),
    }
}

/// The largest need seen, so that only larger batches are checked anew.
#[derive(Default)]
pub struct Guard {
    held: usize,
}

impl Guard {
    /// Fails where the program would need more than there is, with what to do about it.
    pub fn check(
        &mut self,
        session: &dyn Session,
        program: &str,
        inputs: &[(&str, &Tensor)],
        remedy: &str,
    ) -> Result<(), Error> {
        if let Some(judged) = session.admit(program, inputs, remedy) {
            return judged;
        }
        let needed = session.peak_bytes(program, inputs)?;
        // What an earlier batch took is the session's already.
        let more = needed.saturating_sub(self.held);
        if let Some(available) = available().filter(|free| more > *free) {
            let available = available.saturating_add(self.held);
            return Err(Error::Memory {
                program: program.into(),
                needed,
                available,
                remedy: remedy.into(),
            });
        }
        self.held = self.held.max(needed);
        Ok(())
    }
}
