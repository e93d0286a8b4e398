//! The four forms of a data set: fairseq manifest, two-column TSV, LibriSpeech folder, plain folder.

use super::Utterance;
use crate::audio::EXTENSIONS;
use crate::error::Error;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lists the utterances of a data set, in a fixed order.
///
/// - `FILE.tsv` whose first line is a folder: a fairseq manifest (`path<TAB>samples`, where the samples are at the
///   recording's own rate and its header is asked instead), with texts from `FILE.ltr` where that is there;
/// - any other `.tsv` or `.txt` file: `path<TAB>text` per line, paths relative to the file;
/// - a folder: every recording below it, with texts from `*.trans.txt` (LibriSpeech) or a `.txt` of the same name;
/// - a recording by itself.
pub fn open(place: &Path) -> Result<Vec<Utterance>, Error> {
    let found = if place.is_dir() {
        folder(place)?
    } else if !place.exists() {
        return Err(Error::data(
            place.display(),
            "there is no such file or folder",
            "check the path given to --data",
        ));
    } else if is_audio(place) {
        vec![Utterance {
            path: place.into(),
            text: same_name_text(place)?,
        }]
    } else {
        table(place)?
    };
    if found.is_empty() {
        return Err(Error::data(
            place.display(),
            "it holds no recordings",
            format!("name a manifest or a folder with {} files", EXTENSIONS[..4].join(", ")),
        ));
    }
    Ok(found)
}

fn is_audio(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
}

fn read(path: &Path) -> Result<String, Error> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        Error::data(
            path.display(),
            format!("it is not UTF-8 text ({e})"),
            "save it as UTF-8",
        )
    })?;
    // Some editors put a byte order mark first, which would be taken for part of the first path.
    Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text))
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(i, l)| (i + 1, l.trim_end_matches('\r')))
        .filter(|(_, l)| !l.trim().is_empty())
}

fn table(path: &Path) -> Result<Vec<Utterance>, Error> {
    let text = read(path)?;
    let base = path.parent().unwrap_or(Path::new(""));
    let Some((_, first)) = lines(&text).next() else {
        return Ok(vec![]);
    };
    if !first.contains('\t') {
        return manifest(path, base, &text);
    }
    lines(&text)
        .map(|(line, l)| match l.split_once('\t') {
            Some((name, label)) if !name.is_empty() => Ok(Utterance {
                path: base.join(name),
                text: Some(label.trim().into()),
            }),
            _ => Err(Error::data(
                format!("{}:{line}", path.display()),
                format!("`{l}` is not `path<TAB>text`"),
                "put one tab between the recording and its text",
            )),
        })
        .collect()
}

fn manifest(path: &Path, base: &Path, text: &str) -> Result<Vec<Utterance>, Error> {
    let mut rows = lines(text);
    // The caller has seen a first line.
    let root = base.join(rows.next().map_or("", |(_, l)| l.trim()));
    if !root.is_dir() {
        return Err(Error::data(
            format!("{}:1", path.display()),
            format!("`{}` is no folder", root.display()),
            "the first line of a manifest is the folder of its recordings; a table of texts has a tab in every line",
        ));
    }
    let mut found = vec![];
    for (line, l) in rows {
        let parsed = l
            .split_once('\t')
            .and_then(|(name, n)| n.trim().parse::<u64>().ok().map(|_| name));
        let Some(name) = parsed else {
            return Err(Error::data(
                format!("{}:{line}", path.display()),
                format!("`{l}` is not `path<TAB>samples`"),
                "write the manifest again",
            ));
        };
        found.push(Utterance {
            path: root.join(name),
            text: None,
        });
    }
    let labels = path.with_extension("ltr");
    if labels.is_file() {
        let text = read(&labels)?;
        // Empty lines count: they are empty texts.
        let texts: Vec<&str> = text.lines().collect();
        if texts.len() != found.len() {
            return Err(Error::data(
                labels.display(),
                format!(
                    "it has {} lines for the {} recordings of {}",
                    texts.len(),
                    found.len(),
                    path.display()
                ),
                "write both from the same list",
            ));
        }
        for (utterance, letters) in found.iter_mut().zip(texts) {
            utterance.text = Some(from_letters(letters));
        }
    }
    Ok(found)
}

