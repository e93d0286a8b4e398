//! What a target reads: one file or several.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Clone)]
pub struct Input {
    /// Name in a folder, and contents.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Input {
    pub fn new(name: &str, bytes: Vec<u8>) -> Input {
        Input {
            files: vec![(name.into(), bytes)],
        }
    }

    /// The first file.
    pub fn bytes(&self) -> &[u8] {
        &self.files[0].1
    }

    /// The first file, as a reader of texts would see it; such readers refuse what is no UTF-8.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// Writes all files; returns the path of the first.
    pub fn write(&self, folder: &Path) -> io::Result<PathBuf> {
        for (name, bytes) in &self.files {
            fs::write(folder.join(name), bytes)?;
        }
        Ok(folder.join(&self.files[0].0))
    }
}

/// A path in the project.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Files of a folder of the project as they stand, for inputs of several files.
pub fn together(folder: &str, names: &[&str]) -> Input {
    let read = |name: &&str| {
        let path = project(folder).join(name);
        let bytes = fs::read(&path).unwrap_or_else(|e| panic!("the corpus lacks {}: {e}", path.display()));
        (name.to_string(), bytes)
    };
    Input {
        files: names.iter().map(read).collect(),
    }
}

/// Each file of a folder of the project with one of these endings as an input, in order of names.
pub fn each(folder: &str, endings: &[&str]) -> Vec<Input> {
    let place = project(folder);
    let listed = fs::read_dir(&place).unwrap_or_else(|e| panic!("the corpus lacks {}: {e}", place.display()));
    let mut names: Vec<String> = listed
        .filter_map(|f| f.ok()?.file_name().into_string().ok())
        .filter(|n| endings.iter().any(|e| n.ends_with(e)))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "the corpus has no file in {}", place.display());
    names.iter().map(|n| together(folder, &[n])).collect()
}
