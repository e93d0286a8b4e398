//! What can be wrong with the files that decoding reads.

use std::io;
use std::path::{Path, PathBuf};

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read `{}`: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The place is a path, with a line where there are lines.
    #[error("`{place}`: {what}; {remedy}")]
    File {
        /// The file, with a line where there are lines.
        place: String,
        /// What is wrong.
        what: String,
        /// How to fix it.
        remedy: String,
    },
}

impl Error {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Read { path, source }
    }

    pub(crate) fn file(place: impl ToString, what: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::File {
            place: place.to_string(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}
