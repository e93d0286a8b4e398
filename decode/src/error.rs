//! What can be wrong with the files that decoding reads.

use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read `{}`: {source}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The place is a path, with a line where there are lines.
    #[error("`{place}`: {what}; {remedy}")]
    File {
        place: String,
        what: String,
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
