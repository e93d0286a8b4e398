//! Whether a batch fits, before anything is allocated for it.

use crate::error::Error;
use crate::session::{Session, Tensor};

/// Value of a `Name:  123 kB` line, in bytes.
fn kilobytes(file: &str, name: &str) -> Option<usize> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? * 1024)
}

/// Memory that can be had without swapping; unknown where the system does not tell.
pub fn available() -> Option<usize> {
    kilobytes("/proc/meminfo", "MemAvailable")
}

/// The most memory this process has held, in bytes.
pub fn peak_resident() -> Option<usize> {
    kilobytes("/proc/self/status", "VmHWM")
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
            let available = available + self.held;
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
