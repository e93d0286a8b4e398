//! Files that appear whole or not at all.
//!
//! A file is written under a new, unguessable name in its own folder, synced, and renamed over its target. A link at the
//! target is replaced, never followed. Devices and pipes are written to as they are. A temporary file is locked while
//! its writer lives, so that the next writer knows which ones were left by a process that died, and removes those.

use crate::error::Error;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

pub use crate::tensors::{Piece, Values, write_tensors};

const PREFIX: &str = ".w2vc-";
const SUFFIX: &str = ".tmp";
/// Random letters and digits between them.
const RANDOM: usize = 12;

/// Makes a rename in `dir` survive a loss of power.
pub fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(Error::io("sync", dir))
}

pub fn create_dir(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(Error::io("create", dir))
}

/// More is no text that anybody wrote: a device may never end.
const MOST_READ: u64 = 1 << 30;

/// The bytes of a file of texts or numbers.
///
/// # Errors
/// Where it cannot be read, and where it has more than a gibibyte.
pub fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![];
    File::open(path)?.take(MOST_READ + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MOST_READ {
        true => Err(std::io::Error::other("it has more than 1 GiB, or never ends")),
        false => Ok(bytes),
    }
}

/// As [`read`], as text.
///
/// # Errors
/// As those of [`read`], and where it is no UTF-8.
pub fn read_to_string(path: &Path) -> std::io::Result<String> {
    String::from_utf8(read(path)?).map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, e.utf8_error()))
}

fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// What a path to be written leads to.
enum Target {
    /// A regular file, a link to one, or nothing yet: it is replaced.
    File,
    /// A device, a pipe, or an open file of this process: it is written to.
    Stream(File),
}

fn target(path: &Path) -> Result<Target, Error> {
    let refuse = Error::io("write", path);
    let known = match fs::metadata(path) {
        // A link that leads nowhere is replaced as any other.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Target::File),
        other => other,
    };
    let known = match known {
        Ok(known) => known,
        Err(e) => return Err(refuse(e)),
    };
    if known.is_dir() {
        return Err(refuse(std::io::ErrorKind::IsADirectory.into()));
    }
    if known.is_file() && !of_the_system(path) {
        return Ok(Target::File);
    }
    let opened = match path.to_str() {
        // By the descriptor itself: opened anew, a file would be written from its start again.
        Some("/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => std::io::stdout().as_fd().try_clone_to_owned(),
        Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => std::io::stderr().as_fd().try_clone_to_owned(),
        _ => OpenOptions::new().append(true).open(path).map(Into::into),
    };
    opened.map(|fd| Target::Stream(fd.into())).map_err(refuse)
}

/// Whether a path lies where the system keeps devices and what processes have open: nothing there is renamed.
fn of_the_system(path: &Path) -> bool {
    let folder = fs::canonicalize(parent(path)).unwrap_or_default();
    (folder.starts_with("/dev") && !folder.starts_with("/dev/shm")) || folder.starts_with("/proc")
}

/// Writes a file whole: a failure leaves what was there. Others may read it, as far as the user's umask lets them.
///
/// # Errors
/// Where the folder cannot be written, the path is a folder, or `write` fails.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> Result<(), Error>) -> Result<(), Error> {
    replace_with_mode(path, 0o666, write)
}

/// As [`replace`], with the permissions that the umask leaves of `mode`.
///
/// # Errors
/// As [`replace`].
pub fn replace_with_mode(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> Result<(), Error>,
) -> Result<(), Error> {
    if let Target::Stream(mut stream) = target(path)? {
        return write(&mut stream);
    }
    let folder = parent(path);
    sweep(folder);
    let mut new = temporary(folder, mode).map_err(Error::io("write", path))?;
    write(new.as_file_mut())?;
    new.as_file().sync_all().map_err(Error::io("sync", path))?;
    new.persist(path).map_err(|e| Error::io("replace", path)(e.error))?;
    sync_dir(folder)
}

/// A new file that no other process writes to or takes for a leftover.
fn temporary(folder: &Path, mode: u32) -> std::io::Result<NamedTempFile> {
    loop {
        let new = tempfile::Builder::new()
            .prefix(PREFIX)
            .suffix(SUFFIX)
            .rand_bytes(RANDOM)
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(folder)?;
        // Where the file system knows no locks, nothing there is taken for a leftover either.
        let locked = new.as_file().lock().is_ok();
        // A sweep may have come between the two.
        if !locked || new.as_file().metadata()?.nlink() > 0 {
            return Ok(new);
        }
    }
}

/// Removes temporary files whose writers died.
pub fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|e| is_temporary(&e.file_name())) {
        // That one cannot be removed is no reason not to write.
        let _ = remove_if_dead(&entry.path());
    }
}

