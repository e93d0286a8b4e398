//! A safetensors file: what it holds, its digests, and its values as f32 or i32.

use super::values::{decoder, groups, pieces};
use crate::atomic;
use crate::digest::{Digest, Hasher};
use crate::error::Error;
use crate::tensors::DIGEST;
use memmap2::MmapOptions;
use rayon::prelude::*;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The library takes no larger header.
const MOST_HEADER: u64 = 100_000_000;

/// An open safetensors file. It is read, never mapped: a file that another program shortens, or that its disk cannot read, is
/// an error then and not the end of the process.
pub struct TensorFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    header: Digest,
    /// Of its tensors, by their names; empty where the file is not of our own writing.
    digests: BTreeMap<String, String>,
    /// Where the data starts.
    start: usize,
}

impl TensorFile {
    pub fn open(path: &Path) -> Result<TensorFile, Error> {
        // Without waiting for whoever might write to a pipe.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        TensorFile::of(file, path)
    }

    /// As [`TensorFile::open`], for a file that must be no link.
    pub(crate) fn open_own(path: &Path) -> Result<TensorFile, Error> {
        TensorFile::of(atomic::open_own(OpenOptions::new().read(true), path), path)
    }

    fn of(file: std::io::Result<File>, path: &Path) -> Result<TensorFile, Error> {
        let remedy = "the file is damaged or not a safetensors file; copy or convert it again";
        let file = file.map_err(Error::io("open", path))?;
        if !file.metadata().map_err(Error::io("read", path))?.is_file() {
            return Err(Error::weights(path, "it is no regular file", "name a safetensors file"));
        }
        let header = header(&file).map_err(Error::io("read", path))?;
        let known = SafeTensors::read_metadata(header.whole());
        let (length, metadata) = known.map_err(|e| Error::weights(path, e.to_string(), remedy))?;
        let start = length + 8;
        if header.whole().len() - start != metadata.data_len() {
            return Err(Error::weights(path, "its length and its header disagree", remedy));
        }
        let digests = digests(&metadata);
        let without = metadata.offset_keys().into_iter().find(|n| !digests.contains_key(n));
        if let Some(name) = without.filter(|_| !digests.is_empty()) {
            let what = format!("`{name}` has no digest and others have");
            return Err(Error::damaged(path, what, remedy));
        }
        Ok(TensorFile {
            path: path.into(),
            header: Digest::of(&header.whole()[8..start]),
            file,
            metadata,
            digests,
            start,
        })
    }

    /// Of names, types, shapes and, in files of our own, the digests of all tensors.
    pub(crate) fn header_digest(&self) -> Digest {
        self.header.clone()
    }

    /// Fails where a tensor of a file of our own is not what was written.
    fn verify(&self, name: &str, found: impl FnOnce() -> Digest) -> Result<(), Error> {
        match self.digests.get(name) {
            Some(digest) if found().as_str() != digest => Err(Error::damaged(
                &self.path,
                format!("`{name}` is not what was written (its digest differs)"),
                "use another copy of it, or a checkpoint before it",
            )),
            _ => Ok(()),
        }
    }

