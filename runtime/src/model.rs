//! A compiled model inside another program: opened once, asked from any thread.
//!
//! This is what the library for C and the package for Python call. A session belongs to a thread of the model's own; what is
//! asked on other threads waits there (`engine`).

mod options;
mod states;

pub use options::Options;

use crate::audio::{RATE, Reader};
use crate::data::Utterance;
use crate::engine::{Ear, engine};
use crate::error::Error;
use crate::exec::open_file;
use crate::live::{Event, Live, Shape};
use crate::texts::{Finder, Frames, OutputFlags};
use crate::trainer::{Hearing, Logits, Sound, Transcriber, Transcript, With};
pub use decode::output::Detail;
use decode::output::{Format, Layout, part};
use ir::artifact::Artifact;
use serde_json::{Value, json};
use states::States;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What the thread that computes says once it has begun.
struct Begun {
    artifact: Artifact,
    hearing: Arc<Hearing>,
    finder: Finder,
    shape: Shape,
}

/// A model with weights.
pub struct Model {
    /// `None` once it is being closed.
    ear: Option<Ear>,
    thread: Option<JoinHandle<()>>,
    artifact: Artifact,
    hearing: Arc<Hearing>,
    finder: Arc<Finder>,
    shape: Shape,
    /// Where the model lies, and with what it was opened: for layers' states, which are computed by a session of their own. The
    /// file is the one that was opened first, whatever lies in its place by now.
    executable: (File, PathBuf),
    weights: PathBuf,
    options: Options,
    states: Mutex<Option<States>>,
}

impl Model {
    /// Opens the model that is appended to a file, with weights; `path` is what messages call the file.
    ///
    /// # Errors
    /// Where file, weights or options cannot be used.
    pub fn open(file: &File, path: &Path, weights: &Path, options: Options) -> Result<Model, Error> {
        let copy = || file.try_clone().map_err(Error::io("open", path));
        let (executable, own_file) = ((copy()?, path.to_path_buf()), copy()?);
        let (give, get) = channel();
        let (asked, ear) = engine();
        let (own_path, own, folder) = (path.to_path_buf(), options.clone(), weights.to_path_buf());
        let work = move || {
            let given = give.clone();
            let outcome = (|| {
                let runner = open_file(own_file, &own_path)?;
                let mut session = runner.open(crate::threads::wanted(own.threads)?, own.device.as_deref())?;
                let mut transcriber = Transcriber::new(&mut *session, &folder, &own.set)?;
                let finder = transcriber.finder(&own.search, &OutputFlags::default())?;
                let hearing = transcriber.hearing();
                let artifact = runner.artifact().clone();
                let shape = Shape::new(&own.shape, &artifact, hearing.geometry());
                let begun = Begun {
                    artifact,
                    hearing,
                    finder,
                    shape,
                };
                // Whoever opened it waits for this.
                let _ = give.send(Ok(begun));
                asked.run(&mut transcriber, &mut |_| {})
            })();
            if let Err(e) = outcome {
                // Where nobody opens it any more, who asks is told that it has ended.
                let _ = given.send(Err(e));
            }
        };
        let thread = crate::threads::start(work).map_err(|_| no_thread())?;
        let begun = get.recv().unwrap_or_else(|_| Err(crate::engine::ended(None)))?;
        Ok(Model {
            ear: Some(ear),
            thread: Some(thread),
            artifact: begun.artifact,
            hearing: begun.hearing,
            finder: Arc::new(begun.finder),
            shape: begun.shape,
            executable,
            weights: weights.into(),
            options,
            states: Mutex::new(None),
        })
    }

    fn ear(&self) -> &Ear {
        self.ear.as_ref().expect("it is there until the model is dropped")
    }

    /// Name, rate, seconds from frame to frame, tokens of the classes.
    pub fn about(&self) -> Value {
        let vocab = self.hearing.vocab();
        let tokens: Vec<&str> = (0..vocab.len()).map(|i| vocab.token(i).unwrap_or_default()).collect();
        json!({
            "name": self.artifact.name,
            "version": env!("CARGO_PKG_VERSION"),
            "sample_rate": RATE,
            "frame_seconds": self.hearing.geometry().hop() as f64 / RATE as f64,
            "tokens": tokens,
            "delay_seconds": self.shape.delay(self.hearing.geometry()),
        })
    }

    fn hear(&self, utterance: &Utterance, sound: Sound, reader: &mut Reader, keep: bool) -> Result<Transcript, Error> {
        let with = With {
            reader,
            keep,
            logits: &mut |wave| self.ear().logits(wave.to_vec()),
            after: &mut |_| Ok(()),
        };
        self.hearing.hear(utterance, sound, with)
    }

