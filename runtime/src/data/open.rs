//! The forms of a data set, told apart by what they hold.

use super::{Listing, Utterance, folder, manifest, table, text};
use crate::audio::{EXTENSIONS, STDIN};
use crate::error::Error;
use std::path::Path;

/// Lists the utterances of a data set, in a fixed order; see [`listing`].
pub fn open(place: &Path) -> Result<Vec<Utterance>, Error> {
    listing(place).map(|l| l.utterances)
}

/// Lists a data set, in a fixed order, and what in it is no recording.
///
/// - a folder: every recording below it, with texts from `*.trans.txt` (LibriSpeech), or a `.txt`, `.lab`, `.wrd` or `.phn`
///   of the same name; links to folders are followed;
/// - a table with a header (CSV, TSV) or JSON lines: columns are found by name, segments by start and end or duration;
/// - a manifest of fairseq: a folder in the first line, then `path<TAB>samples` (its header is asked instead of the samples),
///   with texts from `.ltr`, `.wrd` or `.phn`;
/// - any other text file: `path<TAB>text` per line, or a path per line;
/// - a recording by itself.
///
/// Paths are relative to the file that names them; `path:start:samples` is a part of a recording.
///
/// # Errors
/// Names the file and line of what cannot be read as one of these forms.
pub fn listing(place: &Path) -> Result<Listing, Error> {
    let missing = || {
        Error::data(
            place.display(),
            "there is no such file or folder",
            "check the path, which --data or the command line gave",
        )
    };
    if place == Path::new(STDIN) {
        return Ok(single(place, None));
    }
    let found = match std::fs::metadata(place) {
        Ok(found) => found,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(missing()),
        Err(e) => return Err(Error::io("open", place)(e)),
    };
    let listing = if found.is_dir() {
        folder::read(place)?
    } else if folder::is_audio(place) {
        single(place, folder::text_beside(place)?)
    } else {
        file(place)?
    };
    if listing.utterances.is_empty() {
        let unknown = listing.unknown_note().map(|n| format!(" ({n})")).unwrap_or_default();
        return Err(Error::data(
            place.display(),
            format!("it holds no recordings{unknown}"),
            format!("name a manifest or a folder with {} files", EXTENSIONS[..4].join(", ")),
        ));
    }
    Ok(listing)
}

fn single(path: &Path, text: Option<String>) -> Listing {
    Listing {
        utterances: vec![Utterance {
            path: path.into(),
            segment: None,
            text,
            clusters: None,
        }],
        ..Listing::default()
    }
}

fn file(path: &Path) -> Result<Listing, Error> {
    let content = text::read(path)?;
    let base = path.parent().unwrap_or(Path::new(""));
    let utterances = match manifest::is(base, &content) {
        true => manifest::read(path, base, &content)?,
        false => table::read(path, base, &content)?,
    };
    Ok(Listing {
        utterances,
        ..Listing::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

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
                segment: None,
                text: None,
                clusters: None,
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
