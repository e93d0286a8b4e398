//! The two forms of torch's files: where their pickle is, and where their storages are.

use super::pickle::{self, Node, Pickle, Value};
use crate::error::Error;
use memmap2::Mmap;
use safetensors::Dtype;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use zip::{CompressionMethod, ZipArchive};

/// Bytes of a pickle: a large model's have some hundred thousand.
const MOST_PICKLE: u64 = 1 << 26;
/// The first pickle of a file from before torch 1.6.
const MAGIC: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

pub(super) struct Layout {
    pub pickle: Pickle,
    /// Where a storage begins, and how many values it has.
    pub storages: BTreeMap<String, (u64, usize)>,
}

pub(super) fn read(file: &File, path: &Path) -> Result<Layout, Error> {
    let wrong = |what: &str| Error::weights(path, what, "copy it again, or get the weights as safetensors");
    let mut first = [0; 4];
    let mut reader = file;
    match reader.read(&mut first).map_err(Error::io("read", path))? {
        4 if first == *b"PK\x03\x04" => archive(file, path),
        4 if first[0] == 0x80 => sequence(file, path),
        _ if first == *b"vers" => Err(Error::weights(
            path,
            "it is a pointer of git-lfs and not the file itself",
            "fetch it with `git lfs pull`",
        )),
        _ => Err(wrong("it is no file of torch")),
    }
}

/// A zip archive: `NAME/data.pkl`, and a storage in each `NAME/data/KEY`, not compressed.
fn archive(file: &File, path: &Path) -> Result<Layout, Error> {
    let wrong = |what: String| Error::weights(path, what, "copy it again, or get the weights as safetensors");
    let bad = |e: zip::result::ZipError| wrong(format!("it is not a valid zip archive: {e}"));
    let mut zip = ZipArchive::new(file).map_err(bad)?;
    let (mut pickle, mut places) = (None, BTreeMap::new());
    for i in 0..zip.len() {
        let entry = zip.by_index_raw(i).map_err(bad)?;
        let name = entry.name().map_err(bad)?.into_owned();
        let Some((_, inner)) = name.split_once('/') else {
            continue;
        };
        if inner != "data.pkl" && inner != "byteorder" && !inner.starts_with("data/") {
            continue;
        }
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(wrong(format!(
                "`{name}` is compressed or encrypted, which torch never does"
            )));
        }
        let (Some(start), size) = (entry.data_start(), entry.size()) else {
            return Err(wrong(format!("`{name}` is not where it should be")));
        };
        match inner.strip_prefix("data/") {
            Some(key) => drop(places.insert(key.to_string(), (start, size))),
            None if inner == "byteorder" => {
                let order = bytes(file, path, start, size.min(16))?;
                if order != b"little" {
                    return Err(wrong("its values are not in little-endian order".into()));
                }
            }
            None if size > MOST_PICKLE => {
                return Err(wrong(format!("`{name}` has {size} bytes, too many for a model")));
            }
            None => pickle = Some((start, size)),
        }
    }
    let Some((start, size)) = pickle else {
        return Err(wrong(
            "it has no data.pkl; a TorchScript program or another archive does not contain weights".into(),
        ));
    };
    let pickle = pickle::read(&bytes(file, path, start, size)?).map_err(|e| e.of(path))?;
    let whole = file.metadata().map_err(Error::io("read", path))?.len();
    let mut storages = BTreeMap::new();
    for (key, dtype) in pickle.storages() {
        if let Some((start, size)) = places
            .get(key)
            .filter(|(start, size)| start.checked_add(*size).is_some_and(|e| e <= whole))
        {
            storages.insert(key.to_string(), (*start, (*size / width(dtype)) as usize));
        }
    }
    Ok(Layout { pickle, storages })
}

fn bytes(file: &File, path: &Path, start: u64, size: u64) -> Result<Vec<u8>, Error> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; size as usize];
    file.read_exact_at(&mut bytes, start).map_err(Error::io("read", path))?;
    Ok(bytes)
}

/// Five pickles (a mark, a version, the machine, the values themselves, the keys of their storages), and the storages in the order
/// of the keys, each after the number of its values.
fn sequence(file: &File, path: &Path) -> Result<Layout, Error> {
    let wrong = |what: String| Error::weights(path, what, "copy it again, or get the weights as safetensors");
    // SAFETY: the map is only read; a program that shortens the file under us ends this one with a signal, it does not corrupt
    // memory.
    let map = unsafe { Mmap::map(file) }.map_err(Error::io("map", path))?;
    let mut at = 0;
    let mut next = || {
        let end = map.len().min(at + MOST_PICKLE as usize);
        let pickle = pickle::read(&map[at..end]).map_err(|e| e.of(path))?;
        at += pickle.len;
        Ok::<Pickle, Error>(pickle)
    };
    let mark = next()?;
    match mark.node(mark.root) {
        Some(Node::Bytes(mark)) if mark == MAGIC => {}
        // A pickle of something: what it asks for was said already, had it been harmful.
        _ => return Err(wrong("it is a pickle, but no file of torch".into())),
    }
    let (_version, machine, pickle, keys) = (next()?, next()?, next()?, next()?);
    if machine.get(machine.root, "little_endian") == Some(Value::Bool(false)) {
        return Err(wrong("its values are not in little-endian order".into()));
    }
    let types: BTreeMap<&str, Dtype> = pickle.storages().collect();
    let mut storages = BTreeMap::new();
    for key in keys.items(keys.root) {
        let key = keys
            .text(*key)
            .ok_or_else(|| wrong("its list of storages is damaged".into()))?;
        let dtype = types
            .get(key)
            .ok_or_else(|| wrong(format!("nothing is known of its storage `{key}`")))?;
        let count = map
            .get(at..at + 8)
            .map(|b| u64::from_le_bytes(b.try_into().expect("eight bytes")));
        let end = count.and_then(|n| n.checked_mul(width(*dtype))?.checked_add(at as u64 + 8));
        let (Some(count), Some(end)) = (count, end.filter(|end| *end <= map.len() as u64)) else {
            return Err(wrong("it is cut off".into()));
        };
        storages.insert(key.to_string(), (at as u64 + 8, count as usize));
        at = end as usize;
    }
    Ok(Layout { pickle, storages })
}

/// Bytes of a value.
fn width(dtype: Dtype) -> u64 {
    match dtype {
        Dtype::F64 | Dtype::I64 => 8,
        Dtype::F32 | Dtype::I32 => 4,
        Dtype::F16 | Dtype::BF16 | Dtype::I16 => 2,
        _ => 1,
    }
}
