//! The file that this library was loaded from: the system knows it by the address of what it mapped. What the loader knows is
//! the path that it was given, which may begin in a folder that the process has left.

use runtime::Error;
use std::ffi::OsStr;
use std::fs::File;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const MAPS: &str = "/proc/self/maps";

/// What the system adds to the path of a file that is no longer there.
const GONE: &str = " (deleted)";

/// The file and its path. It is opened once, so that a model is never of two files, whatever is put in its place later.
pub fn file() -> Result<&'static (File, PathBuf), Error> {
    static OPENED: Mutex<Option<&'static (File, PathBuf)>> = Mutex::new(None);
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    match *opened {
        Some(own) => Ok(own),
        None => {
            let path = path()?;
            let file = File::open(&path).map_err(Error::io("open", &path))?;
            if self::path()? != path {
                return Err(replaced(&path));
            }
            // It stays as long as the library does.
            let own: &'static _ = Box::leak(Box::new((file, path)));
            *opened = Some(own);
            Ok(own)
        }
    }
}

/// What was mapped here.
fn path() -> Result<PathBuf, Error> {
    let maps = std::fs::read(MAPS).map_err(Error::io("read", Path::new(MAPS)))?;
    let inside = path as fn() -> Result<PathBuf, Error> as usize;
    let lines = maps.split(|b| *b == b'\n');
    let line = lines.filter(|l| range(l).is_some_and(|range| range.contains(&inside)));
    // Address, rights, offset, device and inode stand before it.
    let path = line.filter_map(|l| l.get(l.iter().position(|b| *b == b'/')?..)).next();
    let path = path.ok_or_else(|| Error::Usage("the system does not say where this library lies".into()))?;
    let path = PathBuf::from(OsStr::from_bytes(path));
    match path.as_os_str().as_bytes().ends_with(GONE.as_bytes()) && !path.exists() {
        true => Err(replaced(&path)),
        false => Ok(path),
    }
}

fn range(line: &[u8]) -> Option<Range<usize>> {
    let (from, to) = str::from_utf8(line.split(|b| *b == b' ').next()?)
        .ok()?
        .split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    Some(number(from)?..number(to)?)
}

fn replaced(path: &Path) -> Error {
    let path = path.display().to_string();
    let path = path.strip_suffix(GONE).unwrap_or(&path);
    Error::Usage(format!(
        "`{path}` was removed or replaced after this process had loaded it: start the process again"
    ))
}
