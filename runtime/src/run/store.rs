//! Checkpoints: written whole, read with every digest checked, kept as long as they may be needed.
//!
//! A checkpoint is written under a temporary name, synced and renamed as a whole, so weights, moments and state always
//! belong together. What counts when old ones are removed are sound ones alone: one that is damaged, or that another
//! hand put there, neither takes the place of a sound one nor is removed.

use super::aside::Why;
use super::format::{Saved, State, decode, encode};
use super::{Marker, Run};
use crate::atomic::{Piece, Values, open_own, sync_dir};
use crate::error::Error;
use crate::session::Session;
use crate::tensors::Prepared;
use crate::weights::{TensorFile, difference};
use ir::artifact::{Artifact, Param};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const WEIGHTS: &str = "weights.safetensors";
const MOMENTS: &str = "moments.safetensors";
const STATE: &str = "state";
/// More is no state: a vocabulary, settings and a config.json are far below.
const MOST: u64 = 64 << 20;
/// Ends of the names of what is no checkpoint yet, and of one that another of the same update is about to replace.
const NEW: &str = ".tmp";
const OLD: &str = ".old";

pub(super) fn name(update: u64) -> String {
    format!("step-{update:08}")
}

/// The update that a name stands for.
pub(super) fn step(name: &str) -> Option<u64> {
    let update = name.strip_prefix("step-")?.parse().ok()?;
    (self::name(update) == name).then_some(update)
}

/// The update of a temporary folder `.step-00000004.RANDOM.tmp`; version 0.1 gave them no random part.
fn passing(name: &str, end: &str) -> Option<u64> {
    let stem = name.strip_prefix('.')?.strip_suffix(end)?;
    let (stem, random) = stem.split_once('.').unwrap_or((stem, "000000"));
    let random = random.len() == 6 && random.bytes().all(|b| b.is_ascii_alphanumeric());
    step(stem).filter(|_| random)
}

/// Whether a name is that of a file in a checkpoint.
pub(super) fn is_file_of_ours(name: &str) -> bool {
    [WEIGHTS, MOMENTS, STATE].contains(&name)
}

/// Names and paths of what lies in a folder.
pub(super) fn entries(place: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let list = Error::io("list", place);
    let read = || -> std::io::Result<Vec<(String, PathBuf)>> {
        fs::read_dir(place)?
            .map(|e| e.map(|e| (e.file_name().to_string_lossy().into_owned(), e.path())))
            .collect()
    };
    read().map_err(list)
}

/// Whether a checkpoint of ours lies in a folder, sound or not.
pub(super) fn holds_checkpoints(place: &Path) -> bool {
    let ours = |(name, path): (String, PathBuf)| step(&name).is_some() && read_state(&path).is_ok();
    let own = fs::symlink_metadata(place).is_ok_and(|m| m.is_dir());
    own && entries(place).is_ok_and(|all| all.into_iter().any(ours))
}

/// Whether nothing lies in a folder but what a killed write left.
pub(super) fn is_bare(place: &Path) -> bool {
    entries(place).is_ok_and(|all| all.iter().all(|(name, _)| passing(name, NEW).is_some()))
}

impl Run {
    /// Everything whose name is a checkpoint's, with its update, the newest first.
    pub(super) fn steps(&self) -> Result<Vec<(u64, PathBuf)>, Error> {
        let mut found: Vec<(u64, PathBuf)> = entries(&self.place())?
            .into_iter()
            .filter_map(|(name, path)| Some((step(&name)?, path)))
            .collect();
        found.sort_by_key(|(update, _)| std::cmp::Reverse(*update));
        Ok(found)
    }

