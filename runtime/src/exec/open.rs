//! The runner that a file's program was compiled for.

use super::bundle::Bundle;
use super::machine::Native;
use crate::cli::Runner;
use crate::error::Error;
use crate::gpu::Gpu;
use std::path::Path;

/// The program appended to a file, which is usually the running one.
///
/// # Errors
/// Where there is none, or where this processor lacks what it was compiled for.
pub fn open(path: &Path) -> Result<Box<dyn Runner>, Error> {
    let bundle = Bundle::read(path)?;
    Ok(match bundle.artifact.gpu {
        Some(_) => Box::new(Gpu::new(bundle)?),
        None => Box::new(Native::new(bundle)?),
    })
}
