//! fairseq's manifests: a folder, then `path<TAB>samples` per line; texts in a file of the same name.

use super::{Utterance, place, text};
use crate::error::Error;
use std::path::Path;

/// Whether lines are those of a manifest: a folder first, no tab in it, and then a path and a number.
pub(super) fn is(base: &Path, content: &str) -> bool {
    let mut rows = text::lines(content);
    let Some((_, first)) = rows.next() else { return false };
    if first.contains('\t') {
        return false;
    }
    let counted = |l: &str| {
        l.rsplit_once('\t')
            .is_some_and(|(_, n)| n.trim().parse::<u64>().is_ok())
    };
    base.join(first.trim()).is_dir() || rows.next().is_some_and(|(_, l)| counted(l))
}

pub(super) fn read(path: &Path, base: &Path, content: &str) -> Result<Vec<Utterance>, Error> {
    let mut rows = text::lines(content);
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
        let (path, segment) = place::find(&[&root], name);
        found.push(Utterance {
            path,
            segment,
            ..Utterance::default()
        });
    }
    // Letters, words, phonemes: the first that is there.
    for (extension, join) in [("ltr", true), ("wrd", false), ("phn", false)] {
        let labels = path.with_extension(extension);
        if labels.is_file() {
            add_texts(path, &labels, join, &mut found)?;
            break;
        }
    }
    let clusters = path.with_extension("km");
    if clusters.is_file() {
        let lines = beside(path, &clusters, found.len())?;
        for (utterance, line) in found.iter_mut().zip(lines) {
            utterance.clusters = Some(line);
        }
    }
    Ok(found)
}

fn add_texts(path: &Path, labels: &Path, join: bool, found: &mut [Utterance]) -> Result<(), Error> {
    let lines = beside(path, labels, found.len())?;
    for (utterance, line) in found.iter_mut().zip(lines) {
        utterance.text = Some(if join { from_letters(&line) } else { line.trim().into() });
    }
    Ok(())
}

/// Lines of a file beside a manifest, one per recording; empty lines count.
fn beside(path: &Path, labels: &Path, recordings: usize) -> Result<Vec<String>, Error> {
    let content = text::read(labels)?;
    let lines: Vec<String> = content.lines().map(String::from).collect();
    if lines.len() != recordings {
        return Err(Error::data(
            labels.display(),
            format!(
                "it has {} lines for the {recordings} recordings of {}",
                lines.len(),
                path.display()
            ),
            "write both from the same list",
        ));
    }
    Ok(lines)
}

/// `H I | Y O U |` to `HI YOU`. Tokens of several letters, as phonemes are, stay apart.
fn from_letters(letters: &str) -> String {
    let plain = |l: &str| l.chars().filter(char::is_ascii_alphanumeric).count();
    let several = letters.split_whitespace().any(|l| plain(l) > 1);
    if several {
        return letters.trim().into();
    }
    let joined: String = letters
        .split_whitespace()
        .map(|l| if l == "|" { " " } else { l })
        .collect();
    joined.trim().into()
}
