//! Tables: comma- or tab-separated with a header, JSON lines, `path<TAB>text` without a header, and lists of paths.

use super::{Utterance, place, text};
use crate::audio::{At, Segment};
use crate::error::Error;
use csv::ReaderBuilder;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Names of columns, lower case, in the order of preference.
const PATHS: &[&str] = &[
    "path",
    "audio_filepath",
    "audio_path",
    "audio_file",
    "audio",
    "file_path",
    "filepath",
    "file_name",
    "filename",
    "file",
    "wav_filename",
    "wav_path",
    "wav",
    "recording",
    "clip",
];
const TEXTS: &[&str] = &[
    "text",
    "sentence",
    "transcript",
    "transcription",
    "normalized_text",
    "normalised_text",
    "raw_text",
    "words",
    "label",
    "labels",
    "target",
];
const STARTS: &[&str] = &["start", "offset", "start_time", "begin", "start_seconds"];
const ENDS: &[&str] = &["end", "end_time", "stop", "end_seconds"];
const DURATIONS: &[&str] = &["duration", "dur", "duration_seconds"];

/// The recordings of a table whose form its content shows.
pub(super) fn read(path: &Path, base: &Path, content: &str) -> Result<Vec<Utterance>, Error> {
    let Some((_, first)) = text::lines(content).next() else {
        return Ok(vec![]);
    };
    if first.trim_start().starts_with(['{', '[']) {
        return json(path, base, content);
    }
    match separator(path, first) {
        Some(separator) => separated(path, base, content, separator),
        None if first.contains('\t') => pairs(path, base, content),
        None => list(path, base, content),
    }
}

fn column(names: &[String], known: &[&str]) -> Option<usize> {
    known.iter().find_map(|k| names.iter().position(|n| n == k))
}

fn names(fields: impl Iterator<Item = impl AsRef<str>>) -> Vec<String> {
    fields
        .map(|f| {
            f.as_ref()
                .trim()
                .trim_matches('"')
                .to_lowercase()
                .replace([' ', '-'], "_")
        })
        .collect()
}

/// What separates the columns of a table with a header; `None` where the first line names no column of recordings.
fn separator(path: &Path, first: &str) -> Option<u8> {
    let csv = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    [b'\t', b',', b';', b'|'].into_iter().find(|s| {
        let names = names(first.split(*s as char));
        (names.len() > 1 || csv) && column(&names, PATHS).is_some()
    })
}

/// Folders in which a table's recordings may lie: its own, and Common Voice's `clips` in it.
fn folders(base: &Path) -> [PathBuf; 2] {
    [base.into(), base.join("clips")]
}

fn separated(path: &Path, base: &Path, content: &str, separator: u8) -> Result<Vec<Utterance>, Error> {
    // In tab-separated tables, as Common Voice's, a quotation mark is a letter like others.
    let quoting = separator != b'\t';
    let mut reader = ReaderBuilder::new()
        .delimiter(separator)
        .quoting(quoting)
        .flexible(true)
        .from_reader(content.as_bytes());
    let fault =
        |line: u64, what: String, remedy: &str| Err(Error::data(format!("{}:{line}", path.display()), what, remedy));
    let header = match reader.headers() {
        Ok(header) => names(header.iter()),
        Err(e) => return fault(1, format!("its header cannot be read ({e})"), "write the table again"),
    };
    let columns = Columns::of(&header);
    let mut found = vec![];
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(e) => return fault(0, format!("it cannot be read ({e})"), "write the table again"),
        };
        let line = record.position().map_or(0, |p| p.line());
        if record.len() != header.len() {
            let what = format!("{} fields in a row of {} columns", record.len(), header.len());
            return fault(line, what, "put fields that hold the separator in quotation marks");
        }
        let field = |i: Option<usize>| {
            i.and_then(|i| record.get(i))
                .map(|f| if quoting { f.trim() } else { bare(f) })
        };
        if field(columns.text).is_some_and(|t| t.lines().count() > 8) {
            return fault(
                line,
                "a quotation mark is not closed".into(),
                "double marks inside quoted fields",
            );
        }
        let row = Row {
            path: field(columns.path).unwrap_or("").into(),
            text: field(columns.text).map(|t| t.replace(['\r', '\n'], " ")),
            start: field(columns.start).map(String::from),
            end: field(columns.end).map(String::from),
            duration: field(columns.duration).map(String::from),
        };
        match row.utterance(base) {
            Ok(utterance) => found.push(utterance),
            Err(what) => return fault(line, what, "correct this line"),
        }
    }
    Ok(found)
}

/// A field without the quotation marks around it, where they are marks of the format: pandas writes them in any table.
fn bare(field: &str) -> &str {
    let field = field.trim();
    let inner = field.strip_prefix('"').and_then(|f| f.strip_suffix('"'));
    inner.filter(|i| !i.contains('"')).unwrap_or(field)
}

struct Columns {
    path: Option<usize>,
    text: Option<usize>,
    start: Option<usize>,
    end: Option<usize>,
    duration: Option<usize>,
}

