//! The bytes of a recording: opened without blocking, read with system failures kept apart from faults
//! of the content.

use super::bad;
use crate::error::Error;
use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use symphonia::core::io::MediaSource;

/// The path that stands for standard input.
pub const STDIN: &str = "-";

/// Pauses before a failed call of the system is made again.
const PAUSES: [u64; 3] = [20, 100, 500];

/// A recording's bytes. What the system fails to read is remembered, however the decoder above reports it.
pub(super) struct Input {
    file: File,
    len: u64,
    trouble: Trouble,
}

/// The failure of the system that a reader met, if any.
#[derive(Clone, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<io::Error>>>);

impl Trouble {
    /// The failure as an error that names the file; once.
    pub fn take(&self, path: &Path) -> Option<Error> {
        let source = self.0.lock().unwrap_or_else(|e| e.into_inner()).take()?;
        Some(Error::io("read", path)(source))
    }

    fn note<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        if let Err(e) = &outcome
            && let Some(code) = e.raw_os_error()
        {
            *self.0.lock().unwrap_or_else(|e| e.into_inner()) = Some(io::Error::from_raw_os_error(code));
        }
        outcome
    }
}

impl Input {
    /// # Errors
    /// [`Error::Io`] where the system fails; [`Error::Audio`] for what is no file: folders, FIFOs, sockets and devices are
    /// never waited for.
    pub fn open(path: &Path) -> Result<Input, Error> {
        let found = patiently(|| std::fs::metadata(path)).map_err(Error::io("open", path))?;
        check_type(path, found.file_type())?;
        // Between the two calls the file may have been replaced; opening a FIFO must not wait even then.
        let open = || OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        let file = patiently(open).map_err(Error::io("open", path))?;
        let found = patiently(|| file.metadata()).map_err(Error::io("read", path))?;
        check_type(path, found.file_type())?;
        Input::of(path, file, found.len())
    }

    /// Standard input, all of it, kept in an unnamed temporary file: containers are read back and forth. Later calls give the
    /// same again.
    pub fn stdin() -> Result<Input, Error> {
        static KEPT: Mutex<Option<(File, u64)>> = Mutex::new(None);
        let path = Path::new(STDIN);
        let mut kept = KEPT.lock().unwrap_or_else(|e| e.into_inner());
        if kept.is_none() {
            let mut file = tempfile::tempfile().map_err(Error::io("make a temporary file for", path))?;
            let len = io::copy(&mut io::stdin().lock(), &mut file).map_err(Error::io("read", path))?;
            *kept = Some((file, len));
        }
        let (file, len) = kept.as_ref().expect("kept above");
        let mut file = patiently(|| file.try_clone()).map_err(Error::io("read", path))?;
        file.rewind().map_err(Error::io("read", path))?;
        Input::of(path, file, *len)
    }

    fn of(path: &Path, file: File, len: u64) -> Result<Input, Error> {
        if len == 0 {
            return Err(bad(path, "the file is empty", "remove it or record it again"));
        }
        Ok(Input {
            file,
            len,
            trouble: Trouble::default(),
        })
    }

    pub fn trouble(&self) -> Trouble {
        self.trouble.clone()
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Another reader of the same open file, from its beginning. The two share their place in it: one at a time.
    pub fn again(&self, path: &Path) -> Result<Input, Error> {
        let mut file = patiently(|| self.file.try_clone()).map_err(Error::io("read", path))?;
        file.rewind().map_err(Error::io("read", path))?;
        Ok(Input {
            file,
            len: self.len,
            trouble: self.trouble.clone(),
        })
    }

    /// For a child process: its standard input is this file, from the beginning.
    pub fn into_file(mut self, path: &Path) -> Result<File, Error> {
        self.file.rewind().map_err(Error::io("read", path))?;
        Ok(self.file)
    }

    /// Up to `most` bytes from `at` on; fewer at the end of the file.
    pub fn bytes_at(&mut self, path: &Path, at: u64, most: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![];
        let outcome = self
            .seek(SeekFrom::Start(at))
            .and_then(|_| self.by_ref().take(most as u64).read_to_end(&mut bytes));
        outcome.map_err(Error::io("read", path))?;
        Ok(bytes)
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let outcome = patiently(|| self.file.read(buffer));
        self.trouble.note(outcome)
    }
}

impl Seek for Input {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        // A place before the beginning is a fault of the content that computed it, not of the system.
        self.file.seek(to)
    }
}

