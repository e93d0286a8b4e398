//! Folders: every recording below, with the texts that lie beside it.

use super::{Listing, Utterance, text};
use crate::audio::EXTENSIONS;
use crate::error::Error;
use crate::log::Progress;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files that may lie beside recordings without being any.
const COMPANIONS: &[&str] = &[
    "txt", "tsv", "csv", "json", "jsonl", "ltr", "wrd", "phn", "km", "lab", "textgrid", "srt", "vtt", "xml", "md",
    "stm", "ctm", "rttm", "eaf", "html", "pdf", "gz", "py", "sh", "log", "yaml", "yml", "toml", "npy",
];

pub(super) fn is_audio(path: &Path) -> bool {
    extension(path).is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
}

fn extension(path: &Path) -> Option<String> {
    path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase)
}

/// All files below a folder, in a fixed order. Links to folders are followed after all else; no folder is entered twice, so
/// that links in a circle end.
fn walk(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let (mut files, mut entered, mut links) = (vec![], BTreeSet::new(), vec![dir.to_path_buf()]);
    let mut progress = Progress::counting("files found");
    while let Some(link) = links.pop() {
        let mut more = vec![];
        enter(&link, &mut files, &mut entered, &mut more, &mut progress)?;
        links.extend(more.into_iter().rev());
    }
    Ok(files)
}

fn enter(
    dir: &Path,
    files: &mut Vec<PathBuf>,
    entered: &mut BTreeSet<(u64, u64)>,
    links: &mut Vec<PathBuf>,
    progress: &mut Progress,
) -> Result<(), Error> {
    let found = fs::metadata(dir).map_err(Error::io("list", dir))?;
    if !entered.insert((found.dev(), found.ino())) {
        return Ok(());
    }
    let mut entries = vec![];
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        entries.push(entry.map_err(Error::io("list", dir))?);
    }
    entries.sort_by_key(|e| e.file_name());
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type().map_err(Error::io("list", &path))?;
        if kind.is_dir() {
            enter(&path, files, entered, links, progress)?;
        } else if kind.is_symlink() && path.is_dir() {
            links.push(path);
        } else {
            progress.step();
            files.push(path);
        }
    }
    Ok(())
}

pub(super) fn read(dir: &Path) -> Result<Listing, Error> {
    let files = walk(dir)?;
    // LibriSpeech: `ID TEXT` per line, the recording ID.flac beside it.
    let mut transcripts: BTreeMap<PathBuf, String> = BTreeMap::new();
    for file in files.iter().filter(|f| f.to_string_lossy().ends_with(".trans.txt")) {
        let content = text::read(file)?;
        for (_, line) in text::lines(&content) {
            let (id, words) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            transcripts.insert(file.with_file_name(id), words.trim().into());
        }
    }
    let mut listing = Listing::default();
    for path in files {
        let name = path
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        // What other systems leave behind: `._a.wav` holds no sound.
        if name.starts_with("._") {
            continue;
        }
        if !is_audio(&path) {
            let kind = extension(&path);
            if !name.starts_with('.') && !kind.as_ref().is_some_and(|k| COMPANIONS.contains(&k.as_str())) {
                let kind = kind.map_or("without an extension".into(), |k| format!(".{k}"));
                *listing.unknown.entry(kind).or_default() += 1;
            }
            continue;
        }
        let text = match transcripts.get(&path.with_extension("")) {
            Some(text) => Some(text.clone()),
            None => text_beside(&path)?,
        };
        listing.utterances.push(Utterance {
            path,
            segment: None,
            text,
            clusters: None,
        });
    }
    Ok(listing)
}

/// The text that lies beside a recording: TIMIT's `.wrd`, a `.txt` or `.lab` of the same name, or TIMIT's `.phn`.
pub(super) fn text_beside(path: &Path) -> Result<Option<String>, Error> {
    for (extension, timed) in [("wrd", true), ("txt", false), ("lab", false), ("phn", true)] {
        for extension in [extension.to_string(), extension.to_uppercase()] {
            let label = path.with_extension(extension);
            if label.is_file() {
                let content = text::read(&label)?;
                return match timed {
                    true => timed_words(&label, &content).map(Some),
                    false => Ok(Some(content.trim().into())),
                };
            }
        }
    }
    Ok(None)
}

/// TIMIT's lines `start end word`, to the words.
fn timed_words(path: &Path, content: &str) -> Result<String, Error> {
    let words = text::lines(content).map(|(line, l)| {
        let mut parts = l.split_whitespace();
        let times = (parts.next(), parts.next());
        let number = |t: Option<&str>| t.is_some_and(|t| t.parse::<f64>().is_ok());
        match parts.next() {
            Some(word) if number(times.0) && number(times.1) => Ok(word),
            _ => Err(Error::data(
                format!("{}:{line}", path.display()),
                format!("`{l}` is not `start end word`"),
                "write one word per line with its times, as TIMIT does, or a .txt",
            )),
        }
    });
    Ok(words.collect::<Result<Vec<_>, _>>()?.join(" "))
}
