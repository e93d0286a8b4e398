//! Checks of a device against values worked out beforehand: single kernels, and a model that trains. All they need is read
//! from files, so that they run where nothing but the driver is installed.

pub mod communicator;
mod guarded;
pub mod kernels;
mod numbers;
pub mod training;

use crate::error::Error;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub name: String,
    pub passed: bool,
    /// The distance from the expected value as a share of what is allowed, where it is worst.
    pub worst: f64,
    /// What is wrong, or what the worst distance is.
    pub detail: String,
    pub seconds: f64,
    /// Whether the device itself failed, after which a GPU does nothing more for this process.
    pub device_failed: bool,
}

impl Outcome {
    /// One line.
    pub fn text(&self) -> String {
        let verdict = if self.passed { "ok    " } else { "FAILED" };
        format!("{verdict} {}: {}", self.name, self.detail)
    }
}

/// How a check ends before there is an outcome.
pub(crate) enum Failure {
    /// The values are wrong.
    Wrong(String),
    /// There are none.
    Device(Error),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        Failure::Device(e)
    }
}

/// Worst share and what it is.
pub(crate) type Worst = (f64, String);

pub(crate) fn outcome(name: &str, start: std::time::Instant, result: Result<Worst, Failure>) -> Outcome {
    let device_failed = matches!(result, Err(Failure::Device(_)));
    let (passed, worst, detail) = match result {
        Ok((worst, detail)) => (true, worst, detail),
        Err(Failure::Wrong(detail)) => (false, f64::MAX, detail),
        Err(Failure::Device(e)) => (false, f64::MAX, e.to_string()),
    };
    Outcome {
        name: name.into(),
        passed,
        worst,
        detail,
        seconds: start.elapsed().as_secs_f64(),
        device_failed,
    }
}

/// Writes values as postcard in a zlib stream.
///
/// # Errors
/// Where the file cannot be written.
pub fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let bytes =
        postcard::to_stdvec(value).map_err(|e| Error::Usage(format!("`{}` cannot be written: {e}", path.display())))?;
    let mut out = ZlibEncoder::new(vec![], Compression::best());
    std::io::Write::write_all(&mut out, &bytes).map_err(Error::io("write", path))?;
    crate::atomic::write_bytes(path, &out.finish().map_err(Error::io("write", path))?)
}

/// What [`write`] wrote.
///
/// # Errors
/// Where the file cannot be read or is damaged.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    let mut bytes = vec![];
    std::io::Read::read_to_end(&mut ZlibDecoder::new(file), &mut bytes).map_err(Error::io("read", path))?;
    postcard::from_bytes(&bytes).map_err(|e| Error::Usage(format!("`{}` is damaged ({e})", path.display())))
}