    /// Reads every tensor of floating-point numbers through.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let read = |name: &String| {
            let info = self.info(name).expect("it is one of its names");
            let (width, _) = decoder(info.dtype).ok_or_else(|| self.wrong_type(name, info.dtype, "f32"))?;
            let values = (info.data_offsets.1 - info.data_offsets.0) / width;
            self.pieces(name, values, |_, _| ())
        };
        self.names().par_iter().map(read).collect()
    }

    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.metadata.info(name)
    }

    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.info(name).map(|i| i.shape.as_slice())
    }

    fn wrong_type(&self, name: &str, found: Dtype, want: &str) -> Error {
        Error::weights(
            &self.path,
            format!("`{name}` is {found:?}"),
            format!("store it as {want}"),
        )
    }

    /// Values of a floating-point tensor (f32, f16, bf16 or f64), or `None` where there is no such tensor.
    pub fn floats(&self, name: &str) -> Result<Option<Vec<f32>>, Error> {
        let Some(info) = self.info(name) else { return Ok(None) };
        let (width, _) = decoder(info.dtype).ok_or_else(|| self.wrong_type(name, info.dtype, "f32"))?;
        let mut values = vec![0.0; (info.data_offsets.1 - info.data_offsets.0) / width];
        self.values(name, values.len(), |at, piece| {
            values[at..at + piece.len()].copy_from_slice(piece)
        })?;
        Ok(Some(values))
    }

    /// As [`TensorFile::floats`], into place. Fails on values that are not finite.
    pub(crate) fn floats_into(&self, name: &str, to: &mut [f32]) -> Result<(), Error> {
        let values = to.len();
        self.pieces(name, values, |at, piece| {
            to[at..at + piece.len()].copy_from_slice(piece)
        })
    }

    /// Hands out the `count` values of a tensor in order, some at a time; the last error may be found after the last value.
    fn pieces(&self, name: &str, count: usize, take: impl FnMut(usize, &[f32])) -> Result<(), Error> {
        match self.values(name, count, take)? {
            None => Ok(()),
            Some((value, at)) => {
                let what = format!("`{name}` holds {value} at element {at}");
                Err(Error::weights(&self.path, what, "use a sound checkpoint"))
            }
        }
    }

    /// As [`TensorFile::pieces`]; the first value that is not finite is returned with its place.
    fn values(&self, name: &str, count: usize, take: impl FnMut(usize, &[f32])) -> Result<Option<(f32, usize)>, Error> {
        let Some(info) = self.info(name) else { return Ok(None) };
        let decoder = decoder(info.dtype).ok_or_else(|| self.wrong_type(name, info.dtype, "f32"))?;
        let start = self.start + info.data_offsets.0;
        let mut hasher = Hasher::default();
        let read = |at: usize, bytes: &mut [u8]| self.file.read_exact_at(bytes, (start + at) as u64);
        let see = |bytes: &[u8]| {
            if !self.digests.is_empty() {
                hasher.update(bytes);
            }
        };
        let strange = pieces(count, decoder, read, see, take).map_err(Error::io("read", &self.path))?;
        // Damage is the better reason for a strange value.
        self.verify(name, || hasher.finish())?;
        Ok(strange)
    }

    /// Values of an integer tensor as i32, or `None` where there is no such tensor.
    pub fn integers(&self, name: &str) -> Result<Option<Vec<i32>>, Error> {
        let Some(info) = self.info(name) else { return Ok(None) };
        // No longer than the file, which was checked when it was opened.
        let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
        let start = (self.start + info.data_offsets.0) as u64;
        let read = self.file.read_exact_at(&mut bytes, start);
        read.map_err(Error::io("read", &self.path))?;
        self.verify(name, || Digest::of(&bytes))?;
        let wide: Vec<i64> = match info.dtype {
            Dtype::I64 => groups::<8>(&bytes).map(i64::from_le_bytes).collect(),
            Dtype::I32 => groups::<4>(&bytes).map(|b| i32::from_le_bytes(b) as i64).collect(),
            Dtype::U8 | Dtype::BOOL => bytes.iter().map(|b| *b as i64).collect(),
            other => return Err(self.wrong_type(name, other, "i64")),
        };
        let narrow: Result<Vec<i32>, _> = wide.into_iter().map(i32::try_from).collect();
        narrow
            .map(Some)
            .map_err(|_| Error::weights(&self.path, format!("`{name}` has values beyond 32 bits"), "check it"))
    }
}

/// The beginning of a file, in memory as long as the file: the library that reads headers holds lengths against that. What lies
/// behind the header was never touched and takes no memory.
struct Begin(Option<memmap2::MmapMut>);

