//! Files that torch writes: tensors that a pickle describes, in a zip archive, or one after the other as before torch
//! 1.6.

mod globals;
mod layout;
mod pickle;
#[cfg(test)]
mod tests;

use super::values::{decoder, pieces, strange};
use crate::error::Error;
use layout::Layout;
use pickle::{Fault, Tensor};
pub(super) use pickle::{Pickle, Value};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Keys under which training programs keep the tensors of a model, the file itself being one of them first of all.
const UNDER: [&str; 3] = ["model", "state_dict", "model_state_dict"];

/// A file of torch.
pub struct TorchFile {
    path: PathBuf,
    file: File,
    /// Where each storage begins in the file, and its values.
    storages: BTreeMap<String, u64>,
    tensors: BTreeMap<String, Tensor>,
    pickle: Pickle,
}

impl TorchFile {
    /// # Errors
    /// Where it is no such file, is damaged, or names anything but weights.
    pub fn open(path: &Path) -> Result<TorchFile, Error> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let wrong = |what: String| Error::weights(path, what, "copy it again, or get the weights as safetensors");
        let Layout { pickle, storages } = layout::read(&file, path)?;
        let found = tensors(&pickle).ok_or_else(|| {
            wrong("it holds no tensors by name (a whole pickled model needs the program that made it)".into())
        })?;
        let mut tensors = BTreeMap::new();
        for (name, tensor) in found {
            let Some((_, values)) = storages.get(&tensor.storage.key) else {
                return Err(wrong(format!("the values of `{name}` are not in it")));
            };
            if *values < tensor.storage.values {
                return Err(wrong(format!("the values of `{name}` are cut off")));
            }
            tensors.insert(name, tensor);
        }
        Ok(TorchFile {
            path: path.into(),
            file,
            storages: storages.into_iter().map(|(key, (start, _))| (key, start)).collect(),
            tensors,
            pickle,
        })
    }

    pub fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|t| t.shape.as_slice())
    }

    /// What the file says besides its tensors.
    pub(super) fn saying(&self) -> (&Pickle, Value) {
        (&self.pickle, self.pickle.root)
    }

    /// The values of a tensor, in order. Fails on values that are not finite.
    pub fn floats_into(&self, name: &str, to: &mut [f32]) -> Result<(), Error> {
        let Some(tensor) = self.tensors.get(name) else {
            return Ok(());
        };
        let wrong = |what: String| Error::weights(&self.path, what, "use a sound checkpoint, with values in f32");
        let storage = &tensor.storage;
        let (width, decode) =
            decoder(storage.dtype).ok_or_else(|| wrong(format!("`{name}` is {:?}", storage.dtype)))?;
        let start = self.storages[&storage.key] + (tensor.offset * width) as u64;
        let count = tensor.values().min(to.len());
        if tensor.contiguous() {
            let read = |at: usize, bytes: &mut [u8]| self.file.read_exact_at(bytes, start + at as u64);
            let odd = pieces(
                count,
                (width, decode),
                read,
                |_| (),
                |at, values| to[at..at + values.len()].copy_from_slice(values),
            );
            return match odd.map_err(Error::io("read", &self.path))? {
                None => Ok(()),
                Some((value, at)) => Err(wrong(format!("`{name}` holds {value} at element {at}"))),
            };
        }
        // From its first value to its last.
        let steps: usize = tensor
            .shape
            .iter()
            .zip(&tensor.stride)
            .map(|(n, s)| (n.max(&1) - 1) * s)
            .sum();
        let mut bytes = vec![0; (steps + 1) * width];
        self.file
            .read_exact_at(&mut bytes, start)
            .map_err(Error::io("read", &self.path))?;
        let mut values = vec![0.0; steps + 1];
        decode(&bytes, &mut values);
        for (i, place) in to[..count].iter_mut().enumerate() {
            let (mut rest, mut at) = (i, 0);
            for (size, stride) in tensor.shape.iter().zip(&tensor.stride).rev() {
                at += rest % size * stride;
                rest /= size;
            }
            *place = values[at];
        }
        match strange(to) {
            None => Ok(()),
            Some((value, at)) => Err(wrong(format!("`{name}` holds {value} at element {at}"))),
        }
    }
}

/// Tensors by name, of the file itself or of what it holds under one of the usual keys.
fn tensors(pickle: &Pickle) -> Option<Vec<(String, Tensor)>> {
    let own = |of: Value| {
        let entry =
            |(key, value): &(Value, Value)| Some((pickle.text(*key)?.to_string(), pickle.tensor(*value)?.clone()));
        let found: Vec<_> = pickle.entries(of).iter().filter_map(entry).collect();
        (!found.is_empty()).then_some(found)
    };
    own(pickle.root).or_else(|| UNDER.iter().find_map(|key| own(pickle.get(pickle.root, key)?)))
}

impl Fault {
    /// As an error about a file.
    fn of(self, path: &Path) -> Error {
        let remedy = match self {
            Fault::Foreign(_) => {
                "do not open it with other programs either unless you trust its author; use safetensors"
            }
            _ => "copy it again, or get the weights as safetensors",
        };
        Error::weights(path, self.to_string(), remedy)
    }
}