    /// The transcript of a recording as JSON: an object of text, duration, segments and, with a detail, words.
    fn written(&self, name: &str, heard: &Transcript, times: Option<Detail>) -> Result<String, Error> {
        let frames = Frames {
            name,
            logits: &heard.logits,
            classes: heard.classes,
            duration: heard.seconds,
        };
        let found = self.finder.find_with(&frames, true)?;
        let detail = times.unwrap_or(Detail::Segment);
        Ok(part(&found, Format::JsonLines, detail, &Layout::default())
            .trim_end()
            .to_string())
    }

    /// Transcribes mono samples at 16 kHz.
    ///
    /// # Errors
    /// Where a sample is not finite, and those of computing.
    pub fn samples(&self, samples: &[f32], times: Option<Detail>) -> Result<String, Error> {
        let heard = self.heard(samples)?;
        self.written("samples", &heard, times)
    }

    fn heard(&self, samples: &[f32]) -> Result<Transcript, Error> {
        finite(samples)?;
        let utterance = Utterance {
            path: "samples".into(),
            ..Utterance::default()
        };
        let sound = self.hearing.sound(samples.to_vec());
        self.hear(&utterance, sound, &mut Reader::default(), true)
    }

    /// Transcribes a file in any format that the command reads.
    ///
    /// # Errors
    /// Where it cannot be read, and those of computing.
    pub fn file(&self, path: &Path, times: Option<Detail>) -> Result<String, Error> {
        let utterance = Utterance {
            path: path.into(),
            ..Utterance::default()
        };
        let mut reader = Reader::default();
        let sound = self.hearing.read(&mut reader, &utterance)?;
        let heard = self.hear(&utterance, sound, &mut reader, true)?;
        self.written(&path.display().to_string(), &heard, times)
    }

    /// Logits [frames, classes] of mono samples at 16 kHz.
    ///
    /// # Errors
    /// As [`Model::samples`].
    pub fn logits(&self, samples: &[f32]) -> Result<Logits, Error> {
        let heard = self.heard(samples)?;
        Ok(Logits {
            classes: heard.classes.max(self.hearing.vocab().len()),
            values: heard.logits,
        })
    }

    /// The states of a layer, [frames, width] and the width, as `features` gives them. The first call opens the weights anew.
    ///
    /// # Errors
    /// Where the model has no task for that, or no such layer.
    pub fn states(&self, samples: &[f32], layer: usize) -> Result<(Vec<f32>, usize), Error> {
        finite(samples)?;
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = match states.take() {
            Some(opened) => opened,
            None => States::open(&self.executable, &self.weights, &self.options)?,
        };
        let found;
        (*states, found) = opened.of(samples.to_vec(), layer);
        found
    }

    /// A stream of speech; its texts come from [`Speech`].
    pub fn stream(self: &Arc<Model>) -> Speech {
        Speech {
            live: Live::new(self.hearing.clone(), self.finder.clone(), self.shape),
            model: self.clone(),
            untold: vec![],
            failed: false,
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.ear = None;
        if let Some(thread) = self.thread.take() {
            // A fault there has been told to whoever asked.
            let _ = thread.join();
        }
    }
}

fn finite(samples: &[f32]) -> Result<(), Error> {
    match samples.iter().position(|s| !s.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::data(
            "samples",
            format!("sample {at} is not a finite number"),
            "give floating-point samples in [-1, 1]",
        )),
    }
}

fn no_thread() -> Error {
    Error::Usage("the system gives no thread to compute on (ulimit -u)".into())
}

/// Speech while it is spoken.
pub struct Speech {
    model: Arc<Model>,
    live: Live,
    /// Events that no call has given yet.
    untold: Vec<Event>,
    /// Whether the last call failed.
    failed: bool,
}

impl Speech {
    /// # Errors
    /// Where a sample is not finite.
    pub fn push(&mut self, samples: &[f32]) -> Result<(), Error> {
        finite(samples)?;
        self.live.push(samples);
        Ok(())
    }

    /// Computes what can be computed; events as a JSON array. Where it fails samples stay, so that it may be called again; what
    /// was found before comes with the next call.
    ///
    /// # Errors
    /// Those of computing.
    pub fn poll(&mut self) -> Result<String, Error> {
        if !(self.failed && !self.untold.is_empty()) {
            self.compute()?;
        }
        self.failed = false;
        Ok(self.tell())
    }

    fn compute(&mut self) -> Result<(), Error> {
        let (model, untold) = (&self.model, &mut self.untold);
        let mut tell = |event| {
            untold.push(event);
            Ok(())
        };
        let outcome = self
            .live
            .events(&mut |wave| model.ear().logits(wave.to_vec()), &mut tell);
        self.failed = outcome.is_err();
        outcome
    }

    fn tell(&mut self) -> String {
        let events = std::mem::take(&mut self.untold);
        serde_json::to_string(&events).expect("plain data always serialises")
    }

    /// Says that no more samples come; the last events.
    ///
    /// # Errors
    /// Those of computing.
    pub fn finish(&mut self) -> Result<String, Error> {
        self.live.finish();
        self.compute()?;
        Ok(self.tell())
    }
}