impl Begin {
    fn whole(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// Reads the length of the header, and as much.
fn header(file: &File) -> std::io::Result<Begin> {
    let length = file.metadata()?.len();
    let room = usize::try_from(length).map_err(|_| std::io::ErrorKind::FileTooLarge)?;
    if room == 0 {
        return Ok(Begin(None));
    }
    let mut begin = MmapOptions::new().len(room).no_reserve_swap().map_anon()?;
    let mut number = [0; 8];
    if room < number.len() {
        return Ok(Begin(Some(begin)));
    }
    file.read_exact_at(&mut number, 0)?;
    begin[..8].copy_from_slice(&number);
    // A header that claims more is refused by the library for its length alone.
    let claimed = u64::from_le_bytes(number).min(MOST_HEADER).min(length - 8) as usize;
    file.read_exact_at(&mut begin[8..8 + claimed], 8)?;
    Ok(Begin(Some(begin)))
}

/// The digests that our own files carry.
fn digests(metadata: &Metadata) -> BTreeMap<String, String> {
    let own = |(key, digest): (&String, &String)| Some((key.strip_prefix(DIGEST)?.to_string(), digest.clone()));
    metadata.metadata().iter().flatten().filter_map(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::MODEL;
    use crate::weights::values::PIECE;

    #[test]
    fn a_file_that_is_shortened_while_it_is_open_is_an_error() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join(MODEL);
        let bytes = vec![0; 4 * (PIECE + 3)];
        let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![PIECE + 3], &bytes).unwrap();
        let whole = safetensors::serialize([("w", view)], None).unwrap();
        std::fs::write(&path, &whole).unwrap();
        let file = TensorFile::open(&path).unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(whole.len() as u64 / 2)
            .unwrap();
        let mut to = vec![0.0; PIECE + 3];
        for outcome in [
            file.floats("w").map(|_| ()),
            file.floats_into("w", &mut to),
            file.check(),
        ] {
            let error = outcome.unwrap_err().to_string();
            assert!(error.contains("cannot read") && error.contains(MODEL), "{error}");
        }
    }

    #[test]
    fn pipes_and_folders_are_refused_at_once() {
        let tmp = tempfile::tempdir().unwrap();
        let pipe = tmp.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for path in [pipe.as_path(), tmp.path(), Path::new("/dev/zero")] {
            let error = TensorFile::open(path).err().unwrap().to_string();
            assert!(error.contains("no regular file"), "{error}");
        }
    }

    #[test]
    fn no_file_is_too_short_to_be_refused() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join(MODEL);
        for bytes in [
            &b""[..],
            b"1234567",
            &[255; 8],
            &[255; 300],
            &[8, 0, 0, 0, 0, 0, 0, 0, b'{'],
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(TensorFile::open(&path).err().unwrap().exit_code(), 11, "{bytes:?}");
        }
    }

    #[test]
    fn reading_into_place_gives_the_same_in_every_dtype() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join(MODEL);
        // More than one piece, and no whole number of them.
        let n = PIECE + 3;
        for (dtype, width) in [(Dtype::F32, 4), (Dtype::F64, 8), (Dtype::BF16, 2), (Dtype::F16, 2)] {
            let value = |i: usize| match dtype {
                Dtype::F32 => (i as f32 / 7.0).to_le_bytes().to_vec(),
                Dtype::F64 => (i as f64 / 7.0).to_le_bytes().to_vec(),
                // Finite in both forms of 16 bits.
                _ => ((i % 0x7000) as u16).to_le_bytes().to_vec(),
            };
            let mut bytes: Vec<u8> = (0..n).flat_map(value).collect();
            let write = |bytes: &[u8]| {
                let view = safetensors::tensor::TensorView::new(dtype, vec![n], bytes).unwrap();
                std::fs::write(&path, safetensors::serialize([("w", view)], None).unwrap()).unwrap();
            };
            write(&bytes);
            let file = TensorFile::open(&path).unwrap();
            let mut read = vec![0.0; n];
            file.floats_into("w", &mut read).unwrap();
            assert!(file.floats("w").unwrap().unwrap() == read, "{dtype:?}");
            assert!(read[n - 1] != 0.0 && read[n - 1] != read[n - 2]);
            drop(file);
            // All bits set is no number in any of them.
            bytes[(n - 2) * width..(n - 1) * width].fill(0xff);
            write(&bytes);
            let error = TensorFile::open(&path)
                .unwrap()
                .floats_into("w", &mut read)
                .unwrap_err();
            assert!(error.to_string().contains(&format!("at element {}", n - 2)), "{error}");
        }
    }
}
