//! Run folders.
//!
//! ```text
//! RUN/ config.json model.safetensors vocab.json preprocessor_config.json ...   the best model so far, for everyone
//!      log.jsonl                                                               one line per report
//!      checkpoints/step-00001000/ weights.safetensors moments.safetensors state
//! ```
//! A checkpoint is written under a temporary name, synced and renamed as a whole, so weights, moments and state always
//! belong together, and a run that is killed goes on from the newest one there is.

use crate::atomic::{Piece, Values, create_dir, sync_dir, sync_file, write_tensors};
use crate::data::Position;
use crate::error::Error;
use crate::session::Session;
use crate::weights::{TensorFile, difference};
use ir::artifact::{Artifact, Param, SettingValue};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// What goes on where it left off, besides weights and moments. Random numbers need no state: they are functions of the
/// seed and the update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub command: String,
    /// Updates done.
    pub update: u64,
    /// Updates in a row that were skipped for not being finite.
    pub skips: u64,
    /// The next batch.
    pub position: Position,
    /// Lowest validation score so far, compared in order.
    pub best: Option<Vec<f64>>,
    pub settings: BTreeMap<String, SettingValue>,
    /// Of the training data.
    pub fingerprint: u64,
    /// Constants the model was compiled with.
    pub constants: BTreeMap<String, f64>,
    /// config.json of the model, empty where it has none: what no parameter's shape tells, such as the number of heads.
    pub config: String,
}

/// A run folder that this process alone writes to.
pub struct Run {
    dir: PathBuf,
    _lock: File,
}

const WEIGHTS: &str = "weights.safetensors";
const MOMENTS: &str = "moments.safetensors";
const STATE: &str = "state";

impl Run {
    /// Opens a folder for a run: a new one, or with `resume` one that may hold checkpoints.
    pub fn open(dir: &Path, resume: bool) -> Result<Run, Error> {
        create_dir(&dir.join("checkpoints"))?;
        let path = dir.join(".lock");
        let lock = File::create(&path).map_err(Error::io("create", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::run(
                    dir,
                    "another training writes to it",
                    "wait for it or choose another folder",
                ));
            }
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path)(e)),
        }
        let run = Run {
            dir: dir.into(),
            _lock: lock,
        };
        if !resume && !run.checkpoints()?.is_empty() {
            return Err(Error::run(
                dir,
                "it holds a run already",
                "go on with it by --resume or choose another folder",
            ));
        }
        Ok(run)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn place(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    /// Complete checkpoints with their updates, the newest first.
    fn checkpoints(&self) -> Result<Vec<(u64, PathBuf)>, Error> {
        let place = self.place();
        let mut found = vec![];
        for entry in fs::read_dir(&place).map_err(Error::io("list", &place))? {
            let path = entry.map_err(Error::io("list", &place))?.path();
            let name = path
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            if let Some(update) = name.strip_prefix("step-").and_then(|n| n.parse().ok()) {
                found.push((update, path));
            }
        }
        found.sort_by_key(|(update, _)| std::cmp::Reverse(*update));
        Ok(found)
    }

    /// Saves, then removes all but the newest `keep`.
    pub fn save(&self, session: &mut dyn Session, state: &State, keep: usize) -> Result<PathBuf, Error> {
        let place = self.place();
        let name = format!("step-{:08}", state.update);
        let (new, path) = (place.join(format!(".{name}.tmp")), place.join(name));
        remove(&new)?;
        let written = write_checkpoint(&new, session, state);
        if written.is_err() {
            // What matters is why writing failed, not whether the remains could be removed.
            let _ = fs::remove_dir_all(&new);
        }
        written?;
        remove(&path)?;
        fs::rename(&new, &path).map_err(Error::io("rename", &new))?;
        sync_dir(&place)?;
        for (_, old) in self.checkpoints()?.into_iter().skip(keep.max(1)) {
            remove(&old)?;
        }
        Ok(path)
    }

    /// Restores the newest sound checkpoint; damaged ones are reported through `warn` and passed over. `None` where there
    /// is none at all. A checkpoint of another command or another model is an error, before anything is written.
    pub fn restore(
        &self,
        session: &mut dyn Session,
        command: &str,
        warn: &mut dyn FnMut(String),
    ) -> Result<Option<State>, Error> {
        let mut last = None;
        for (_, path) in self.checkpoints()? {
            let restored = match open_checkpoint(&path) {
                Ok(saved) => {
                    self.check(&saved, session.artifact(), command)?;
                    fill_session(&saved, &path, session).map(|()| saved.state)
                }
                Err(e) => Err(e),
            };
            match restored {
                Ok(state) => return Ok(Some(state)),
                Err(e) => {
                    warn(format!("checkpoint passed over: {e}"));
                    last = Some(e);
                }
            }
        }
        last.map_or(Ok(None), Err)
    }

    /// Fails where a checkpoint is of another command or another model than the one that would go on with it.
    fn check(&self, saved: &Saved, artifact: &Artifact, command: &str) -> Result<(), Error> {
        if saved.state.command != command {
            let what = format!("it holds a run of `{}`", saved.state.command);
            return Err(Error::run(&self.dir, what, "choose another folder with --out"));
        }
        match other_model(saved, artifact, command) {
            None => Ok(()),
            Some(what) => Err(Error::run(
                &self.dir,
                format!("it was begun with another model: {what}"),
                "resume with the executable that began it, or begin anew with another --out",
            )),
        }
    }
}

