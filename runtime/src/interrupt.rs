//! Signals to a training: SIGINT, SIGTERM and SIGHUP end it after a checkpoint, SIGUSR1 has it write one and go on.
//!
//! A second signal of the first kind ends the process at once.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A signal that ends a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal(i32);

impl Signal {
    /// As shells have it.
    pub fn exit_code(self) -> u8 {
        128 + self.0 as u8
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let names = [(SIGINT, "SIGINT"), (SIGTERM, "SIGTERM"), (SIGHUP, "SIGHUP")];
        match names.iter().find(|(n, _)| *n == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

/// From here on a file that grows beyond a limit (`ulimit -f`) is an error of the write, which names it, instead of the end of
/// the process without a word.
pub fn limits_of_files_are_errors() {
    // SAFETY: no handler is installed; the signal is ignored.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// What is said where a mapped file becomes shorter than it was.
const SHORTENED: &[u8] =
    b"error: a file that is in use became shorter (weights, or a large language model): it must not be written to \
                          while it is used; write a new one beside it and rename that\n";

/// From here on a mapped file that somebody shortens ends the process with a word of why.
pub fn shortened_files_are_told() {
    extern "C" fn tell(signal: libc::c_int) {
        // SAFETY: calls that a signal handler may make; the signal comes again when it returns, and then ends the process.
        unsafe {
            libc::write(2, SHORTENED.as_ptr().cast(), SHORTENED.len());
            libc::signal(signal, libc::SIG_DFL);
        }
    }
    // SAFETY: the handler does only what handlers may.
    unsafe { libc::signal(libc::SIGBUS, tell as *const () as libc::sighandler_t) };
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// A checkpoint, and on with the training.
    Checkpoint,
    /// A checkpoint, and an end.
    End(Signal),
}

/// What signals have asked for.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// The number of the signal; 0: none.
    end: Arc<AtomicUsize>,
    checkpoint: Arc<AtomicBool>,
    /// Whether they are of this process; otherwise a test raises them.
    real: bool,
}

impl Signals {
    /// Has SIGUSR1 noted from here on: at no moment does it end the process, as it otherwise would.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn watch() -> Result<Signals, Error> {
        let signals = Signals {
            real: true,
            ..Signals::default()
        };
        let set = flag::register(SIGUSR1, signals.checkpoint.clone());
        set.map_err(Error::io("watch for signals of", "this process".as_ref()))?;
        Ok(signals)
    }

    /// Has the signals that end a process noted, too: from here on there is something to lose.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn arm(&self) -> Result<(), Error> {
        let set = || -> io::Result<()> {
            let second = Arc::new(AtomicBool::new(false));
            for signal in [SIGINT, SIGTERM, SIGHUP] {
                // `nohup` has SIGHUP ignored, and so it stays.
                if signal == SIGHUP && ignored(signal) {
                    continue;
                }
                // In this order: the first signal arms what ends the process at the second.
                flag::register_conditional_shutdown(signal, 128 + signal, second.clone())?;
                flag::register(signal, second.clone())?;
                flag::register_usize(signal, self.end.clone(), signal as usize)?;
            }
            Ok(())
        };
        if self.real {
            set().map_err(Error::io("watch for signals of", "this process".as_ref()))?;
        }
        Ok(())
    }

    /// What is asked for; a checkpoint is asked for once.
    pub fn take(&self) -> Option<Wish> {
        match self.end.load(Ordering::Relaxed) {
            0 => self
                .checkpoint
                .swap(false, Ordering::Relaxed)
                .then_some(Wish::Checkpoint),
            signal => Some(Wish::End(Signal(signal as i32))),
        }
    }

    /// Does as a signal would.
    #[cfg(test)]
    pub fn raise(&self, signal: i32) {
        match signal {
            SIGUSR1 => self.checkpoint.store(true, Ordering::Relaxed),
            other => self.end.store(other as usize, Ordering::Relaxed),
        }
    }
}

/// Whether this process was started with a signal ignored.
fn ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok());
    mask.is_some_and(|m| m >> (signal - 1) & 1 == 1)
}

/// The command line of this process with `--resume`, as a shell reads it.
pub fn command_to_go_on() -> String {
    let words = std::env::args_os().map(|w| w.to_string_lossy().into_owned());
    go_on(words)
}

fn go_on(words: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = words.map(|w| quoted(&w)).collect();
    if !words.iter().any(|w| w == "--resume") {
        words.push("--resume".into());
    }
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_to_go_on_is_one_a_shell_reads() {
        let words = |line: &[&str]| go_on(line.iter().map(|w| w.to_string()).collect::<Vec<_>>().into_iter());
        assert_eq!(
            words(&["./m", "pretrain", "--out", "r"]),
            "./m pretrain --out r --resume"
        );
        assert_eq!(
            words(&["./m", "--data", "my clips/it's", "--resume"]),
            r"./m --data 'my clips/it'\''s' --resume"
        );
    }

    #[test]
    fn a_checkpoint_is_asked_for_once_and_an_end_for_good() {
        let signals = Signals::default();
        assert_eq!(signals.take(), None);
        signals.raise(SIGUSR1);
        assert_eq!((signals.take(), signals.take()), (Some(Wish::Checkpoint), None));
        signals.raise(SIGTERM);
        let Some(Wish::End(signal)) = signals.take() else {
            panic!("the end was asked for")
        };
        assert_eq!((signal.exit_code(), signal.to_string()), (143, "SIGTERM".into()));
    }
}
