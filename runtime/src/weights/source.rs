//! Where a folder's tensors lie: one safetensors file, or several that an index lists.

use super::tensor_file::TensorFile;
use super::{MODEL, json};
use crate::error::Error;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const INDEX: &str = "model.safetensors.index.json";

/// Tensors by name, wherever they lie.
pub(super) struct Source {
    /// The file that errors name.
    path: PathBuf,
    files: Vec<TensorFile>,
    /// Which file has a tensor.
    at: BTreeMap<String, usize>,
}

impl Source {
    /// Opens what a folder has.
    pub(super) fn open(dir: &Path) -> Result<Source, Error> {
        let (model, index) = (dir.join(MODEL), dir.join(INDEX));
        if model.is_file() {
            let file = TensorFile::open(&model)?;
            return Ok(Source {
                at: file.names().into_iter().map(|n| (n, 0)).collect(),
                files: vec![file],
                path: model,
            });
        }
        if index.is_file() {
            return shards(dir, index);
        }
        let remedy = if dir.join("pytorch_model.bin").is_file() {
            "convert pytorch_model.bin: load it in transformers and save_pretrained it; pickled weights are never opened"
        } else {
            "name the folder that holds it; a run's first checkpoint writes one"
        };
        Err(Error::weights(dir, format!("it has no {MODEL}"), remedy))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn names(&self) -> BTreeSet<String> {
        self.at.keys().cloned().collect()
    }

    pub(super) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.files[*self.at.get(name)?].shape(name).map(<[usize]>::to_vec)
    }

    /// Reads a tensor into place. Fails on values that are not finite.
    pub(super) fn floats_into(&self, name: &str, to: &mut [f32]) -> Result<(), Error> {
        match self.at.get(name) {
            Some(file) => self.files[*file].floats_into(name, to),
            None => Ok(()),
        }
    }
}

/// The files that an index lists. Each tensor must be in the file that the index says.
fn shards(dir: &Path, index: PathBuf) -> Result<Source, Error> {
    let wrong = |what: String| Error::weights(&index, what, "download the folder again");
    let text = json(&index)?;
    let map = text.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| wrong("it has no `weight_map`".into()))?;
    let (mut names, mut files, mut at) = (vec![], vec![], BTreeMap::new());
    for (tensor, file) in map {
        let name = file
            .as_str()
            .filter(|f| !f.contains('/') && f.ends_with(".safetensors"));
        let name =
            name.ok_or_else(|| wrong(format!("`{tensor}` is said to be in {file}, which names no such file")))?;
        let known = names.iter().position(|n| n == name);
        let which = match known {
            Some(i) => i,
            None => {
                files.push(TensorFile::open(&dir.join(name))?);
                names.push(name.to_string());
                names.len() - 1
            }
        };
        if files[which].shape(tensor).is_none() {
            return Err(wrong(format!("`{tensor}` is not in {name}")));
        }
        at.insert(tensor.clone(), which);
    }
    Ok(Source { path: index, files, at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atomic::{Piece, Values, write_tensors};

    #[test]
    fn a_folder_with_pickled_weights_alone_says_how_to_convert_them() {
        let dir = tempfile::tempdir().unwrap();
        let error = || Source::open(dir.path()).err().unwrap().to_string();
        assert!(error().contains("first checkpoint"), "{}", error());
        std::fs::write(dir.path().join("pytorch_model.bin"), "pickle").unwrap();
        assert!(error().contains("save_pretrained"), "{}", error());
    }

    #[test]
    fn tensors_are_found_over_several_files_and_false_indices_are_refused() {
        let tmp = tempfile::tempdir().unwrap();
        let put = |file: &str, name: &str, v: f32| {
            let piece = Piece {
                shape: vec![2],
                values: Values::F32(&[v, v]),
            };
            write_tensors(&tmp.path().join(file), vec![(name.to_string(), piece)]).unwrap();
        };
        put("model-00001-of-00002.safetensors", "a", 1.5);
        put("model-00002-of-00002.safetensors", "b", 2.5);
        let index = |map: &str| {
            let text = format!("{{\"metadata\": {{}}, \"weight_map\": {map}}}");
            std::fs::write(tmp.path().join(INDEX), text).unwrap();
            Source::open(tmp.path())
        };
        let source =
            index(r#"{"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}"#).unwrap();
        let mut values = [0.0; 2];
        source.floats_into("b", &mut values).unwrap();
        assert_eq!(
            (values, source.shape("a"), source.names().len()),
            ([2.5; 2], Some(vec![2]), 2)
        );
        let refused = |map: &str, part: &str| {
            let error = index(map).err().unwrap().to_string();
            assert!(error.contains(part), "{error}");
        };
        refused(r#"{"a": "model-00002-of-00002.safetensors"}"#, "`a` is not in");
        refused(r#"{"a": "../secret.safetensors"}"#, "names no such file");
        refused(r#"{"a": "gone.safetensors"}"#, "gone.safetensors");
    }
}
