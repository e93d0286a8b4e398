//! Writing safetensors files: one tensor at a time, each with its digest.
//!
//! The metadata of a file has a BLAKE3 digest of the bytes of every tensor, under `blake3.NAME`. Readers that know nothing
//! of them are not disturbed; [`crate::weights::TensorFile`] checks them as it reads.

use crate::atomic::replace;
use crate::digest::{Digest, Hasher};
use crate::error::Error;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Before the name of a tensor, the key of its digest.
pub const DIGEST: &str = "blake3.";

/// Values that become bytes at a time.
const CHUNK: usize = 1 << 14;

/// A tensor to be written.
pub struct Piece<'a> {
    pub shape: Vec<usize>,
    pub values: Values<'a>,
}

pub enum Values<'a> {
    F32(&'a [f32]),
    I32(&'a [i32]),
}

impl Piece<'_> {
    fn dtype(&self) -> &'static str {
        match self.values {
            Values::F32(_) => "F32",
            Values::I32(_) => "I32",
        }
    }

    fn len(&self) -> usize {
        4 * match self.values {
            Values::F32(v) => v.len(),
            Values::I32(v) => v.len(),
        }
    }

    /// Hands out the bytes in order, some at a time.
    fn bytes<E>(&self, mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        fn each<T: Copy, E>(
            values: &[T],
            bytes: impl Fn(T) -> [u8; 4],
            take: &mut dyn FnMut(&[u8]) -> Result<(), E>,
        ) -> Result<(), E> {
            let mut buffer = Vec::with_capacity(4 * CHUNK.min(values.len()));
            for chunk in values.chunks(CHUNK) {
                buffer.clear();
                chunk.iter().for_each(|v| buffer.extend_from_slice(&bytes(*v)));
                take(&buffer)?;
            }
            Ok(())
        }
        match self.values {
            Values::F32(v) => each(v, f32::to_le_bytes, &mut take),
            Values::I32(v) => each(v, i32::to_le_bytes, &mut take),
        }
    }

    fn digest(&self) -> Digest {
        let mut hasher = Hasher::default();
        let hashed: Result<(), std::convert::Infallible> = self.bytes(|bytes| {
            hasher.update(bytes);
            Ok(())
        });
        match hashed {
            Ok(()) => hasher.finish(),
        }
    }
}

/// A file that is ready to be written.
pub struct Prepared<'a> {
    pieces: Vec<(String, Piece<'a>)>,
    header: Vec<u8>,
}

impl<'a> Prepared<'a> {
    /// Finds the digests, and puts tensors in the order in which the format's own library has them.
    pub fn new(mut pieces: Vec<(String, Piece<'a>)>) -> Prepared<'a> {
        // F32 before I32: that library sorts by falling type.
        pieces.sort_by(|(a, x), (b, y)| x.dtype().cmp(y.dtype()).then(a.cmp(b)));
        let digests: Vec<Digest> = pieces.par_iter().map(|(_, piece)| piece.digest()).collect();
        let mut metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        for ((name, _), digest) in pieces.iter().zip(&digests) {
            metadata.insert(format!("{DIGEST}{name}"), digest.to_string());
        }
        let text = |t: &str| serde_json::Value::from(t).to_string();
        let mut header = format!(r#"{{"__metadata__":{}"#, serde_json::json!(metadata));
        let mut offset = 0;
        for (name, piece) in &pieces {
            let end = offset + piece.len();
            header += &format!(
                r#",{}:{{"dtype":"{}","shape":{},"data_offsets":[{offset},{end}]}}"#,
                text(name),
                piece.dtype(),
                serde_json::json!(piece.shape)
            );
            offset = end;
        }
        header.push('}');
        let mut header = header.into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        Prepared { pieces, header }
    }

    /// Of names, types, shapes and the digests of all tensors: it stands for the whole file.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.header)
    }

    pub fn write(&self, file: &mut File) -> std::io::Result<()> {
        let mut out = BufWriter::new(file);
        out.write_all(&(self.header.len() as u64).to_le_bytes())?;
        out.write_all(&self.header)?;
        for (_, piece) in &self.pieces {
            piece.bytes(|bytes| out.write_all(bytes))?;
        }
        out.flush()
    }
}

/// Writes a safetensors file. The form name in the metadata is what transformers asks for.
///
/// # Errors
/// Where the file cannot be written.
pub fn write_tensors(path: &Path, pieces: Vec<(String, Piece)>) -> Result<(), Error> {
    let prepared = Prepared::new(pieces);
    replace(path, |file| prepared.write(file).map_err(Error::io("write", path)))
}
