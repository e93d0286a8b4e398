//! `run.json`: what makes a folder a run, and what the run is about, for people and scripts.

use crate::atomic::{open_own, write_text};
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Read;
use std::path::Path;

pub const NAME: &str = "run.json";
const MAGIC: &str = "w2vc run";
const FORMAT: u64 = 1;
/// More is no marker.
const MOST: u64 = 1 << 20;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Marker {
    magic: String,
    format: u64,
    /// The version that began the run.
    w2vc: String,
    pub command: String,
    /// Digests of the data, the vocabulary, the recipe and the model; empty until the data were read.
    #[serde(default)]
    pub digests: BTreeMap<String, String>,
}

impl Marker {
    pub fn new(command: &str) -> Marker {
        Marker {
            magic: MAGIC.into(),
            format: FORMAT,
            w2vc: env!("CARGO_PKG_VERSION").into(),
            command: command.into(),
            digests: BTreeMap::new(),
        }
    }

    /// The folder's marker; `None` where it has none, or one that is damaged.
    ///
    /// # Errors
    /// Where a later version wrote it.
    pub fn read(dir: &Path) -> Result<Option<Marker>, Error> {
        let path = dir.join(NAME);
        let read = || -> Option<String> {
            let file = open_own(OpenOptions::new().read(true), &path).ok()?;
            let mut text = String::new();
            file.metadata().ok()?.is_file().then_some(())?;
            file.take(MOST).read_to_string(&mut text).ok()?;
            Some(text)
        };
        let value = read().and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
        let Some(value) = value.filter(|v| v["magic"] == MAGIC) else {
            return Ok(None);
        };
        match value["format"].as_u64() {
            Some(FORMAT) => Ok(serde_json::from_value(value).ok()),
            Some(later) if later > FORMAT => Err(Error::run(
                &path,
                format!(
                    "w2vc {} wrote it, in form {later}; this one reads form {FORMAT}",
                    value["w2vc"].as_str().unwrap_or("of a later version")
                ),
                "use an executable compiled by that version, or choose another --out",
            )),
            _ => Ok(None),
        }
    }

    pub fn write(&self, dir: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self).expect("plain data always serialises");
        write_text(&dir.join(NAME), &format!("{text}\n"))
    }
}

/// Files of a run that versions before 0.2 wrote through a name with a dot before and `.tmp` after it.
const EARLIER: [&str; 7] = [
    "config.json",
    "model.safetensors",
    "vocab.json",
    "preprocessor_config.json",
    "tokenizer_config.json",
    "log.jsonl",
    "weights.safetensors",
];

/// Whether a name is one that versions before 0.2 gave a temporary file in a run folder.
pub fn is_earlier_temporary(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let ours = EARLIER.iter().any(|known| name == format!(".{known}.tmp"));
    // Of the library that wrote their tensors.
    let random = name.strip_prefix(".tmp");
    ours || random.is_some_and(|r| r.len() == 6 && r.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Removes such files from a run folder that is locked, so that no one writes them.
pub fn sweep_earlier(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(|e| is_earlier_temporary(&e.file_name())) {
        if entry.file_type().is_ok_and(|t| t.is_file()) {
            // That one cannot be removed is no reason not to train.
            let _ = fs::remove_file(entry.path());
        }
    }
}
