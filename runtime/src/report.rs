//! Reports of runs: an HTML page, and event files for TensorBoard.

mod page;
mod read;
mod svg;
mod tensorboard;

pub use read::RunLog;

use crate::atomic::{create_dir, replace, write_text};
use crate::error::Error;
use std::path::{Path, PathBuf};

/// Reads run folders. Names are the folders' own, longer where they would be the same.
pub fn read(dirs: &[PathBuf]) -> Result<Vec<RunLog>, Error> {
    let mut runs = dirs.iter().map(|d| RunLog::read(d)).collect::<Result<Vec<_>, _>>()?;
    let short = |run: &RunLog| run.name.rsplit('/').next().unwrap_or_default().to_string();
    let mut names: Vec<String> = runs.iter().map(short).collect();
    names.sort();
    names.dedup();
    if names.len() == runs.len() && !names.iter().any(String::is_empty) {
        runs.iter_mut().for_each(|run| run.name = short(run));
    }
    Ok(runs)
}

/// Writes the page.
pub fn write_page(runs: &[RunLog], path: &Path) -> Result<(), Error> {
    write_text(path, &page::page(runs))
}

/// Writes event files, `DIR/RUN/KIND/events.out.tfevents.0.w2vc`.
pub fn write_events(runs: &[RunLog], dir: &Path) -> Result<(), Error> {
    for run in runs {
        for kind in ["train", "valid"] {
            if !run.series.keys().any(|(k, _)| k == kind) {
                continue;
            }
            // A run given by a path stays inside the folder.
            let name = run
                .name
                .trim_start_matches(['/', '.'])
                .replace("../", "")
                .replace('/', "_");
            let place = dir.join(if name.is_empty() { "run" } else { &name }).join(kind);
            create_dir(&place)?;
            let bytes = tensorboard::events(run, kind);
            let path = place.join("events.out.tfevents.0.w2vc");
            replace(&path, |new| {
                std::io::Write::write_all(new, &bytes).map_err(Error::io("write", &path))
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
