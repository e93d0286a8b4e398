//! Adapters of languages: `adapter.fra.safetensors` beside the weights of all of them, as MMS has.

use super::MODEL;
use crate::error::Error;
use std::path::{Path, PathBuf};

const START: &str = "adapter.";
const END: &str = ".safetensors";

/// The language of an adapter's file that lies beside the weights it belongs to.
pub(super) fn of_file(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let language = name.strip_prefix(START)?.strip_suffix(END)?;
    let beside = path.parent().unwrap_or(Path::new(""));
    let known = [MODEL, "model.safetensors.index.json", "pytorch_model.bin"];
    known
        .iter()
        .any(|f| beside.join(f).is_file())
        .then(|| language.to_string())
}

/// The weights of a folder for a language: its adapter's file.
///
/// # Errors
/// Where the folder has none, with those that it has.
pub fn for_language(folder: &Path, language: Option<&str>) -> Result<PathBuf, Error> {
    let Some(language) = language else {
        return Ok(folder.into());
    };
    let path = folder.join(format!("{START}{language}{END}"));
    if path.is_file() {
        return Ok(path);
    }
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = files.map(|f| f.file_name().to_string_lossy().into_owned());
    let own = |name: String| Some(name.strip_prefix(START)?.strip_suffix(END)?.to_string());
    let mut known: Vec<String> = names.filter_map(own).collect();
    known.sort();
    let remedy = match known.len() {
        0 => "name a folder with files adapter.LANGUAGE.safetensors, as MMS has them".to_string(),
        n if n > 20 => format!("there are {} and {} others", known[..20].join(", "), n - 20),
        _ => format!("there are {}", known.join(", ")),
    };
    Err(Error::weights(
        folder,
        format!("it has no adapter for the language `{language}`"),
        remedy,
    ))
}