    /// Removes halves of checkpoints; one that was being replaced comes back if nothing took its place.
    pub(super) fn sweep_checkpoints(&self) -> Result<(), Error> {
        let place = self.place();
        for (name, path) in entries(&place)? {
            if !fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir()) {
                continue;
            }
            if let Some(update) = passing(&name, OLD) {
                let back = place.join(self::name(update));
                match fs::symlink_metadata(&back) {
                    Ok(_) => remove(&path)?,
                    Err(_) => fs::rename(&path, &back).map_err(Error::io("rename", &path))?,
                }
            } else if passing(&name, NEW).is_some() {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Whether a checkpoint was written or read.
    pub fn has_checkpoint(&self) -> bool {
        !self.sound.borrow().is_empty()
    }

    /// Saves, then removes sound checkpoints before it, all but the newest `keep` with this one.
    ///
    /// # Errors
    /// Where it cannot be written; nothing is removed then.
    pub fn save(&self, session: &mut dyn Session, state: &State, keep: usize) -> Result<PathBuf, Error> {
        self.still_here()?;
        let outcome = self.write(session, state).and_then(|path| {
            self.retain(session.artifact(), state, keep)?;
            Ok(path)
        });
        self.or_moved(outcome)
    }

    fn write(&self, session: &mut dyn Session, state: &State) -> Result<PathBuf, Error> {
        let place = self.place();
        let path = place.join(name(state.update));
        let new = self.passing_folder(state.update, NEW)?;
        // Dropped on a failure, which removes it.
        write_checkpoint(new.path(), &path, session, state)?;
        self.make_room(state.update, &path)?;
        fs::rename(new.path(), &path).map_err(Error::io("rename", &path))?;
        let _ = new.keep();
        sync_dir(&place)?;
        for (name, old) in entries(&place)? {
            if passing(&name, OLD) == Some(state.update) {
                remove(&old)?;
            }
        }
        self.sound.borrow_mut().insert(path.clone());
        Ok(path)
    }

    fn passing_folder(&self, update: u64, end: &str) -> Result<tempfile::TempDir, Error> {
        let place = self.place();
        tempfile::Builder::new()
            .prefix(&format!(".{}.", name(update)))
            .suffix(end)
            .permissions(Permissions::from_mode(0o777))
            .tempdir_in(&place)
            .map_err(Error::io("write", &place))
    }

    /// Frees a name: a checkpoint that is known to be sound is put by until the new one is there; anything else stays.
    fn make_room(&self, update: u64, path: &Path) -> Result<(), Error> {
        if fs::symlink_metadata(path).is_err() {
            return Ok(());
        }
        if self.sound.borrow_mut().remove(path) {
            let by = self.passing_folder(update, OLD)?.keep();
            return fs::rename(path, &by).map_err(Error::io("rename", path));
        }
        self.put_aside(path, Why::Damaged).map(|_| ())
    }

    /// Puts the checkpoint of an update aside, where a sound one before it remains.
    ///
    /// # Errors
    /// Where it cannot be renamed.
    pub fn put_aside_unless_last(
        &self,
        update: u64,
        artifact: &Artifact,
        command: &str,
    ) -> Result<Option<PathBuf>, Error> {
        let path = self.place().join(name(update));
        if !self.sound.borrow().contains(&path) {
            return Ok(None);
        }
        let before = self.steps()?.into_iter().filter(|(u, _)| *u < update);
        let Some((_, before)) = before.into_iter().find(|(_, p)| sound(p, artifact, command).is_ok()) else {
            return Ok(None);
        };
        self.sound.borrow_mut().remove(&path);
        self.sound.borrow_mut().insert(before);
        self.put_aside(&path, Why::NotFinite).map(Some)
    }

    /// The newest checkpoint that is known to be sound.
    pub fn newest(&self) -> Option<PathBuf> {
        self.sound.borrow().last().cloned()
    }

    fn retain(&self, artifact: &Artifact, state: &State, keep: usize) -> Result<(), Error> {
        let mut kept = 0;
        for (_, path) in self.steps()?.into_iter().filter(|(u, _)| *u <= state.update) {
            let known = self.sound.borrow().contains(&path);
            if !known {
                match sound(&path, artifact, &state.command) {
                    Ok(()) => self.sound.borrow_mut().insert(path.clone()),
                    Err(_) => continue,
                };
            }
            kept += 1;
            if kept > keep.max(1) {
                self.sound.borrow_mut().remove(&path);
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Restores the newest sound checkpoint of this command and model; others are passed over, and told in the notes. `None`
    /// where there is none at all.
    ///
    /// # Errors
    /// Where none of them can be gone on with: that of the newest sound one, else of the newest.
    pub fn restore(&self, session: &mut dyn Session, command: &str) -> Result<Option<State>, Error> {
        let (mut strange, mut damaged) = (None, None);
        let artifact = session.artifact().clone();
        for (_, path) in self.steps()? {
            let saved = match open_checkpoint(&path) {
                Ok(saved) => saved,
                Err(e) => {
                    self.note(format!("checkpoint skipped: {e}"));
                    damaged.get_or_insert(e);
                    continue;
                }
            };
            if let Err(e) = self.check(&saved, &artifact, command) {
                self.note(format!("checkpoint skipped: `{}`: {e}", path.display()));
                strange.get_or_insert(e);
                continue;
            }
            match fill_session(&saved, &path, session) {
                Ok(()) => {
                    self.sound.borrow_mut().insert(path);
                    return Ok(Some(saved.saved.state));
                }
                Err(e) => {
                    self.note(format!("checkpoint skipped: {e}"));
                    damaged.get_or_insert(e);
                }
            }
        }
        strange.or(damaged).map_or(Ok(None), Err)
    }

    /// Fails where a checkpoint is of another command or another model than the one that would go on with it.
    fn check(&self, opened: &Opened, artifact: &Artifact, command: &str) -> Result<(), Error> {
        let state = &opened.saved.state;
        if state.command != command {
            let what = format!("it holds a run of `{}`", state.command);
            return Err(Error::run(&self.dir, what, "choose another folder with --out"));
        }
        match other_model(opened, artifact) {
            None => Ok(()),
            Some(what) => Err(Error::run(
                &self.dir,
                format!("it was begun with another model: {what}"),
                "resume with the executable that began it, or begin again with another --out",
            )),
        }
    }

    /// Writes into the marker what the run is about.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn describe(&self, command: &str, digests: BTreeMap<String, String>) -> Result<(), Error> {
        let before = Marker::read(&self.dir)?;
        let mut marker = before.clone().unwrap_or_else(|| Marker::new(command));
        marker.digests = digests;
        if before.as_ref() == Some(&marker) {
            return Ok(());
        }
        self.still_here()?;
        let written = marker.write(&self.dir);
        self.or_moved(written)
    }
}

/// A checkpoint as it lies on disk.
struct Opened {
    saved: Saved,
    weights: TensorFile,
    moments: TensorFile,
}

/// What first differs between a checkpoint's model and a compiled one.
fn other_model(opened: &Opened, artifact: &Artifact) -> Option<String> {
    let told = |v: Option<&f64>| v.map_or("absent".to_string(), |v| v.to_string());
    let state = &opened.saved.state;
    let (then, now) = (&state.constants, &artifact.constants);
    // What only one of them has may be another way to write the same; their programs tell.
    for name in then.keys().filter(|name| now.contains_key(*name)) {
        let (a, b) = (then.get(name), now.get(name));
        if a.map(|v| v.to_bits()) != b.map(|v| v.to_bits()) {
            return Some(format!(
                "the constant `{name}` is {} there and {} here",
                told(a),
                told(b)
            ));
        }
    }
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    let config = artifact.config(&state.command).and_then(|t| json(&t));
    if let Some((field, a, b)) = json(&state.config).and_then(|then| difference(&artifact.config, &then, &config?)) {
        return Some(format!("`{field}` is {a} there and {b} here"));
    }
    for p in &artifact.params {
        let shape: Vec<usize> = p.shape.iter().map(|d| *d as usize).collect();
        match opened.weights.shape(&p.name) {
            None => return Some(format!("the parameter `{}` is absent there", p.name)),
            Some(own) if own != shape => {
                return Some(format!("`{}` has the shape {own:?} there and {shape:?} here", p.name));
            }
            Some(_) => {}
        }
    }
    let names = opened.weights.names();
    let unknown = names.iter().find(|n| artifact.params.iter().all(|p| p.name != **n));
    if let Some(n) = unknown {
        return Some(format!("the parameter `{n}` is absent here"));
    }
    let short = |digest: &str| digest.get(..12).unwrap_or(digest).to_string();
    let now = artifact.graphs_of(&state.command);
    let (name, then) = state.graphs.iter().find(|(name, then)| now.get(*name) != Some(then))?;
    Some(format!(
        "its program `{name}` computes something else (digest {} there, {} here)",
        short(then),
        now.get(name).map_or("none".into(), |digest| short(digest))
    ))
}

pub(super) fn remove(dir: &Path) -> Result<(), Error> {
    fs::remove_dir_all(dir).map_err(Error::io("remove", dir))
}

fn pieces<'a>(artifact: &Artifact, prefix: &str, arena: &'a [f32]) -> Vec<(String, Piece<'a>)> {
    let piece = |p: &Param| Piece {
        shape: p.shape.iter().map(|d| *d as usize).collect(),
        values: Values::F32(&arena[p.offset..p.offset + p.len()]),
    };
    artifact
        .params
        .iter()
        .map(|p| (format!("{prefix}{}", p.name), piece(p)))
        .collect()
}

/// Writes into `dir`; failures name `path`, which it is to become.
fn write_checkpoint(dir: &Path, path: &Path, session: &mut dyn Session, state: &State) -> Result<(), Error> {
    let artifact = session.artifact().clone();
    let mut saved = Saved {
        state: state.clone(),
        files: BTreeMap::new(),
    };
    let put = |name: &str, write: &dyn Fn(&mut File) -> std::io::Result<()>| -> Result<(), Error> {
        let new = OpenOptions::new().write(true).create_new(true).open(dir.join(name));
        let written = new.and_then(|mut file| {
            write(&mut file)?;
            file.sync_all()
        });
        written.map_err(Error::io("write", &path.join(name)))
    };
    let weights = Prepared::new(pieces(&artifact, "", session.params()?));
    put(WEIGHTS, &|file| weights.write(file))?;
    saved.files.insert(WEIGHTS.into(), weights.digest());
    drop(weights);
    let (first, second) = session.moments()?;
    let mut moments = pieces(&artifact, "first.", first);
    moments.extend(pieces(&artifact, "second.", second));
    let moments = Prepared::new(moments);
    put(MOMENTS, &|file| moments.write(file))?;
    saved.files.insert(MOMENTS.into(), moments.digest());
    put(STATE, &|file| file.write_all(encode(&saved).as_bytes()))?;
    sync_dir(dir)
}

fn read_state(dir: &Path) -> Result<Saved, Error> {
    let path = dir.join(STATE);
    let known = fs::symlink_metadata(dir).map_err(Error::io("open", dir))?;
    if !known.is_dir() {
        let what = "it is not a folder but a link or a file";
        return Err(Error::damaged(dir, what, "move it away"));
    }
    let file = open_own(OpenOptions::new().read(true), &path).map_err(Error::io("open", &path))?;
    let mut bytes = vec![];
    if file.metadata().map_err(Error::io("read", &path))?.is_file() {
        file.take(MOST)
            .read_to_end(&mut bytes)
            .map_err(Error::io("read", &path))?;
    }
    decode(&path, &bytes)
}

/// Reads the state, and the headers of the tensors with their digest; values are checked as they are read.
fn open_checkpoint(dir: &Path) -> Result<Opened, Error> {
    let saved = read_state(dir)?;
    let own = name(saved.state.update);
    if dir.file_name().is_none_or(|n| n != own.as_str()) {
        let what = format!("its state is that of {own}");
        return Err(Error::damaged(dir, what, "it is a copy: move it away"));
    }
    let open = |file: &str| {
        let path = dir.join(file);
        let opened = TensorFile::open_own(&path)?;
        match saved.files.get(file) {
            Some(digest) if opened.header_digest() != *digest => Err(Error::damaged(
                &path,
                "it is not what was written (its digest differs)",
                "a checkpoint before it may be sound",
            )),
            _ => Ok(opened),
        }
    };
    let (weights, moments) = (open(WEIGHTS)?, open(MOMENTS)?);
    Ok(Opened {
        saved,
        weights,
        moments,
    })
}

/// Whether a checkpoint could be gone on with: every value of it is read.
fn sound(dir: &Path, artifact: &Artifact, command: &str) -> Result<(), Error> {
    let opened = open_checkpoint(dir)?;
    if opened.saved.state.command != command || other_model(&opened, artifact).is_some() {
        return Err(Error::damaged(dir, "it is of another run", "move it away"));
    }
    opened.weights.check()?;
    opened.moments.check()
}

fn fill_session(opened: &Opened, dir: &Path, session: &mut dyn Session) -> Result<(), Error> {
    let artifact = session.artifact().clone();
    fill(&artifact, &opened.weights, "", dir, session.params()?)?;
    let (first, second) = session.moments()?;
    fill(&artifact, &opened.moments, "first.", dir, first)?;
    fill(&artifact, &opened.moments, "second.", dir, second)
}

fn fill(artifact: &Artifact, file: &TensorFile, prefix: &str, dir: &Path, arena: &mut [f32]) -> Result<(), Error> {
    for p in &artifact.params {
        let name = format!("{prefix}{}", p.name);
        let shape: Vec<usize> = p.shape.iter().map(|d| *d as usize).collect();
        if file.shape(&name) != Some(&shape) {
            let what = format!("`{name}` of shape {shape:?} is not in it");
            return Err(Error::damaged(dir, what, "a checkpoint before it may be sound"));
        }
        file.floats_into(&name, &mut arena[p.offset..p.offset + p.len()])?;
    }
    Ok(())
}

#[cfg(test)]
pub(super) fn steps_of(run: &Run) -> Vec<u64> {
    let steps = run.steps().expect("the folder can be listed");
    steps.into_iter().map(|(update, _)| update).collect()
}
