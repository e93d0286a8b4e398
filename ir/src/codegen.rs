//! What the compiler and the process that generates GPU code say to each other: jobs one way, replies the other, each as a
//! length (u32, little-endian) and that many bytes of postcard.

use crate::artifact::PtxKernel;
use crate::kernel::Kernel;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{Error, ErrorKind, Read, Write};

/// A kernel to compile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Function names begin with it.
    pub symbol: String,
    pub kernel: Kernel,
    /// Per slot: bytes that every address it is bound to is a multiple of.
    pub alignment: Vec<u32>,
    pub archs: Vec<String>,
}

/// A kernel compiled for one architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generated {
    /// The MLIR text as it was built.
    pub mlir: String,
    pub ptx: PtxKernel,
}

/// The answer to a job: the kernel for every architecture of the job, or why there is none.
pub type Reply = Result<Vec<Generated>, String>;

/// # Errors
/// Where the other side is gone.
pub fn send<T: Serialize>(to: &mut impl Write, message: &T) -> Result<(), Error> {
    let bytes = postcard::to_stdvec(message).map_err(|e| Error::new(ErrorKind::InvalidData, e))?;
    to.write_all(&(bytes.len() as u32).to_le_bytes())?;
    to.write_all(&bytes)?;
    to.flush()
}

/// The next message; `None` where the other side has closed.
///
/// # Errors
/// Where it ends within a message, or sends something else.
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> Result<Option<T>, Error> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        r => r?,
    }
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    from.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes)
        .map(Some)
        .map_err(|e| Error::new(ErrorKind::InvalidData, e))
}