impl Columns {
    fn of(names: &[String]) -> Columns {
        Columns {
            path: column(names, PATHS),
            text: column(names, TEXTS),
            start: column(names, STARTS),
            end: column(names, ENDS),
            duration: column(names, DURATIONS),
        }
    }
}

/// One line of a table with names.
#[derive(Default)]
struct Row {
    path: String,
    text: Option<String>,
    start: Option<String>,
    end: Option<String>,
    duration: Option<String>,
}

impl Row {
    fn utterance(self, base: &Path) -> Result<Utterance, String> {
        if self.path.trim().is_empty() {
            return Err("it names no recording".into());
        }
        let number = |name: &str, value: &Option<String>| match value.as_deref().map(str::trim) {
            None | Some("") => Ok(None),
            Some(v) => match v.parse::<f64>() {
                Ok(n) if n.is_finite() && n >= 0.0 => Ok(Some(n)),
                _ => Err(format!("its {name} `{v}` is no number of seconds")),
            },
        };
        let (start, end) = (number("start", &self.start)?, number("end", &self.end)?);
        let duration = number("duration", &self.duration)?;
        let length = match (start, end, duration) {
            (_, Some(end), _) => {
                let begun = start.unwrap_or(0.0);
                if end <= begun {
                    return Err(format!("its segment ends at {end} s and begins at {begun} s"));
                }
                Some(end - begun)
            }
            // A duration alone is that of the whole recording.
            (Some(_), None, duration) => duration,
            (None, None, _) => None,
        };
        let [own, clips] = folders(base);
        let (path, segment) = place::find(&[&own, &clips], &self.path);
        let timed = (length.is_some() || start.is_some_and(|s| s > 0.0)).then(|| Segment {
            start: At::Seconds(start.unwrap_or(0.0)),
            length: length.map(At::Seconds),
        });
        if segment.is_some() && timed.is_some() {
            return Err("its segment is given twice, in its path and in columns".into());
        }
        Ok(Utterance {
            path,
            segment: segment.or(timed),
            text: self.text.map(|t| t.trim().into()),
            clusters: None,
        })
    }
}

/// JSON lines, as NeMo's manifests, or one JSON array of objects.
fn json(path: &Path, base: &Path, content: &str) -> Result<Vec<Utterance>, Error> {
    let fault = |line: usize, what: String| {
        let place = format!("{}:{line}", path.display());
        Error::data(
            place,
            what,
            "write one JSON object per line, with `audio_filepath` and `text`",
        )
    };
    let rows: Vec<(usize, Value)> = if content.trim_start().starts_with('[') {
        let all: Vec<Value> =
            serde_json::from_str(content).map_err(|e| fault(e.line(), format!("it is not JSON ({e})")))?;
        all.into_iter().enumerate().map(|(i, v)| (i + 1, v)).collect()
    } else {
        text::lines(content)
            .map(|(line, l)| match serde_json::from_str(l) {
                Ok(value) => Ok((line, value)),
                Err(e) => Err(fault(line, format!("it is not JSON ({e})"))),
            })
            .collect::<Result<_, _>>()?
    };
    rows.into_iter()
        .map(|(line, value)| {
            let Some(object) = value.as_object() else {
                return Err(fault(line, "it is no JSON object".into()));
            };
            let get = |known: &[&str]| {
                let value = known.iter().find_map(|k| object.get(*k))?;
                match value {
                    Value::String(s) => Some(s.clone()),
                    Value::Number(n) => Some(n.to_string()),
                    // As datasets writes them: {"path": ...}.
                    Value::Object(inner) => inner.get("path")?.as_str().map(String::from),
                    _ => None,
                }
            };
            let row = Row {
                path: get(PATHS).unwrap_or_default(),
                text: get(TEXTS),
                start: get(STARTS),
                end: get(ENDS),
                duration: get(DURATIONS),
            };
            row.utterance(base).map_err(|what| fault(line, what))
        })
        .collect()
}

/// `path<TAB>text` per line.
fn pairs(path: &Path, base: &Path, content: &str) -> Result<Vec<Utterance>, Error> {
    text::lines(content)
        .map(|(line, l)| match l.split_once('\t') {
            Some((name, label)) if !name.trim().is_empty() => {
                let (path, segment) = place::find(&[base], name);
                Ok(Utterance {
                    path,
                    segment,
                    text: Some(label.trim().into()),
                    clusters: None,
                })
            }
            _ => Err(Error::data(
                format!("{}:{line}", path.display()),
                format!("`{l}` is not `path<TAB>text`"),
                "put one tab between the recording and its text",
            )),
        })
        .collect()
}

/// One path per line, from the list's folder or the working directory.
fn list(path: &Path, base: &Path, content: &str) -> Result<Vec<Utterance>, Error> {
    text::lines(content)
        .map(|(line, l)| {
            if l.contains('\t') {
                return Err(Error::data(
                    format!("{}:{line}", path.display()),
                    format!("`{l}` has a tab and the first line has none"),
                    "write `path<TAB>text` in every line, or a path alone",
                ));
            }
            let (path, segment) = place::find(&[base, Path::new("")], l);
            Ok(Utterance {
                path,
                segment,
                text: None,
                clusters: None,
            })
        })
        .collect()
}
