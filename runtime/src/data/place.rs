//! Where a recording named in a table lies, and which part of it is meant.

use crate::audio::{At, Segment};
use std::path::{Path, PathBuf};

/// The recording that a name means: in the first of the folders that has it, else in the first. `path:start:samples` is a part
/// of a recording, in samples at its own rate, where there is no file of the whole name.
pub(super) fn find(folders: &[&Path], name: &str) -> (PathBuf, Option<Segment>) {
    let name = name.trim();
    let existing = |name: &str| {
        folders
            .iter()
            .map(|f| f.join(name))
            .find(|p| p.symlink_metadata().is_ok())
    };
    if let Some(path) = existing(name) {
        return (path, None);
    }
    if let Some((file, segment)) = part(name) {
        let path = existing(file).unwrap_or_else(|| folders[0].join(file));
        return (path, Some(segment));
    }
    (folders[0].join(name), None)
}

fn part(name: &str) -> Option<(&str, Segment)> {
    let (rest, length) = name.rsplit_once(':')?;
    let (file, start) = rest.rsplit_once(':')?;
    let number = |s: &str| s.parse::<u64>().ok();
    let segment = Segment {
        start: At::Samples(number(start)?),
        length: Some(At::Samples(number(length)?)),
    };
    (!file.is_empty()).then_some((file, segment))
}
