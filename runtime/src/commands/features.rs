//! `features`: hidden states of layers, as files that other programs read.

use super::npy::npy;
use crate::atomic::{Piece, Values, create_dir, replace, write_tensors};
use crate::data::{Utterance, open};
use crate::error::Error;
use crate::features::{Features, State};
use crate::log::{Progress, tell};
use crate::session::Session;
use clap::Args;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct FeaturesArgs {
    /// A run, a Hugging Face folder, or a file of weights (.pt, .bin, .safetensors).
    #[arg(long, value_name = "DIR")]
    pub weights: PathBuf,
    /// A layer, counted from 1; 0 is the input of the first. May be repeated.
    #[arg(long = "layer", required = true, value_delimiter = ',', value_name = "N")]
    pub layers: Vec<usize>,
    /// OUT.safetensors (one tensor per recording and layer, `PATH` or `PATH:layer.N`), OUT.npy (one recording and one layer), or
    /// a folder (a file `NAME.layer.N.npy` each).
    #[arg(short, long, value_name = "FILE|DIR")]
    pub output: PathBuf,
    /// Change a setting of the task; `info` lists them.
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Recordings, folders, manifests or tables.
    #[arg(required = true, value_name = "DATA")]
    pub files: Vec<PathBuf>,
}

enum Target<'a> {
    Tensors(&'a Path),
    Array(&'a Path),
    Folder(&'a Path),
}

/// Computes and writes; returns what to print.
///
/// # Errors
/// Beside those of reading weights: recordings that cannot be told apart by name, and at the end any that could not be read.
pub fn run(session: &mut dyn Session, task: &str, args: &FeaturesArgs) -> Result<String, Error> {
    let mut layers = vec![];
    args.layers.iter().for_each(|l| {
        if !layers.contains(l) {
            layers.push(*l);
        }
    });
    let mut all = vec![];
    for place in &args.files {
        all.extend(open(place)?);
    }
    let target = target(&args.output, all.len() * layers.len())?;
    if matches!(target, Target::Folder(_)) {
        distinct(&all)?;
    }
    let mut features = Features::new(session, task, &args.weights, &args.set, &layers)?;
    if let Target::Folder(dir) = target {
        create_dir(dir)?;
    }
    let mut progress = Progress::new("recordings", all.len());
    let (mut kept, mut failed, mut frames) = (vec![], 0, 0);
    for utterance in &all {
        match features.of(utterance) {
            Ok(states) if states.is_empty() => {
                failed += 1;
                let name = utterance.name();
                progress.suspend(|| tell(&format!("error: {}: it is shorter than one frame", name.display())));
            }
            Ok(states) => {
                frames += states[0].frames;
                match target {
                    Target::Folder(dir) => {
                        for state in &states {
                            write(
                                &dir.join(format!("{}.layer.{}.npy", stem(utterance), state.layer)),
                                state,
                            )?;
                        }
                    }
                    Target::Array(path) => write(path, &states[0])?,
                    Target::Tensors(_) => kept.push((utterance.name().display().to_string(), states)),
                }
            }
            Err(e) => {
                failed += 1;
                progress.suspend(|| tell(&format!("error: {e}")));
            }
        }
        progress.step();
    }
    drop(progress);
    if let Target::Tensors(path) = target {
        write_tensors(path, pieces(&kept, layers.len() == 1))?;
    }
    if failed > 0 {
        let place = format!("{failed} of {} recordings", all.len());
        return Err(Error::data(place, "have no features", "the messages above say why"));
    }
    Ok(format!(
        "{frames} frames of {} recordings, layers {layers:?}: {}\n",
        all.len(),
        args.output.display()
    ))
}

/// What the output is, by its name.
fn target(output: &Path, arrays: usize) -> Result<Target<'_>, Error> {
    match output.extension().and_then(|e| e.to_str()) {
        _ if output.is_dir() => Ok(Target::Folder(output)),
        Some("safetensors") => Ok(Target::Tensors(output)),
        Some("npy") if arrays == 1 => Ok(Target::Array(output)),
        Some("npy") => Err(Error::Usage(format!(
            "`{}` holds one array, and there are {arrays}: name a folder or a .safetensors file",
            output.display()
        ))),
        _ => Ok(Target::Folder(output)),
    }
}

fn stem(utterance: &Utterance) -> String {
    let name = utterance
        .path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    match utterance.segment {
        None => name,
        Some(segment) => format!("{name}.{}", segment.to_string().replace(':', "-")),
    }
}

/// Names of files in a folder must differ.
fn distinct(all: &[Utterance]) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    match all.iter().find(|u| !seen.insert(stem(u))) {
        None => Ok(()),
        Some(twice) => Err(Error::Usage(format!(
            "two recordings are named `{}`: write to a .safetensors file, which names them by their paths",
            stem(twice)
        ))),
    }
}

fn write(path: &Path, state: &State) -> Result<(), Error> {
    let bytes = npy(&state.values, &[state.frames, state.width]);
    replace(path, |new| new.write_all(&bytes).map_err(Error::io("write", path)))
}

fn pieces(kept: &[(String, Vec<State>)], single: bool) -> Vec<(String, Piece<'_>)> {
    let mut all: Vec<(String, Piece)> = kept
        .iter()
        .flat_map(|(name, states)| states.iter().map(move |s| (name, s)))
        .map(|(name, state)| {
            let name = match single {
                true => name.clone(),
                false => format!("{name}:layer.{}", state.layer),
            };
            let shape = vec![state.frames, state.width];
            let values = Values::F32(&state.values);
            (name, Piece { shape, values })
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all.dedup_by(|a, b| a.0 == b.0);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_told_apart_by_name() {
        let kind = |name: &str, arrays| match target(Path::new(name), arrays) {
            Ok(Target::Tensors(_)) => "tensors",
            Ok(Target::Array(_)) => "array",
            Ok(Target::Folder(_)) => "folder",
            Err(_) => "refused",
        };
        assert_eq!(kind("a.safetensors", 3), "tensors");
        assert_eq!((kind("a.npy", 1), kind("a.npy", 2)), ("array", "refused"));
        assert_eq!((kind("features", 5), kind("features/", 1)), ("folder", "folder"));
        let of = |path: &str| Utterance {
            path: path.into(),
            ..Utterance::default()
        };
        assert!(distinct(&[of("x/a.wav"), of("x/b.wav")]).is_ok());
        let error = distinct(&[of("x/a.wav"), of("y/a.flac")]).unwrap_err().to_string();
        assert!(error.contains("`a`") && error.contains("safetensors"), "{error}");
    }
}
