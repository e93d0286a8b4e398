//! An executable with an artifact and its machine code appended.
//!
//! Layout: the runner itself, the artifact (postcard), zeros up to a page boundary, the code image, then a footer of little-
//! endian u64: artifact offset and length, code offset and length, 16 bytes with the version of w2vc that made it, a digest
//! (XXH3) of all bytes before the digest, and the 8 bytes of `MAGIC`, whose last three are the number of this format. From
//! format 003 on the version has this place in all of them. The digest tells damage; it is no seal against those who change a
//! file on purpose.

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

/// The number of the format: to be raised whenever the artifact or this layout changes.
macro_rules! magic {
    () => {
        "W2VC-003"
    };
}
const MAGIC: &[u8] = magic!().as_bytes();
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Bytes of the version in the footer.
const VERSION_ROOM: usize = 16;
/// Of `MAGIC`, what all formats begin with.
const FAMILY: usize = 5;
const FOOTER: usize = 64;
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

/// This version as the footer has it, filled up with zeros.
fn version() -> [u8; VERSION_ROOM] {
    std::array::from_fn(|i| VERSION.as_bytes().get(i).copied().unwrap_or(0))
}

/// Begins what a runner says about itself in its own bytes.
const MARK_BEGINS: &[u8] = b"w2vc-runner reads ";
/// The mark of this version's runner; `w2vc-runner` has it among its data, so that `w2vc` does not append to another one.
pub const MARK: &str = concat!(
    "w2vc-runner reads ",
    magic!(),
    " of version ",
    env!("CARGO_PKG_VERSION"),
    ";"
);

/// Fails where a file is not the runner of this version.
///
/// # Errors
/// What it is instead.
pub fn check_runner(bytes: &[u8], path: &Path) -> Result<(), Error> {
    let has = |what: &[u8]| memchr::memmem::find(bytes, what);
    if has(MARK.as_bytes()).is_some() {
        return Ok(());
    }
    let what = match has(MARK_BEGINS) {
        Some(at) => {
            let said = bytes[at..]
                .iter()
                .take(80)
                .take_while(|b| **b != b';')
                .copied()
                .collect();
            let said = String::from_utf8(said).unwrap_or_default();
            format!(
                "it is another one: it says `{said}`, and not `{}`",
                MARK.trim_end_matches(';')
            )
        }
        None => format!("it is not a runner of w2vc, or one from before {VERSION}"),
    };
    Err(Error::Usage(format!(
        "cannot use `{}`: {what}; install it together with w2vc, as `make build` does",
        path.display()
    )))
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
    out.extend_from_slice(&version());
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
        Bundle::of(File::open(path).map_err(Error::io("open", path))?, path)
    }

    /// The same of a file that is open already; `path` is what messages call it.
    ///
    /// # Errors
    /// As [`Bundle::read`].
    pub fn of(file: File, path: &Path) -> Result<Bundle, Error> {
        let wrong = |what: String| Error::Executable {
            path: path.into(),
            what,
        };
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
            return Err(wrong(of_another_format(&footer)));
        }
        let number = |i: usize| u64::from_le_bytes(std::array::from_fn(|j| footer[i * 8 + j]));
        let counted = number((FOOTER - UNCOUNTED) / 8);
        if digest(&file, length - UNCOUNTED as u64).map_err(Error::io("read", path))? != counted {
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

/// What there is to say of a file with another number at its end.
fn of_another_format(footer: &[u8; FOOTER]) -> String {
    let magic = String::from_utf8_lossy(&footer[FOOTER - MAGIC.len()..]).into_owned();
    let version = &footer[FOOTER - UNCOUNTED - VERSION_ROOM..FOOTER - UNCOUNTED];
    let length = version.iter().position(|b| *b == 0).unwrap_or(VERSION_ROOM);
    let version = match str::from_utf8(&version[..length]) {
        _ if ["W2VC-001", "W2VC-002"].contains(&magic.as_str()) => "an early 0.1.0",
        Ok(v) if !v.is_empty() && v.chars().all(|c| c.is_ascii_graphic()) => v,
        _ => "an unknown version",
    };
    let own = String::from_utf8_lossy(MAGIC);
    format!("w2vc of {version} made it, in form {magic:?}; this is {VERSION}, which reads {own}; or its end is damaged")
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
    fn another_form_says_which_version_made_it() {
        let all = bytes();
        let mut later = all.clone();
        let end = later.len();
        later[end - 3..].copy_from_slice(b"009");
        later[end - UNCOUNTED - VERSION_ROOM..][..6].copy_from_slice(b"7.12.3");
        let said = read(&later).err().unwrap().to_string();
        assert!(said.contains("w2vc of 7.12.3") && said.contains("W2VC-009"), "{said}");
        later[end - 3..].copy_from_slice(b"002");
        let said = read(&later).err().unwrap().to_string();
        assert!(
            said.contains("early 0.1.0") && said.contains("compile it again"),
            "{said}"
        );
    }

    #[test]
    fn only_the_runner_of_this_version_is_appended_to() {
        let path = Path::new("w2vc-runner");
        check_runner(format!("\x7fELF...{MARK}...").as_bytes(), path).unwrap();
        let old = check_runner(b"\x7fELF... some other program", path)
            .unwrap_err()
            .to_string();
        assert!(
            old.contains("not a runner of w2vc") && old.contains("make build"),
            "{old}"
        );
        let other = b"\x7fELF w2vc-runner reads W2VC-009 of version 7.1.0; and more";
        let other = check_runner(other, path).unwrap_err().to_string();
        assert!(other.contains("W2VC-009 of version 7.1.0"), "{other}");
        assert!(check_runner(b"", path).is_err());
    }

    #[test]
    fn lengths_beyond_the_file_are_seen_even_with_a_digest_that_fits() {
        let all = bytes();
        let end = all.len() - UNCOUNTED;
        for field in 0..4 {
            for value in [u64::MAX, 1 << 51, all.len() as u64 + 1] {
                let mut bad = all[..end].to_vec();
                bad[end - VERSION_ROOM - 32 + field * 8..][..8].copy_from_slice(&value.to_le_bytes());
                let digest = xxh3_64(&bad);
                bad.extend_from_slice(&digest.to_le_bytes());
                bad.extend_from_slice(MAGIC);
                refused(&bad);
            }
        }
    }
}
