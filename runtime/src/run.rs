//! Run folders.
//!
//! ```text
//! RUN/ config.json model.safetensors vocab.json preprocessor_config.json ...   the best model so far, for everyone
//!      run.json                                                                what makes the folder a run
//!      log.jsonl                                                               one line per report
//!      checkpoints/step-00001000/ weights.safetensors moments.safetensors state
//! ```
//! A folder that holds files and is no run is never written to. A run that is moved while it is written to is noticed:
//! the folder is held open, and its path must lead to it.

mod aside;
mod earlier;
mod format;
mod marker;
mod store;
#[cfg(test)]
mod tests;

pub use format::{Known, Saved, State, decode as decode_state, encode as encode_state};
pub use marker::Marker;

use crate::atomic::{create_dir, is_temporary, open_own, sweep, sync_dir};
use crate::error::Error;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const CHECKPOINTS: &str = "checkpoints";
const LOCK: &str = ".lock";

/// A run folder that this process alone writes to.
pub struct Run {
    dir: PathBuf,
    /// The folder itself, wherever its path may lead later.
    handle: File,
    _lock: File,
    /// Checkpoints that are known to be sound: written by this process, or read through.
    sound: RefCell<BTreeSet<PathBuf>>,
    /// What was found when it was opened.
    notes: RefCell<Vec<String>>,
}

/// What a folder is to a training.
#[derive(Debug, PartialEq)]
enum Kind {
    /// Nothing is in it but what a run that was killed at its very start leaves.
    Bare,
    /// A run, whether it has checkpoints or not.
    Run,
    /// Anything else.
    Other,
}

impl Run {
    /// Opens a folder for a run of `command`: a new one, or with `resume` one that is there.
    ///
    /// # Errors
    /// Where the folder belongs to something else, another process trains in it, or there is nothing to resume.
    pub fn open(dir: &Path, resume: bool, command: &str) -> Result<Run, Error> {
        match fs::metadata(dir) {
            Ok(known) if !known.is_dir() => {
                return Err(Error::run(dir, "it is a file", "name a folder with --out"));
            }
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && resume => {
                return Err(nothing_to_resume(dir, "there is no such folder"));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                create_dir(dir)?;
                sync_dir(
                    dir.parent()
                        .filter(|p| !p.as_os_str().is_empty())
                        .unwrap_or(Path::new(".")),
                )?;
            }
            Err(e) => return Err(Error::io("open", dir)(e)),
        }
        let kind = kind(dir)?;
        match kind {
            Kind::Other if resume => return Err(nothing_to_resume(dir, "it is no run of w2vc")),
            Kind::Other => {
                return Err(Error::run(
                    dir,
                    format!("it holds files and is no run of w2vc (it has no {})", marker::NAME),
                    "choose a new or an empty folder with --out",
                ));
            }
            Kind::Bare | Kind::Run => {}
        }
        let handle = File::open(dir).map_err(Error::io("open", dir))?;
        let lock = lock(dir, &handle)?;
        let run = Run {
            dir: dir.into(),
            handle,
            _lock: lock,
            sound: RefCell::default(),
            notes: RefCell::default(),
        };
        run.prepare(resume, command)?;
        Ok(run)
    }

