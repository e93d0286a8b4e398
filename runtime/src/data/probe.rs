//! Lengths of all recordings, found on all cores.

use super::Utterance;
use crate::audio::{is_missing, is_of_the_system, probe};
use crate::error::Error;
use crate::meter::Meter;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The length of each utterance in samples at 16 kHz, or why it is left out.
///
/// # Errors
/// Where the system fails to read one that is there.
pub(super) fn all(utterances: &[Utterance]) -> Result<Vec<Result<usize, String>>, Error> {
    let threads = std::thread::available_parallelism()
        .map_or(1, |n| n.get())
        .min(utterances.len().max(1));
    let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    let meter = Meter::new("recordings looked at", utterances.len() as u64);
    let work = || {
        let mut found = vec![];
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(u) = utterances.get(i).filter(|_| !stopped.load(Ordering::Relaxed)) else {
                return found;
            };
            let length = probe(&u.path, u.segment);
            stopped.fetch_or(length.as_ref().is_err_and(stops), Ordering::Relaxed);
            found.push((i, length));
            meter.add(1);
        }
    };
    let mut all: Vec<(usize, Result<usize, Error>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|w| w.join().expect("probing returns errors, it does not panic"))
            .collect()
    });
    meter.finish();
    all.sort_by_key(|(i, _)| *i);
    all.into_iter()
        .map(|(_, length)| match length {
            Err(e) if stops(&e) => Err(e),
            Err(e) => Ok(Err(super::skips::reason(&e))),
            Ok(n) => Ok(Ok(n)),
        })
        .collect()
}

/// A file that is not there is a fault of the table; one that the system cannot read is no fault of anybody's data.
fn stops(error: &Error) -> bool {
    is_of_the_system(error) && !is_missing(error)
}
