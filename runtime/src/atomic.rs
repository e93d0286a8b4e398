//! Files that are either the old or the new one, whatever happens between.

use crate::error::Error;
use safetensors::{Dtype, View};
use std::borrow::Cow;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Makes a rename in `dir` survive a loss of power.
pub fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(Error::io("sync", dir))
}

pub fn sync_file(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|f| f.sync_all())
        .map_err(Error::io("sync", path))
}

pub fn create_dir(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(Error::io("create", dir))
}

fn temporary(path: &Path) -> PathBuf {
    let name = path
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    path.with_file_name(format!(".{name}.tmp"))
}

fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Writes beside `path`, syncs, and renames; a failure leaves what was there and removes what was begun.
pub fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let new = temporary(path);
    let outcome = write(&new)
        .and_then(|()| sync_file(&new))
        .and_then(|()| fs::rename(&new, path).map_err(Error::io("replace", path)));
    if outcome.is_err() {
        // The file may not have come to be; the error that matters is the first.
        let _ = fs::remove_file(&new);
    }
    outcome.and_then(|()| sync_dir(parent(path)))
}

pub fn write_text(path: &Path, text: &str) -> Result<(), Error> {
    replace(path, |new| fs::write(new, text).map_err(Error::io("write", path)))
}

/// A tensor to be written; bytes are made one tensor at a time.
pub struct Piece<'a> {
    pub shape: Vec<usize>,
    pub values: Values<'a>,
}

pub enum Values<'a> {
    F32(&'a [f32]),
    I32(&'a [i32]),
}

impl View for Piece<'_> {
    fn dtype(&self) -> Dtype {
        match self.values {
            Values::F32(_) => Dtype::F32,
            Values::I32(_) => Dtype::I32,
        }
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(match self.values {
            Values::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Values::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        })
    }
    fn data_len(&self) -> usize {
        4 * match self.values {
            Values::F32(v) => v.len(),
            Values::I32(v) => v.len(),
        }
    }
}

/// Writes a safetensors file. The form name in the metadata is what transformers asks for.
pub fn write_tensors(path: &Path, pieces: Vec<(String, Piece)>) -> Result<(), Error> {
    replace(path, |new| {
        let metadata = [("format".to_string(), "pt".to_string())].into();
        safetensors::serialize_to_file(pieces, Some(metadata), new).map_err(|e| match e {
            safetensors::SafeTensorError::IoError(source) => Error::Io {
                action: "write",
                path: path.into(),
                source,
            },
            other => Error::weights(path, other.to_string(), "this is a fault of the program"),
        })?;
        readable(new)
    })
}

/// The library's temporary files are the owner's alone; what comes out of a run is for others too.
#[cfg(unix)]
fn readable(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(Error::io("write", path))
}

#[cfg(not(unix))]
fn readable(_: &Path) -> Result<(), Error> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        write_text(&path, "old").unwrap();
        let failed = replace(&path, |new| {
            fs::write(new, "half").unwrap();
            Err(Error::Usage("disk full".into()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