    /// Makes what a run has, and clears what a killed one left.
    fn prepare(&self, resume: bool, command: &str) -> Result<(), Error> {
        let place = self.place();
        match fs::symlink_metadata(&place) {
            Ok(known) if known.is_dir() => {}
            Ok(_) => {
                let what = "it is not a folder but a link or a file";
                return Err(Error::run(&place, what, "move it away, or choose another --out"));
            }
            Err(_) => fs::create_dir(&place).map_err(Error::io("create", &place))?,
        }
        sweep(&self.dir);
        marker::sweep_earlier(&self.dir);
        self.sweep_checkpoints()?;
        let begun = !self.steps()?.is_empty();
        if begun && !resume {
            return Err(Error::run(
                &self.dir,
                "it holds a run already",
                "continue it with --resume, or choose another folder",
            ));
        }
        let model = self.dir.join(crate::weights::MODEL);
        if !begun && fs::symlink_metadata(&model).is_ok() {
            return Err(Error::run(
                &self.dir,
                format!(
                    "it holds {} and no checkpoint, and training would replace it",
                    crate::weights::MODEL
                ),
                "start from it with --init and another --out",
            ));
        }
        if resume && !begun {
            self.note("there is no checkpoint to resume from yet: the training begins anew".into());
        }
        match Marker::read(&self.dir)? {
            Some(marker) if begun && marker.command != command => {
                let what = format!("it holds a run of `{}`", marker.command);
                return Err(Error::run(&self.dir, what, "choose another folder with --out"));
            }
            Some(marker) if begun || marker.command == command => {}
            _ if begun => {}
            _ => Marker::new(command).write(&self.dir)?,
        }
        sync_dir(&self.dir)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn place(&self) -> PathBuf {
        self.dir.join(CHECKPOINTS)
    }

    fn note(&self, what: String) {
        self.notes.borrow_mut().push(what);
    }

    /// What there is to say about the folder; each is given out once.
    pub fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.borrow_mut())
    }

    /// Fails where the path no longer leads to the folder that was opened.
    ///
    /// # Errors
    /// Where the folder was moved, removed or replaced.
    pub fn still_here(&self) -> Result<(), Error> {
        let identity = |m: fs::Metadata| (m.dev(), m.ino());
        let own = self.handle.metadata().map_err(Error::io("look at", &self.dir))?;
        if fs::metadata(&self.dir).is_ok_and(|m| identity(m) == identity(own)) {
            return Ok(());
        }
        let now = fs::read_link(format!("/proc/self/fd/{}", self.handle.as_raw_fd())).unwrap_or_default();
        let gone = now.as_os_str().is_empty() || now.to_string_lossy().ends_with(" (deleted)");
        Err(if gone {
            Error::run(
                &self.dir,
                "it was removed while the training ran, which ends here",
                "begin anew",
            )
        } else {
            Error::run(
                &self.dir,
                format!(
                    "it was moved to `{}` during training, which ends now; its checkpoints are there",
                    now.display()
                ),
                format!("continue with --out {} --resume", now.display()),
            )
        })
    }

    /// Says of a failure that the folder was moved, where that is why.
    fn or_moved<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        if outcome.is_err() {
            self.still_here()?;
        }
        outcome
    }
}

fn nothing_to_resume(dir: &Path, why: &str) -> Error {
    Error::run(
        dir,
        format!("there is no checkpoint to resume from: {why}"),
        "check --out, or leave --resume out to begin a new run",
    )
}

/// Takes the folder for this process. Both the folder and a file in it are locked: one holds where the file is replaced,
/// the other where a file system locks no folders.
fn lock(dir: &Path, handle: &File) -> Result<File, Error> {
    let busy = || {
        Error::run(
            dir,
            "another training writes to it",
            "wait for it or choose another folder",
        )
    };
    if let Err(TryLockError::WouldBlock) = handle.try_lock() {
        return Err(busy());
    }
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let opened = match options.clone().create_new(true).mode(0o666).open(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => open_own(&mut options, &path),
        other => other,
    };
    let file = opened.map_err(|e| match fs::symlink_metadata(&path) {
        Ok(known) if known.is_symlink() => Error::run(&path, "it is a link, which is not followed", "remove the link"),
        _ => Error::io("create", &path)(e),
    })?;
    if !file.metadata().map_err(Error::io("open", &path))?.is_file() {
        return Err(Error::run(&path, "it is no regular file", "remove it"));
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(busy()),
        Err(TryLockError::Error(e)) => Err(Error::io("lock", &path)(e)),
    }
}

fn kind(dir: &Path) -> Result<Kind, Error> {
    if Marker::read(dir)?.is_some() || store::holds_checkpoints(&dir.join(CHECKPOINTS)) {
        return Ok(Kind::Run);
    }
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let entry = entry.map_err(Error::io("list", dir))?;
        let (name, path) = (entry.file_name(), entry.path());
        let known = fs::symlink_metadata(&path).map_err(Error::io("look at", &path))?;
        let of_a_start = if name == LOCK {
            // What a link leads to is of no account: it is refused by name when the lock is taken.
            known.is_symlink() || known.len() == 0
        } else if name == CHECKPOINTS {
            known.is_symlink() || (known.is_dir() && store::is_bare(&path))
        } else {
            known.is_file() && (is_temporary(&name) || marker::is_earlier_temporary(&name))
        };
        if !of_a_start {
            return Ok(Kind::Other);
        }
    }
    Ok(Kind::Bare)
}