/// Whether a name is one that [`replace`] gives.
pub fn is_temporary(name: &OsStr) -> bool {
    let middle = name.to_str().and_then(|n| n.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
    middle.is_some_and(|m| m.len() == RANDOM && m.bytes().all(|b| b.is_ascii_alphanumeric()))
}

fn remove_if_dead(path: &Path) -> std::io::Result<()> {
    let file = open_own(OpenOptions::new().read(true), path)?;
    if file.metadata()?.is_file() && file.try_lock().is_ok() {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Opens a file that must be no link; a pipe in its place is not waited for.
pub fn open_own(options: &mut OpenOptions, path: &Path) -> std::io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    options.custom_flags(flags.bits() as i32).open(path)
}

pub fn write_text(path: &Path, text: &str) -> Result<(), Error> {
    write_bytes(path, text.as_bytes())
}

pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    replace(path, |file| {
        std::io::Write::write_all(file, bytes).map_err(Error::io("write", path))
    })
}

/// Fails where an output cannot be written, or is a file that is read: for the start of long work.
///
/// # Errors
/// Where it is a folder, its folder is not there or not writable, or it is one of the inputs.
pub fn check_output(output: &Path, inputs: &[PathBuf]) -> Result<(), Error> {
    not_an_input(output, inputs)?;
    let refuse = Error::io("write", output);
    match fs::metadata(output) {
        Ok(known) if known.is_dir() => return Err(refuse(std::io::ErrorKind::IsADirectory.into())),
        Ok(known) if !known.is_file() => return Ok(()),
        _ => {}
    }
    if fs::metadata(parent(output)).is_ok_and(|m| !m.is_dir()) {
        return Err(refuse(rustix::io::Errno::NOTDIR.into()));
    }
    use rustix::fs::Access;
    rustix::fs::access(parent(output), Access::WRITE_OK | Access::EXEC_OK).map_err(|e| refuse(e.into()))
}

/// Fails where an output is a file that is read, by this or another name.
///
/// # Errors
/// Where both are one file.
fn not_an_input(output: &Path, inputs: &[PathBuf]) -> Result<(), Error> {
    let identity = |p: &Path| fs::metadata(p).ok().filter(|m| m.is_file()).map(|m| (m.dev(), m.ino()));
    let Some(own) = identity(output) else { return Ok(()) };
    match inputs.iter().find(|i| identity(i) == Some(own)) {
        None => Ok(()),
        Some(input) => Err(Error::Usage(format!(
            "`{}` is `{}`, which is read: name another file for what is written",
            output.display(),
            input.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    fn names(dir: &Path) -> Vec<String> {
        let name = |e: std::io::Result<fs::DirEntry>| e.unwrap().file_name().to_string_lossy().into_owned();
        let mut all: Vec<String> = fs::read_dir(dir).unwrap().map(name).collect();
        all.sort();
        all
    }

    #[test]
    fn what_never_ends_is_an_error() {
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert!(error.to_string().contains("never ends"), "{error}");
        assert_eq!(read(Path::new("/dev/null")).unwrap(), b"");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        write_text(&path, "old").unwrap();
        let failed = replace(&path, |new| {
            new.write_all(b"half").unwrap();
            Err(Error::Usage("disk full".into()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(dir.path()), ["a.txt"]);
    }

    #[test]
    fn links_are_replaced_and_folders_refused() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("precious"), "of another").unwrap();
        symlink(at("precious"), at("out")).unwrap();
        symlink(at("nothing"), at("dangling")).unwrap();
        write_text(&at("out"), "new").unwrap();
        write_text(&at("dangling"), "new").unwrap();
        assert_eq!(fs::read_to_string(at("precious")).unwrap(), "of another");
        assert_eq!(fs::read_to_string(at("out")).unwrap(), "new");
        assert!(!at("nothing").exists() && !at("out").is_symlink());
        let said = write_text(dir.path(), "new").unwrap_err().to_string();
        assert!(said.contains("directory") && said.contains("name a file"), "{said}");
        let said = write_text(&at("precious/x"), "new").unwrap_err().to_string();
        assert!(said.contains("precious/x"), "{said}");
    }

    #[test]
    fn devices_and_pipes_are_written_to() {
        write_text(Path::new("/dev/null"), "gone").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe).unwrap()
        });
        write_text(&pipe, "through").unwrap();
        assert_eq!(reader.join().unwrap(), "through");
        assert_eq!(names(dir.path()), ["pipe"]);
    }

    #[test]
    fn what_dead_writers_left_goes_and_what_living_ones_write_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("precious"), "of another").unwrap();
        fs::write(at(".w2vc-abcdefABCDEF.tmp"), "left").unwrap();
        fs::write(at(".w2vc-mine.tmp"), "of another").unwrap();
        symlink(at("precious"), at(".w2vc-abcdefABCDE0.tmp")).unwrap();
        let living = temporary(dir.path(), 0o666).unwrap();
        write_text(&at("out"), "new").unwrap();
        let alive = living.path().file_name().unwrap().to_string_lossy().into_owned();
        let mut expected = vec![
            ".w2vc-abcdefABCDE0.tmp",
            ".w2vc-mine.tmp",
            alive.as_str(),
            "out",
            "precious",
        ];
        expected.sort();
        assert_eq!(names(dir.path()), expected);
        assert_eq!(fs::read_to_string(at("precious")).unwrap(), "of another");
    }

    #[test]
    fn outputs_are_looked_at_before_the_work() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a"), "").unwrap();
        for good in ["a", "b", "/dev/null"] {
            check_output(&at(good), &[at("c")]).unwrap();
        }
        for (bad, why) in [
            ("", "directory"),
            ("a/b", "Not a directory"),
            ("no/b", "No such file"),
            ("a", "is read"),
        ] {
            let said = check_output(&at(bad), &[at("a")]).unwrap_err().to_string();
            assert!(said.contains(why), "{bad}: {said}");
        }
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn an_output_that_is_an_input_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a"), "").unwrap();
        symlink(at("a"), at("b")).unwrap();
        assert!(not_an_input(&at("b"), &[at("c"), at("a")]).is_err());
        not_an_input(&at("c"), &[at("c"), at("a")]).unwrap();
    }
}
