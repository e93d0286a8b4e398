//! Where a folder's tensors lie: one file, or several that an index lists, of safetensors or of torch.

use super::fairseq::{self, Facts};
use super::tensor_file::TensorFile;
use super::torch::TorchFile;
use super::{MODEL, json};
use crate::error::Error;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Files that a folder may have, the first that is there being read: weights by themselves, or an index of several.
const FORMS: [(&str, Form); 4] = [
    (MODEL, Form::One),
    ("model.safetensors.index.json", Form::Index(".safetensors")),
    ("pytorch_model.bin", Form::One),
    ("pytorch_model.bin.index.json", Form::Index(".bin")),
];

#[derive(Clone, Copy)]
enum Form {
    One,
    /// And how the names of its files end.
    Index(&'static str),
}

/// How the names of files with weights end.
const SAFETENSORS: &str = "safetensors";
const TORCH: [&str; 3] = ["bin", "pt", "pth"];

/// A file with tensors by name.
enum Store {
    Safetensors(TensorFile),
    Torch(TorchFile),
}

impl Store {
    fn open(path: &Path) -> Result<Store, Error> {
        let is = |end: &&str| path.extension().is_some_and(|e| e == *end);
        match TORCH.iter().any(|e| is(&e)) {
            true => TorchFile::open(path).map(Store::Torch),
            false => TensorFile::open(path).map(Store::Safetensors),
        }
    }

    fn names(&self) -> Vec<String> {
        match self {
            Store::Safetensors(file) => file.names(),
            Store::Torch(file) => file.names(),
        }
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        match self {
            Store::Safetensors(file) => file.shape(name),
            Store::Torch(file) => file.shape(name),
        }
    }

    fn floats_into(&self, name: &str, to: &mut [f32]) -> Result<(), Error> {
        match self {
            Store::Safetensors(file) => file.floats_into(name, to),
            Store::Torch(file) => file.floats_into(name, to),
        }
    }
}

/// Tensors by name, wherever they lie.
pub(super) struct Source {
    /// The file that errors name.
    path: PathBuf,
    files: Vec<Store>,
    /// Which file has a tensor, and under which name.
    at: BTreeMap<String, (usize, String)>,
    /// What a checkpoint of fairseq says of itself.
    facts: Option<Facts>,
}

impl Source {
    /// Opens what a folder has.
    pub(super) fn open(dir: &Path) -> Result<Source, Error> {
        for (name, form) in FORMS {
            let path = dir.join(name);
            if path.is_file() {
                return match form {
                    Form::One => Source::file(&path),
                    Form::Index(end) => shards(dir, path, end),
                };
            }
        }
        let checkpoints = checkpoints(dir);
        match checkpoints.as_slice() {
            [one] => Source::file(one),
            [] => Err(Error::weights(
                dir,
                format!("it has no {MODEL}, pytorch_model.bin or .pt"),
                "name the folder that holds it; a run's first checkpoint writes one",
            )),
            several => {
                let what = format!("it has {} files .pt", several.len());
                let remedy = format!("name one of them, as {}", several[0].display());
                Err(Error::weights(dir, what, remedy))
            }
        }
    }

    /// Opens one file.
    pub(super) fn file(path: &Path) -> Result<Source, Error> {
        let file = Store::open(path)?;
        let names = file.names();
        let of_fairseq = fairseq::recognise(&names);
        let facts = match &file {
            Store::Torch(file) if of_fairseq => Some(fairseq::facts(file)),
            _ => None,
        };
        let entry = |name: String| {
            let own = if of_fairseq {
                fairseq::rename(&name)
            } else {
                name.clone()
            };
            (own, (0, name))
        };
        Ok(Source {
            at: names.into_iter().map(entry).collect(),
            files: vec![file],
            path: path.into(),
            facts,
        })
    }

    /// These tensors, with those of another in the place of their own of the same name.
    pub(super) fn under(mut self, over: Source) -> Source {
        let before = self.files.len();
        self.files.extend(over.files);
        let moved = over
            .at
            .into_iter()
            .map(|(name, (file, own))| (name, (file + before, own)));
        self.at.extend(moved);
        self
    }

    /// Whether a path names a file with weights rather than a folder.
    pub(super) fn is_file(path: &Path) -> bool {
        let end = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        path.is_file() && (end == SAFETENSORS || TORCH.contains(&end))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    pub(super) fn names(&self) -> BTreeSet<String> {
        self.at.keys().cloned().collect()
    }

    pub(super) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let (file, own) = self.at.get(name)?;
        self.files[*file].shape(own).map(<[usize]>::to_vec)
    }

    /// Reads a tensor into place. Fails on values that are not finite.
    pub(super) fn floats_into(&self, name: &str, to: &mut [f32]) -> Result<(), Error> {
        match self.at.get(name) {
            Some((file, own)) => self.files[*file].floats_into(own, to),
            None => Ok(()),
        }
    }
}

/// Checkpoints of fairseq in a folder. Of a run's many, the best is meant, or else the last.
fn checkpoints(dir: &Path) -> Vec<PathBuf> {
    for usual in ["checkpoint_best.pt", "checkpoint_last.pt"] {
        if dir.join(usual).is_file() {
            return vec![dir.join(usual)];
        }
    }
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|f| f.path());
    let mut found: Vec<PathBuf> = files
        .filter(|p| p.is_file() && p.extension().is_some_and(|e| e == "pt"))
        .collect();
    found.sort();
    found
}

/// The files that an index lists. Each tensor must be in the file that the index says.
fn shards(dir: &Path, index: PathBuf, end: &str) -> Result<Source, Error> {
    let wrong = |what: String| Error::weights(&index, what, "download the folder again");
    let text = json(&index)?;
    let map = text.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| wrong("it has no `weight_map`".into()))?;
    let (mut names, mut files, mut at) = (vec![], vec![], BTreeMap::new());
    for (tensor, file) in map {
        let name = file.as_str().filter(|f| !f.contains('/') && f.ends_with(end));
        let name = name.ok_or_else(|| wrong(format!("`{tensor}` should be in {file}, which is not a file name")))?;
        let known = names.iter().position(|n| n == name);
        let which = match known {
            Some(i) => i,
            None => {
                files.push(Store::open(&dir.join(name))?);
                names.push(name.to_string());
                names.len() - 1
            }
        };
        if files[which].shape(tensor).is_none() {
            return Err(wrong(format!("`{tensor}` is not in {name}")));
        }
        at.insert(tensor.clone(), (which, tensor.clone()));
    }
    Ok(Source {
        path: index,
        files,
        at,
        facts: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atomic::{Piece, Values, write_tensors};

    #[test]
    fn a_folder_without_weights_says_what_is_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let error = || Source::open(dir.path()).err().unwrap().to_string();
        assert!(error().contains("first checkpoint"), "{}", error());
        std::fs::write(dir.path().join("pytorch_model.bin"), "pickle").unwrap();
        assert!(error().contains("no file of torch"), "{}", error());
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
            std::fs::write(tmp.path().join(FORMS[1].0), text).unwrap();
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
        refused(r#"{"a": "../secret.safetensors"}"#, "is not a file name");
        refused(r#"{"a": "gone.safetensors"}"#, "gone.safetensors");
    }
}
