//! Checkpoints set aside: renamed, so that nothing takes them for valid ones, and kept for inspection.
//! The newest few of each kind stay.

use super::Run;
use super::store::{entries, is_file_of_ours, name, remove, step};
use crate::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// Why a checkpoint is put aside, which ends its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Damaged,
    NotFinite,
}

impl Why {
    fn word(self) -> &'static str {
        match self {
            Why::Damaged => "damaged",
            Why::NotFinite => "not-finite",
        }
    }
}

/// How many of each kind stay.
const KEPT: usize = 3;

/// The update and the number of a name `step-00000004.damaged.2`.
fn aside(name: &str, why: Why) -> Option<(u64, u64)> {
    let (stem, rest) = name.split_once('.')?;
    let rest = rest.strip_prefix(why.word())?;
    let number = match rest.strip_prefix('.') {
        Some(n) => n.parse().ok().filter(|n| *n >= 2)?,
        None if rest.is_empty() => 1,
        None => return None,
    };
    Some((step(stem)?, number))
}

impl Run {
    /// Renames what must not be taken for a checkpoint, to a name that says why.
    pub(super) fn put_aside(&self, path: &Path, why: Why) -> Result<PathBuf, Error> {
        let own = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let named = |n: u64| match n {
            1 => path.with_file_name(format!("{own}.{}", why.word())),
            n => path.with_file_name(format!("{own}.{}.{n}", why.word())),
        };
        // Behind all that are there, so that the order of numbers is that of time.
        let place = self.place();
        let taken = entries(&place)?.into_iter().filter_map(|(entry, _)| {
            let (update, number) = aside(&entry, why)?;
            (name(update) == own).then_some(number)
        });
        let to = named(taken.max().unwrap_or(0) + 1);
        fs::rename(path, &to).map_err(Error::io("rename", path))?;
        self.note(format!("`{}` was set aside as `{}`", path.display(), to.display()));
        self.forget_old(why)?;
        Ok(to)
    }

    /// Removes the oldest of those put aside. One with a file in it that is none of ours stays, and so does a link.
    fn forget_old(&self, why: Why) -> Result<(), Error> {
        let mut all: Vec<((u64, u64), PathBuf)> = entries(&self.place())?
            .into_iter()
            .filter_map(|(name, path)| Some((aside(&name, why)?, path)))
            .filter(|(_, path)| is_ours(path))
            .collect();
        all.sort();
        let old = all.len().saturating_sub(KEPT);
        for (_, path) in all.into_iter().take(old) {
            remove(&path)?;
            self.note(format!("`{}` was removed: {KEPT} later ones are kept", path.display()));
        }
        Ok(())
    }
}

/// Whether a folder holds nothing but what a checkpoint does.
fn is_ours(path: &Path) -> bool {
    let folder = fs::symlink_metadata(path).is_ok_and(|m| m.is_dir());
    let file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|m| m.is_file());
    folder && entries(path).is_ok_and(|all| all.iter().all(|(name, path)| is_file_of_ours(name) && file(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_what_was_put_aside_are_told_from_others() {
        for (name, want) in [
            ("step-00000004.damaged", Some((4, 1))),
            ("step-00000004.damaged.12", Some((4, 12))),
            ("step-00000004.damaged.1", None),
            ("step-00000004.damaged.", None),
            ("step-00000004.damaged.x", None),
            ("step-00000004.damagedly", None),
            ("step-4.damaged", None),
            ("step-00000004.not-finite", None),
            ("step-00000004", None),
        ] {
            assert_eq!(aside(name, Why::Damaged), want, "{name}");
        }
        assert_eq!(aside("step-00000004.not-finite.2", Why::NotFinite), Some((4, 2)));
    }
}
