//! An executable with an artifact and its machine code appended.
//!
//! Layout: the runner itself, the artifact (postcard), zeros up to a page boundary, the code image, then a footer of four
//! little-endian u64 (artifact offset and length, code offset and length) and the 8 bytes of `MAGIC`.

use crate::error::Error;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use ir::artifact::{Artifact, PtxImage};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"W2VC-001";
const FOOTER: usize = 40;
/// Code starts at a multiple of this, so that it can be mapped.
const PAGE: usize = 4096;

/// What an executable carries.
pub struct Bundle {
    pub artifact: Artifact,
    pub path: PathBuf,
    pub code_offset: u64,
    pub code_len: usize,
}

/// The runner's bytes with an artifact and code appended.
///
/// # Errors
/// Where the artifact cannot be serialised.
pub fn append(runner: &[u8], artifact: &Artifact, code: &[u8]) -> Result<Vec<u8>, Error> {
    let bytes =
        postcard::to_stdvec(artifact).map_err(|e| Error::Usage(format!("the artifact has no binary form: {e}")))?;
    let mut out = runner.to_vec();
    let artifact_offset = out.len();
    out.extend_from_slice(&bytes);
    out.resize(out.len().next_multiple_of(PAGE), 0);
    let code_offset = out.len();
    out.extend_from_slice(code);
    for n in [artifact_offset, bytes.len(), code_offset, code.len()] {
        out.extend_from_slice(&(n as u64).to_le_bytes());
    }
    out.extend_from_slice(MAGIC);
    Ok(out)
}

/// The code of a program for the GPU as it is appended: postcard in a zlib stream.
///
/// # Errors
/// Where the images cannot be serialised.
pub fn pack_ptx(images: &[PtxImage]) -> Result<Vec<u8>, Error> {
    let failed = |e: &dyn std::fmt::Display| Error::Usage(format!("the code cannot be packed: {e}"));
    let bytes = postcard::to_stdvec(images).map_err(|e| failed(&e))?;
    let mut out = ZlibEncoder::new(vec![], Compression::best());
    out.write_all(&bytes).map_err(|e| failed(&e))?;
    out.finish().map_err(|e| failed(&e))
}

/// What [`pack_ptx`] packed.
///
/// # Errors
/// Where the bytes are not whole.
pub fn unpack_ptx(packed: &[u8]) -> Result<Vec<PtxImage>, Error> {
    let damaged = |e: &dyn std::fmt::Display| Error::Usage(format!("the code is damaged ({e}); compile it again"));
    let mut bytes = vec![];
    ZlibDecoder::new(packed)
        .read_to_end(&mut bytes)
        .map_err(|e| damaged(&e))?;
    postcard::from_bytes(&bytes).map_err(|e| damaged(&e))
}

impl Bundle {
    /// The code, as it was appended.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn code(&self) -> Result<Vec<u8>, Error> {
        let mut file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        let mut code = vec![0; self.code_len];
        file.seek(SeekFrom::Start(self.code_offset))
            .map_err(Error::io("read", &self.path))?;
        file.read_exact(&mut code).map_err(Error::io("read", &self.path))?;
        Ok(code)
    }

    /// Reads what is appended to a file.
    ///
    /// # Errors
    /// Where the file cannot be read or carries nothing.
    pub fn read(path: &Path) -> Result<Bundle, Error> {
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let mut footer = [0; FOOTER];
        file.seek(SeekFrom::End(-(FOOTER as i64)))
            .map_err(Error::io("read", path))?;
        file.read_exact(&mut footer).map_err(Error::io("read", path))?;
        if footer[32..] != MAGIC[..] {
            let what = "carries no compiled model; make one with `w2vc compile FILE.ron --target cpu`";
            return Err(Error::Usage(format!("`{}` {what}", path.display())));
        }
        let number = |i: usize| u64::from_le_bytes(std::array::from_fn(|j| footer[i * 8 + j]));
        let mut bytes = vec![0; number(1) as usize];
        file.seek(SeekFrom::Start(number(0))).map_err(Error::io("read", path))?;
        file.read_exact(&mut bytes).map_err(Error::io("read", path))?;
        let damaged = |e| Error::Usage(format!("`{}` is damaged ({e}); compile it again", path.display()));
        let artifact = postcard::from_bytes(&bytes).map_err(damaged)?;
        Ok(Bundle {
            artifact,
            path: path.into(),
            code_offset: number(2),
            code_len: number(3) as usize,
        })
    }
}
