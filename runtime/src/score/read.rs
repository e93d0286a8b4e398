//! References and hypotheses from two files.

use super::Pair;
use crate::error::Error;
use std::collections::BTreeMap;
use std::path::Path;

/// What a text file holds.
enum Texts {
    /// One text per line.
    Lines(Vec<String>),
    /// `path<TAB>text` per line.
    Table(Vec<(String, String)>),
}

/// Pairs of two files and what to say about them: line by line, or by path where both are tables `path<TAB>text`.
///
/// # Errors
/// Files that cannot be read, differ in form or in the number of lines, or name a path twice.
pub fn read_pairs(reference: &Path, hypothesis: &Path) -> Result<(Vec<Pair>, Vec<String>), Error> {
    match (read(reference)?, read(hypothesis)?) {
        (Texts::Lines(said), Texts::Lines(heard)) => {
            if said.len() != heard.len() {
                let what = format!(
                    "it has {} lines and {} has {}",
                    said.len(),
                    hypothesis.display(),
                    heard.len()
                );
                let remedy = "write one line per clip in both, or `path<TAB>text` lines, which are matched by path";
                return Err(Error::data(reference.display(), what, remedy));
            }
            let pairs = said
                .into_iter()
                .zip(heard)
                .enumerate()
                .map(|(i, (reference, hypothesis))| Pair {
                    name: format!("line {}", i + 1),
                    reference,
                    hypothesis,
                });
            Ok((pairs.collect(), vec![]))
        }
        (Texts::Table(said), Texts::Table(heard)) => by_path(said, heard, hypothesis),
        (said, _) => {
            let (table, lines) = match said {
                Texts::Table(_) => (reference, hypothesis),
                Texts::Lines(_) => (hypothesis, reference),
            };
            let what = format!(
                "it has lines without a tab, and {} is a table `path<TAB>text`",
                table.display()
            );
            Err(Error::data(
                lines.display(),
                what,
                "give two tables, or two files of texts alone",
            ))
        }
    }
}

fn read(path: &Path) -> Result<Texts, Error> {
    let bytes = crate::atomic::read(path).map_err(Error::io("read", path))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        Error::data(
            path.display(),
            format!("it is not UTF-8 text ({e})"),
            "save it as UTF-8",
        )
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let filled = || text.lines().filter(|l| !l.trim().is_empty());
    if filled().next().is_none() || !filled().all(|l| l.contains('\t')) {
        // Empty lines count: they are empty texts.
        return Ok(Texts::Lines(text.lines().map(|l| l.trim().to_string()).collect()));
    }
    let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
    let mut table = vec![];
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let (name, own) = line.split_once('\t').unwrap_or((line, ""));
        if let Some(first) = rows.insert(name, i + 1) {
            let place = format!("{}:{}", path.display(), i + 1);
            let what = format!("`{name}` is also in line {first}");
            return Err(Error::data(place, what, "give each path once"));
        }
        table.push((name.to_string(), own.trim().to_string()));
    }
    Ok(Texts::Table(table))
}

/// Part of a path after its last slash.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// By whole paths; where none is the same in both, by file names.
fn by_path(
    said: Vec<(String, String)>,
    heard: Vec<(String, String)>,
    file: &Path,
) -> Result<(Vec<Pair>, Vec<String>), Error> {
    let mut notes = vec![];
    let mut found: BTreeMap<&str, &str> = heard.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
    let mut key: fn(&str) -> &str = |path| path;
    if !said.iter().any(|(p, _)| found.contains_key(p.as_str())) {
        let names = |table: &[(String, String)]| table.iter().map(|(p, _)| last(p).to_string()).collect::<Vec<_>>();
        let distinct = |mut names: Vec<String>| {
            let all = names.len();
            names.sort();
            names.dedup();
            names.len() == all
        };
        let by_name: BTreeMap<&str, &str> = heard.iter().map(|(p, t)| (last(p), t.as_str())).collect();
        let any = said.iter().any(|(p, _)| by_name.contains_key(last(p)));
        if !any || !distinct(names(&said)) || !distinct(names(&heard)) {
            let what = "it has none of the references' paths";
            return Err(Error::data(file.display(), what, "write paths in both files alike"));
        }
        notes.push("no path is in both files: matched by file names".to_string());
        (found, key) = (by_name, last);
    }
    let mut missing = vec![];
    let pairs: Vec<Pair> = said
        .into_iter()
        .map(|(name, reference)| {
            let heard = found.remove(key(&name));
            if heard.is_none() {
                missing.push(name.clone());
            }
            Pair {
                hypothesis: heard.unwrap_or_default().to_string(),
                name,
                reference,
            }
        })
        .collect();
    if let Some(first) = missing.first() {
        let n = missing.len();
        notes.push(format!(
            "{n} references have no hypothesis and count as all deleted; the first: {first}"
        ));
    }
    if let Some(first) = found.keys().next() {
        let n = found.len();
        notes.push(format!(
            "{n} hypotheses have no reference and are left out; the first: {first}"
        ));
    }
    Ok((pairs, notes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_matched_by_line_or_by_path() {
        let tmp = tempfile::tempdir().unwrap();
        let read = |reference: &str, hypothesis: &str| {
            let (r, h) = (tmp.path().join("ref"), tmp.path().join("hyp"));
            std::fs::write(&r, reference).unwrap();
            std::fs::write(&h, hypothesis).unwrap();
            read_pairs(&r, &h).map_err(|e| e.to_string())
        };
        let texts = |pairs: &[Pair]| -> Vec<(String, String)> {
            pairs
                .iter()
                .map(|p| (p.reference.clone(), p.hypothesis.clone()))
                .collect()
        };
        let two = |a: &str, b: &str| (a.to_string(), b.to_string());

        let (pairs, notes) = read("\u{feff}one\r\n\nthree\n", "one\ntwo\n\n").unwrap();
        assert_eq!(texts(&pairs), [two("one", "one"), two("", "two"), two("three", "")]);
        assert!(notes.is_empty());
        assert!(read("one\ntwo\n", "one\n").unwrap_err().contains("it has 2 lines"));

        let (pairs, notes) = read("a/x.wav\tone\nb/y.wav\t\n", "b/y.wav\tuh\na/x.wav\ton\nz\textra\n").unwrap();
        assert_eq!(texts(&pairs), [two("one", "on"), two("", "uh")]);
        assert!(notes[0].contains("1 hypotheses have no reference"), "{notes:?}");

        let (pairs, notes) = read("x.wav\tone\ny.wav\ttwo\n", "/data/y.wav\ttwo\n").unwrap();
        assert_eq!(texts(&pairs), [two("one", ""), two("two", "two")]);
        assert!(
            notes[0].contains("file names") && notes[1].contains("all deleted"),
            "{notes:?}"
        );

        assert!(read("a\tone\n", "one\n").unwrap_err().contains("without a tab"));
        assert!(
            read("a\tone\na\ttwo\n", "a\tone\n")
                .unwrap_err()
                .contains("also in line 1")
        );
        assert!(
            read("a\tone\n", "b\tone\n")
                .unwrap_err()
                .contains("none of the references")
        );
        assert!(
            read("b/a\tone\nc/a\ttwo\n", "d/a\tone\n")
                .unwrap_err()
                .contains("none of the references")
        );
    }
}
