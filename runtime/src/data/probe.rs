//! All recordings looked at, on all cores: their lengths by the header, or what decoding shows.

use super::Utterance;
use crate::audio::{Reader, is_missing, is_of_the_system, is_silent, probe};
use crate::error::Error;
use crate::log::Progress;
use crate::threads::start_in;
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What decoding a recording shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// At 16 kHz.
    pub samples: usize,
    pub silent: bool,
    /// Channels cancel each other.
    pub cancels: bool,
}

/// The length of each utterance in samples at 16 kHz, or why it is left out.
///
/// # Errors
/// Where the system fails to read one that is there.
pub(super) fn lengths(utterances: &[Utterance]) -> Result<Vec<Result<usize, String>>, Error> {
    each("recordings looked at", utterances, &|_, u| probe(&u.path, u.segment))
}

/// As [`lengths`], by decoding every recording to its end.
pub fn decode_all(utterances: &[Utterance]) -> Result<Vec<Result<Decoded, String>>, Error> {
    each("recordings decoded", utterances, &|reader, u| {
        let mut stream = reader.open(&u.path, u.segment)?;
        let (mut samples, mut silent, mut piece, mut going) = (0, true, vec![], true);
        while going {
            // What came last stays, so that a step from one piece to the next is seen.
            piece.drain(..piece.len().saturating_sub(1));
            let before = piece.len();
            going = stream.more(&mut piece)?;
            samples += piece.len() - before;
            silent &= is_silent(&piece);
        }
        Ok(Decoded {
            samples,
            silent,
            cancels: stream.cancels(),
        })
    })
}

/// Does some work for each utterance.
fn each<T: Send>(
    what: &'static str,
    utterances: &[Utterance],
    work: &(dyn Fn(&mut Reader, &Utterance) -> Result<T, Error> + Sync),
) -> Result<Vec<Result<T, String>>, Error> {
    let threads = std::thread::available_parallelism()
        .map_or(1, |n| n.get())
        .min(utterances.len().max(1));
    let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    let progress = Mutex::new(Progress::new(what, utterances.len()));
    let worker = || {
        let (mut found, mut reader) = (vec![], Reader::default());
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let going = !stopped.load(Ordering::Relaxed);
            let Some(u) = utterances.get(i).filter(|_| going) else {
                return found;
            };
            let outcome = work(&mut reader, u);
            stopped.fetch_or(outcome.as_ref().is_err_and(stops), Ordering::Relaxed);
            found.push((i, outcome));
            progress.lock().unwrap_or_else(|e| e.into_inner()).step();
        }
    };
    let mut all: Vec<(usize, Result<T, Error>)> = std::thread::scope(|scope| {
        // This thread works too, so one that cannot be had is no loss of anything but time.
        let others: Vec<_> = (1..threads).map_while(|_| start_in(scope, worker).ok()).collect();
        let own = worker();
        let joined = others
            .into_iter()
            .flat_map(|w| w.join().unwrap_or_else(|panic| resume_unwind(panic)));
        own.into_iter().chain(joined).collect()
    });
    drop(progress);
    all.sort_by_key(|(i, _)| *i);
    all.into_iter()
        .map(|(_, outcome)| match outcome {
            Err(e) if stops(&e) => Err(e),
            Err(e) => Ok(Err(super::skips::reason(&e))),
            Ok(value) => Ok(Ok(value)),
        })
        .collect()
}

/// A file that is not there is a fault of the table; one that the system cannot read is no fault of anybody's data.
fn stops(error: &Error) -> bool {
    is_of_the_system(error) && !is_missing(error)
}