/// `H I | Y O U |` to `HI YOU`.
fn from_letters(letters: &str) -> String {
    let joined: String = letters
        .split_whitespace()
        .map(|l| if l == "|" { " " } else { l })
        .collect();
    joined.trim().into()
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let mut entries = vec![];
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        entries.push(entry.map_err(Error::io("list", dir))?);
    }
    entries.sort_by_key(|e| e.file_name());
    for entry in entries {
        // By the entry itself: a link to a folder is not followed, so no cycle can form.
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            walk(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn folder(dir: &Path) -> Result<Vec<Utterance>, Error> {
    let mut files = vec![];
    walk(dir, &mut files)?;
    // LibriSpeech: `ID TEXT` per line, the recording ID.flac beside it.
    let mut transcripts: BTreeMap<PathBuf, String> = BTreeMap::new();
    for file in files.iter().filter(|f| f.to_string_lossy().ends_with(".trans.txt")) {
        let text = read(file)?;
        for (_, line) in lines(&text) {
            let (id, words) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            transcripts.insert(file.with_file_name(id), words.trim().into());
        }
    }
    let mut found = vec![];
    for path in files.into_iter().filter(|f| is_audio(f)) {
        let text = match transcripts.get(&path.with_extension("")) {
            Some(text) => Some(text.clone()),
            None => same_name_text(&path)?,
        };
        found.push(Utterance { path, text });
    }
    Ok(found)
}

fn same_name_text(path: &Path) -> Result<Option<String>, Error> {
    let label = path.with_extension("txt");
    if label.is_file() {
        Ok(Some(read(&label)?.trim().into()))
    } else {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(found: &[Utterance]) -> Vec<(String, Option<&str>)> {
        let name = |u: &Utterance| u.path.file_name().unwrap().to_string_lossy().into_owned();
        found.iter().map(|u| (name(u), u.text.as_deref())).collect()
    }

    #[test]
    fn every_form_is_read() {
        let tmp = tempfile::tempdir().unwrap();
        let at = |name: &str| tmp.path().join(name);
        let put = |name: &str, text: &str| fs::write(at(name), text).unwrap();
        fs::create_dir_all(at("libri/1/2")).unwrap();
        put("libri/1/2/1-2-0.flac", "");
        put("libri/1/2/1-2-1.flac", "");
        put("libri/1/2/1-2.trans.txt", "1-2-0 HELLO THERE\n1-2-1 AGAIN\n");
        put("libri/b.WAV", "");
        put("libri/b.txt", " own text\n");
        put("libri/c.ogg", "");
        assert_eq!(
            texts(&open(&at("libri")).unwrap()),
            [
                ("1-2-0.flac".into(), Some("HELLO THERE")),
                ("1-2-1.flac".into(), Some("AGAIN")),
                ("b.WAV".into(), Some("own text")),
                ("c.ogg".into(), None)
            ]
        );
        put("train.tsv", "libri\nb.WAV\t16000\nc.ogg\t5\n");
        let plain = open(&at("train.tsv")).unwrap();
        assert_eq!(
            plain[1],
            Utterance {
                path: at("libri").join("c.ogg"),
                text: None
            }
        );
        put("train.ltr", "H I | Y O U |\n\n");
        assert_eq!(
            texts(&open(&at("train.tsv")).unwrap()),
            [("b.WAV".into(), Some("HI YOU")), ("c.ogg".into(), Some(""))]
        );
        put("two.tsv", "\u{feff}libri/b.WAV\tone two\r\nlibri/c.ogg\tthree\n");
        assert_eq!(
            texts(&open(&at("two.tsv")).unwrap()),
            [("b.WAV".into(), Some("one two")), ("c.ogg".into(), Some("three"))]
        );
        assert!(open(&at("two.tsv")).unwrap().iter().all(|u| u.path.is_file()));
    }

    #[test]
    fn mistakes_are_told_with_file_and_line() {
        let tmp = tempfile::tempdir().unwrap();
        let file = tmp.path().join("t.tsv");
        let message = |text: &str| {
            fs::write(&file, text).unwrap();
            open(&file).unwrap_err().to_string()
        };
        assert!(message("a.wav\thello\nb.wav hello\n").contains("t.tsv:2"));
        assert!(message("nowhere\na.wav\t5\n").contains("t.tsv:1"));
        assert!(message(".\na.wav\tfive\n").contains("t.tsv:2"));
        assert!(message("").contains("no recordings"));
        fs::write(tmp.path().join("t.ltr"), "A |\nB |\n").unwrap();
        assert!(message(".\na.wav\t5\n").contains("2 lines for the 1 recordings"));
        assert!(open(tmp.path()).unwrap_err().to_string().contains("no recordings"));
        assert!(
            open(&tmp.path().join("gone"))
                .unwrap_err()
                .to_string()
                .contains("--data")
        );
    }
}
