//! The runner that a file's program was compiled for.

use super::bundle::Bundle;
use super::machine::Native;
use crate::cli::Runner;
use crate::error::Error;
use crate::gpu::Gpu;
use std::fs::File;
use std::path::Path;

/// The program appended to a file, which is usually the running one.
///
/// # Errors
/// Where there is none, or where this processor lacks what it was compiled for.
pub fn open(path: &Path) -> Result<Box<dyn Runner>, Error> {
    runner(Bundle::read(path)?)
}

/// As [`open`], of a file that is open already; `path` is what messages call it.
///
/// # Errors
/// As [`open`].
pub fn open_file(file: File, path: &Path) -> Result<Box<dyn Runner>, Error> {
    runner(Bundle::of(file, path)?)
}

fn runner(bundle: Bundle) -> Result<Box<dyn Runner>, Error> {
    Ok(match bundle.artifact.gpu {
        Some(_) => Box::new(Gpu::new(bundle)?),
        None => Box::new(Native::new(bundle)?),
    })
}
