//! An executable with an artifact and its machine code appended.
//!
//! Layout: the runner itself, the artifact (postcard), zeros up to a page boundary, the code image, then a footer of little-
//! endian u64: artifact offset and length, code offset and length, a digest (XXH3) of all bytes before the digest, and the 8
//! bytes of `MAGIC`, whose last three are the number of this format. The digest tells damage; it is no seal against those who
//! change a file on purpose.

use crate::error::Error;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use ir::artifact::{Artifact, PtxImage};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

const MAGIC: &[u8; 8] = b"W2VC-002";
/// Of `MAGIC`, what all formats begin with.
const FAMILY: usize = 5;
const FOOTER: usize = 48;
/// Bytes at the end that the digest is not of: itself and `MAGIC`.
const UNCOUNTED: usize = 16;
/// Code starts at a multiple of this, so that it can be mapped.
const PAGE: usize = 4096;

/// What an executable carries.
pub struct Bundle {
    pub artifact: Artifact,
    pub path: PathBuf,
    pub code_offset: u64,
    pub code_len: usize,
    /// The file that was checked: one renamed to its path afterwards is another.
    pub file: File,
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
    let digest = xxh3_64(&out);
    out.extend_from_slice(&digest.to_le_bytes());
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
        let mut code = vec![0; self.code_len];
        let read = self.file.read_exact_at(&mut code, self.code_offset);
        read.map_err(Error::io("read", &self.path))?;
        Ok(code)
    }

    /// Reads what is appended to a file, and checks the whole file.
    ///
    /// # Errors
    /// Where the file cannot be read, carries nothing or is damaged.
    pub fn read(path: &Path) -> Result<Bundle, Error> {
        let wrong = |what: String| Error::Executable {
            path: path.into(),
            what,
        };
        let file = File::open(path).map_err(Error::io("open", path))?;
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        let whole = |place: &Place| place.offset.checked_add(place.length).is_some_and(|end| end <= length);
        let mut footer = [0; FOOTER];
        let start = length
            .checked_sub(FOOTER as u64)
            .ok_or_else(|| wrong("it is too short to carry a compiled model".into()))?;
        file.read_exact_at(&mut footer, start)
            .map_err(Error::io("read", path))?;
        let magic = &footer[FOOTER - MAGIC.len()..];
        if magic[..FAMILY] != MAGIC[..FAMILY] {
            return Err(wrong(
                "it carries no compiled model, or its end is missing or damaged".into(),
            ));
        }
        if magic != MAGIC {
            return Err(wrong(
                "it is of another version of w2vc than its runner, or damaged".into(),
            ));
        }
        let number = |i: usize| u64::from_le_bytes(std::array::from_fn(|j| footer[i * 8 + j]));
        if digest(&file, length - UNCOUNTED as u64).map_err(Error::io("read", path))? != number(4) {
            return Err(wrong(
                "it is damaged: its bytes do not have the digest that it was made with".into(),
            ));
        }
        let place = |i: usize| Place {
            offset: number(i),
            length: number(i + 1),
        };
        let (artifact, code) = (place(0), place(2));
        if !whole(&artifact) || !whole(&code) {
            return Err(wrong("it is damaged: a part of it lies outside the file".into()));
        }
        let mut bytes = vec![0; artifact.length as usize];
        file.read_exact_at(&mut bytes, artifact.offset)
            .map_err(Error::io("read", path))?;
        let artifact = postcard::from_bytes(&bytes).map_err(|e| wrong(format!("its description is damaged ({e})")))?;
        Ok(Bundle {
            artifact,
            path: path.into(),
            code_offset: code.offset,
            code_len: code.length as usize,
            file,
        })
    }
}

/// A part of the file.
struct Place {
    offset: u64,
    length: u64,
}

/// Of the first bytes of a file.
fn digest(file: &File, length: u64) -> std::io::Result<u64> {
    let (mut hash, mut at) = (Xxh3::new(), 0);
    let mut piece = vec![0; 1 << 18];
    while at < length {
        let n = piece.len().min((length - at) as usize);
        file.read_exact_at(&mut piece[..n], at)?;
        hash.update(&piece[..n]);
        at += n as u64;
    }
    Ok(hash.digest())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file as `w2vc compile` writes it, with noise for a runner and for code.
    fn bytes() -> Vec<u8> {
        let noise = |n: usize| (0..n).map(|i| (i * i / 7) as u8).collect::<Vec<u8>>();
        append(&noise(3000), &crate::fake::artifact(), &noise(5000)).unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Bundle, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Bundle::read(file.path())
    }

    #[track_caller]
    fn refused(bytes: &[u8]) {
        match read(bytes) {
            Err(e) => {
                let text = e.to_string();
                assert_eq!(e.exit_code(), 11, "{text}");
                assert!(text.contains("compile it again"), "{text}");
            }
            Ok(_) => panic!("damage was not seen"),
        }
    }

    #[test]
    fn what_was_appended_is_read_back() {
        let all = bytes();
        let read = read(&all).unwrap();
        assert_eq!(read.artifact.name, "fake");
        let code = read.code().unwrap();
        assert_eq!(code.len(), 5000);
        assert_eq!(&all[read.code_offset as usize..][..5000], &code[..]);
        assert_eq!(read.code_offset % PAGE as u64, 0);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let all = bytes();
        for at in (0..all.len()).step_by(97).chain(all.len() - FOOTER..all.len()) {
            let mut bad = all.clone();
            bad[at] ^= 1 << (at % 8);
            refused(&bad);
        }
        for length in (0..all.len()).step_by(501).chain([all.len() - 1]) {
            refused(&all[..length]);
        }
        refused(&[&all[..], b"x"].concat());
        refused(&[&all[..], &all[..100]].concat());
    }

    #[test]
    fn lengths_beyond_the_file_are_seen_even_with_a_digest_that_fits() {
        let all = bytes();
        let end = all.len() - UNCOUNTED;
        for field in 0..4 {
            for value in [u64::MAX, 1 << 51, all.len() as u64 + 1] {
                let mut bad = all[..end].to_vec();
                bad[end - 32 + field * 8..][..8].copy_from_slice(&value.to_le_bytes());
                let digest = xxh3_64(&bad);
                bad.extend_from_slice(&digest.to_le_bytes());
                bad.extend_from_slice(MAGIC);
                refused(&bad);
            }
        }
    }
}