impl MediaSource for Input {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.len)
    }
}

/// Calls again, after short pauses, what fails for reasons that may pass: a network disk that hiccups, too many open files.
fn patiently<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const PASSING: [i32; 5] = [libc::EIO, libc::ESTALE, libc::EMFILE, libc::ENFILE, libc::EAGAIN];
    for pause in PAUSES {
        match call() {
            Err(e) if e.raw_os_error().is_some_and(|c| PASSING.contains(&c)) => {
                std::thread::sleep(Duration::from_millis(pause));
            }
            outcome => return outcome,
        }
    }
    call()
}

/// What a place is if it is neither a file nor a folder.
pub(crate) fn special(kind: FileType) -> Option<&'static str> {
    match () {
        _ if kind.is_fifo() => Some("a FIFO (named pipe)"),
        _ if kind.is_socket() => Some("a socket"),
        _ if kind.is_char_device() || kind.is_block_device() => Some("a device"),
        _ => None,
    }
}

fn check_type(path: &Path, kind: FileType) -> Result<(), Error> {
    if kind.is_dir() {
        return Err(bad(path, "it is a folder", "name a file"));
    }
    match special(kind) {
        Some(what) => Err(bad(
            path,
            format!("it is {what}, not a file"),
            "name a file, or pipe the recording to `transcribe -`",
        )),
        None => Ok(()),
    }
}

/// Whether an error says that the system could not read, rather than that the recording is bad: then nothing is known of the
/// recording, and leaving it out would change what is trained on.
pub fn is_of_the_system(error: &Error) -> bool {
    matches!(error, Error::Io { .. })
}

/// Whether an error says that there is no such file.
pub fn is_missing(error: &Error) -> bool {
    let Error::Io { source, .. } = error else { return false };
    let codes = [libc::ENOENT, libc::ENOTDIR, libc::ENAMETOOLONG, libc::ELOOP];
    source.raw_os_error().is_some_and(|c| codes.contains(&c))
}

/// The path of standard input.
pub fn is_stdin(path: &Path) -> bool {
    path == PathBuf::from(STDIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn refusal(path: &Path) -> String {
        Input::open(path).err().expect("it is refused").to_string()
    }

    #[test]
    fn what_is_no_file_is_named_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("f.wav");
        let name = std::ffi::CString::new(fifo.to_str().unwrap()).unwrap();
        // SAFETY: the name is a string that ends with 0 and lives through the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let socket = dir.path().join("s.wav");
        let _listener = UnixListener::bind(&socket).unwrap();
        for (path, what) in [
            (fifo.as_path(), "FIFO"),
            (&socket, "socket"),
            (Path::new("/dev/zero"), "device"),
            (dir.path(), "folder"),
        ] {
            let said = refusal(path);
            assert!(said.contains(what) && said.contains(path.to_str().unwrap()), "{said}");
        }
    }

    #[test]
    fn failures_that_may_pass_are_tried_again_and_others_are_not() {
        let mut calls = 0;
        let mut fail = |code: i32, times: usize| {
            calls = 0;
            let outcome = patiently(|| {
                calls += 1;
                if calls > times {
                    Ok(7)
                } else {
                    Err(io::Error::from_raw_os_error(code))
                }
            });
            (outcome.ok(), calls)
        };
        assert_eq!(fail(libc::EMFILE, 2), (Some(7), 3));
        assert_eq!(fail(libc::EIO, 9), (None, 4));
        assert_eq!(fail(libc::EACCES, 1), (None, 1));
    }
}
