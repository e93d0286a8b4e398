//! A safetensors file: what it holds, its digests, and its values as f32 or i32.

use super::values::{decoder, groups, pieces};
use crate::atomic;
use crate::digest::{Digest, Hasher};
use crate::error::Error;
use crate::tensors::DIGEST;
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A safetensors file, mapped.
pub struct TensorFile {
    path: PathBuf,
    file: File,
    map: Mmap,
    metadata: Metadata,
    /// Of its tensors, by their names; empty where the file is not of our own writing.
    digests: BTreeMap<String, String>,
    /// Where the data starts.
    start: usize,
}

impl TensorFile {
    pub fn open(path: &Path) -> Result<TensorFile, Error> {
        TensorFile::of(File::open(path), path)
    }

    /// As [`TensorFile::open`], for a file that must be no link.
    pub(crate) fn open_own(path: &Path) -> Result<TensorFile, Error> {
        TensorFile::of(atomic::open_own(OpenOptions::new().read(true), path), path)
    }

    fn of(file: std::io::Result<File>, path: &Path) -> Result<TensorFile, Error> {
        let remedy = "the file is damaged or no safetensors file; copy or convert it again";
        let file = file.map_err(Error::io("open", path))?;
        // SAFETY: the map is only read. Our own writers replace files by renaming, which leaves a mapped file as it
        // is; another program that shortens the file under us ends this one with a signal, it does not corrupt memory.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
        let (header, metadata) =
            SafeTensors::read_metadata(&map).map_err(|e| Error::weights(path, e.to_string(), remedy))?;
        let start = header + 8;
        if map.len() - start != metadata.data_len() {
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
            file,
            map,
            metadata,
            digests,
            start,
        })
    }

    /// Of names, types, shapes and, in files of our own, the digests of all tensors.
    pub(crate) fn header_digest(&self) -> Digest {
        Digest::of(&self.map[8..self.start])
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

    fn bytes(&self, info: &TensorInfo) -> &[u8] {
        &self.map[self.start + info.data_offsets.0..self.start + info.data_offsets.1]
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
        let (width, decode) = decoder(info.dtype).ok_or_else(|| self.wrong_type(name, info.dtype, "f32"))?;
        let bytes = self.bytes(info);
        self.verify(name, || Digest::of(bytes))?;
        let mut values = vec![0.0; bytes.len() / width];
        decode(bytes, &mut values);
        Ok(Some(values))
    }

    /// As [`TensorFile::floats`], into place. The file is read, not looked at through its map: mapped pages would count as
    /// this process's memory, as much of it as the values themselves. Fails on values that are not finite.
    pub(crate) fn floats_into(&self, name: &str, to: &mut [f32]) -> Result<(), Error> {
        let values = to.len();
        self.pieces(name, values, |at, piece| {
            to[at..at + piece.len()].copy_from_slice(piece)
        })
    }

    /// Hands out the `count` values of a tensor in order, some at a time; the last error may be found after the last value.
    fn pieces(&self, name: &str, count: usize, take: impl FnMut(usize, &[f32])) -> Result<(), Error> {
        let Some(info) = self.info(name) else { return Ok(()) };
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
        match strange {
            None => Ok(()),
            Some((value, at)) => {
                let what = format!("`{name}` holds {value} at element {at}");
                Err(Error::weights(&self.path, what, "use a sound checkpoint"))
            }
        }
    }

    /// Values of an integer tensor as i32, or `None` where there is no such tensor.
    pub fn integers(&self, name: &str) -> Result<Option<Vec<i32>>, Error> {
        let Some(info) = self.info(name) else { return Ok(None) };
        let bytes = self.bytes(info);
        self.verify(name, || Digest::of(bytes))?;
        let wide: Vec<i64> = match info.dtype {
            Dtype::I64 => groups::<8>(bytes).map(i64::from_le_bytes).collect(),
            Dtype::I32 => groups::<4>(bytes).map(|b| i32::from_le_bytes(b) as i64).collect(),
            Dtype::U8 | Dtype::BOOL => bytes.iter().map(|b| *b as i64).collect(),
            other => return Err(self.wrong_type(name, other, "i64")),
        };
        let narrow: Result<Vec<i32>, _> = wide.into_iter().map(i32::try_from).collect();
        narrow
            .map(Some)
            .map_err(|_| Error::weights(&self.path, format!("`{name}` has values beyond 32 bits"), "check it"))
    }
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
    fn reading_into_place_gives_what_the_map_shows_in_every_dtype() {
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