/// A checkpoint as it lies on disk.
struct Saved {
    state: State,
    weights: TensorFile,
    moments: TensorFile,
}

/// What first differs between a checkpoint's model and a compiled one.
fn other_model(saved: &Saved, artifact: &Artifact, command: &str) -> Option<String> {
    let told = |v: Option<&f64>| v.map_or("absent".to_string(), |v| v.to_string());
    let (then, now) = (&saved.state.constants, &artifact.constants);
    for name in then.keys().chain(now.keys()) {
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
    let config = artifact.export.get(command).and_then(|t| json(t));
    if let Some((field, a, b)) = json(&saved.state.config).and_then(|then| difference(&then, &config?)) {
        return Some(format!("`{field}` is {a} there and {b} here"));
    }
    for p in &artifact.params {
        let shape: Vec<usize> = p.shape.iter().map(|d| *d as usize).collect();
        match saved.weights.shape(&p.name) {
            None => return Some(format!("the parameter `{}` is absent there", p.name)),
            Some(own) if own != shape => {
                return Some(format!("`{}` has the shape {own:?} there and {shape:?} here", p.name));
            }
            Some(_) => {}
        }
    }
    let names = saved.weights.names();
    let unknown = names.iter().find(|n| artifact.params.iter().all(|p| p.name != **n));
    unknown.map(|n| format!("the parameter `{n}` is absent here"))
}

fn remove(dir: &Path) -> Result<(), Error> {
    if dir.exists() {
        fs::remove_dir_all(dir).map_err(Error::io("remove", dir))
    } else {
        Ok(())
    }
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

fn write_checkpoint(dir: &Path, session: &mut dyn Session, state: &State) -> Result<(), Error> {
    create_dir(dir)?;
    let artifact = session.artifact().clone();
    write_tensors(&dir.join(WEIGHTS), pieces(&artifact, "", session.params()?))?;
    let (first, second) = session.moments()?;
    let mut moments = pieces(&artifact, "first.", first);
    moments.extend(pieces(&artifact, "second.", second));
    write_tensors(&dir.join(MOMENTS), moments)?;
    let path = dir.join(STATE);
    let bytes = postcard::to_stdvec(state).expect("plain data always serialises");
    fs::write(&path, bytes).map_err(Error::io("write", &path))?;
    sync_file(&path)?;
    sync_dir(dir)
}

fn open_checkpoint(dir: &Path) -> Result<Saved, Error> {
    let path = dir.join(STATE);
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    let state: State = postcard::from_bytes(&bytes)
        .map_err(|e| Error::run(&path, format!("it cannot be read ({e})"), "remove this checkpoint"))?;
    Ok(Saved {
        state,
        weights: TensorFile::open(&dir.join(WEIGHTS))?,
        moments: TensorFile::open(&dir.join(MOMENTS))?,
    })
}

fn fill_session(saved: &Saved, dir: &Path, session: &mut dyn Session) -> Result<(), Error> {
    let artifact = session.artifact().clone();
    fill(&artifact, &saved.weights, "", dir, session.params()?)?;
    let (first, second) = session.moments()?;
    fill(&artifact, &saved.moments, "first.", dir, first)?;
    fill(&artifact, &saved.moments, "second.", dir, second)
}

fn fill(artifact: &Artifact, file: &TensorFile, prefix: &str, dir: &Path, arena: &mut [f32]) -> Result<(), Error> {
    for p in &artifact.params {
        let name = format!("{prefix}{}", p.name);
        let shape: Vec<usize> = p.shape.iter().map(|d| *d as usize).collect();
        let values = file.floats(&name)?.filter(|_| file.shape(&name) == Some(&shape));
        let Some(values) = values else {
            let what = format!("`{name}` of shape {shape:?} is not in it");
            return Err(Error::run(dir, what, "resume with the executable that began the run"));
        };
        arena[p.offset..p.offset + p.len()].copy_from_slice(&values);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeSession;

    fn state(update: u64) -> State {
        State {
            command: "pretrain".into(),
            update,
            skips: 0,
            position: Position {
                epoch: 1,
                batch: update,
                part: 0,
            },
            best: Some(vec![0.1 + 0.2, 1e-300]),
            settings: [("lr".to_string(), SettingValue::Number(1.0 / 3.0))].into(),
            fingerprint: u64::MAX,
            constants: BTreeMap::new(),
            config: String::new(),
        }
    }

    #[test]
    fn the_newest_sound_checkpoint_comes_back_to_the_bit() {
        let tmp = tempfile::tempdir().unwrap();
        let run = Run::open(tmp.path(), false).unwrap();
        let mut session = FakeSession::default();
        for update in 1..=3 {
            session.params()[0] = update as f32 / 3.0;
            session.moments().1[1] = f32::MIN_POSITIVE * update as f32;
            run.save(&mut session, &state(update), 2).unwrap();
        }
        // A kill in the middle of the next one leaves its temporary folder behind.
        fs::create_dir(run.place().join(".step-00000004.tmp")).unwrap();
        let mut other = FakeSession::default();
        let back = run
            .restore(&mut other, "pretrain", &mut |w| panic!("{w}"))
            .unwrap()
            .unwrap();
        assert_eq!(
            (back, other.params()[0], other.moments().1[1]),
            (state(3), 1.0, f32::MIN_POSITIVE * 3.0)
        );
        assert_eq!(run.checkpoints().unwrap().len(), 2);
        // A damaged one is passed over, and said to be.
        let weights = run.checkpoints().unwrap()[0].1.join(WEIGHTS);
        let bytes = fs::read(&weights).unwrap();
        fs::write(&weights, &bytes[..bytes.len() - 3]).unwrap();
        let mut warned = vec![];
        let back = run
            .restore(&mut other, "pretrain", &mut |w| warned.push(w))
            .unwrap()
            .unwrap();
        assert_eq!((back.update, other.params()[0], warned.len()), (2, 2.0 / 3.0, 1));
        assert!(run.restore(&mut other, "finetune", &mut |_| ()).is_err());
    }

    #[test]
    fn another_model_does_not_go_on_with_a_run() {
        let tmp = tempfile::tempdir().unwrap();
        let run = Run::open(tmp.path(), false).unwrap();
        let mut began = state(1);
        began.constants.insert("heads".into(), 2.0);
        began.config = r#"{"num_attention_heads": 2}"#.into();
        let mut same = FakeSession::default();
        same.artifact.constants = began.constants.clone();
        run.save(&mut same, &began, 2).unwrap();
        let refused = |change: &dyn Fn(&mut Artifact)| {
            let mut other = FakeSession::default();
            other.artifact.constants = began.constants.clone();
            change(&mut other.artifact);
            let outcome = run.restore(&mut other, "pretrain", &mut |w| panic!("{w}"));
            outcome.err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert_eq!(refused(&|_| ()), "");
        let error = refused(&|a| a.constants = [("heads".to_string(), 4.0)].into());
        assert!(
            error.contains("`heads` is 2 there and 4 here") && error.contains("--out"),
            "{error}"
        );
        let config = r#"{"num_attention_heads": 4}"#;
        let error = refused(&|a| a.export = [("pretrain".to_string(), config.to_string())].into());
        assert!(error.contains("num_attention_heads"), "{error}");
        // Fewer layers: all of its own parameters are there.
        let error = refused(&|a| drop(a.params.pop()));
        assert!(error.contains("`lm_head.weight` is absent here"), "{error}");
        let error = refused(&|a| a.params[0].shape = vec![2]);
        assert!(error.contains("[3] there and [2] here"), "{error}");
    }

    #[test]
    fn a_run_is_not_overwritten_nor_written_by_two() {
        let tmp = tempfile::tempdir().unwrap();
        let run = Run::open(tmp.path(), false).unwrap();
        assert!(
            Run::open(tmp.path(), true)
                .err()
                .unwrap()
                .to_string()
                .contains("another training")
        );
        run.save(&mut FakeSession::default(), &state(1), 2).unwrap();
        drop(run);
        assert!(
            Run::open(tmp.path(), false)
                .err()
                .unwrap()
                .to_string()
                .contains("--resume")
        );
        Run::open(tmp.path(), true).unwrap();
    }
}
