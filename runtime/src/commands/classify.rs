//! A task that gives labels: one line per recording, in the order given.

use super::transcribe::expand;
use crate::error::Error;
use crate::log::{Progress, tell};
use crate::session::Session;
use crate::trainer::Classifier;
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub struct ClassifyArgs {
    /// A run folder.
    #[arg(long, value_name = "DIR")]
    pub weights: PathBuf,
    /// Change a setting of the task; `info` lists them.
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Recordings, folders, manifests, tables, lists of paths, or `-` for a recording from standard input.
    #[arg(required = true, value_name = "RECORDING")]
    pub files: Vec<PathBuf>,
}

/// Labels recordings; `say` prints to the standard output.
///
/// # Errors
/// Beside those that concern all recordings: at the end, where some could not be labelled.
pub fn run(
    session: &mut dyn Session,
    task: &str,
    args: &ClassifyArgs,
    say: &dyn Fn(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut classifier = Classifier::new(session, task, &args.weights, &args.set)?;
    let (named, mut failed) = expand(&args.files);
    let mut progress = Progress::new("recordings labelled", named.len());
    for utterance in &named {
        let name = utterance.name();
        match classifier.label(utterance) {
            Ok((label, probability)) => {
                let line = format!("{}\t{label}\t{probability:.4}\n", name.display());
                progress.suspend(|| say(&line))?;
            }
            Err(e) => {
                progress.suspend(|| tell(&format!("error: {e}")));
                failed.push(name);
            }
        }
        progress.step();
    }
    if failed.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = failed.iter().take(10).map(|p| p.display().to_string()).collect();
    Err(Error::data(
        format!("{} of {}", failed.len(), named.len()),
        format!("could not be labelled: {}", names.join(", ")),
        "the messages above say why",
    ))
}
