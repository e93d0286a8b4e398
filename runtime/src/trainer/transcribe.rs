//! Recordings to text.

use super::finetune::check_classes;
use crate::audio::{RATE, Reader, normalize};
use crate::batch::{Clips, Occasion, build};
use crate::error::Error;
use crate::geometry::Geometry;
use crate::memory::Guard;
use crate::session::Session;
use crate::settings::Settings;
use crate::vocab::{Vocab, best_path};
use crate::weights::{Folder, Missing, adopt_sizes};
use ir::artifact::Program;
use std::path::Path;

/// A model with weights, ready to listen.
pub struct Transcriber<'a> {
    session: &'a mut dyn Session,
    program: Program,
    geometry: Geometry,
    settings: Settings,
    vocab: Vocab,
    normalize: bool,
    guard: Guard,
    reader: Reader,
}

/// What was heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    pub text: String,
    /// [frames, classes]
    pub logits: Vec<f32>,
    pub frames: usize,
    pub classes: usize,
    /// Length of the recording.
    pub seconds: f64,
}

/// A stretch of a clip, and which of its frames count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    start: usize,
    end: usize,
    first: usize,
    last: usize,
}

impl<'a> Transcriber<'a> {
    /// Loads weights; the session is for transcribing from there on.
    pub fn new(session: &'a mut dyn Session, weights: &Path, set: &[String]) -> Result<Transcriber<'a>, Error> {
        let folder = Folder::open(weights)?;
        let artifact = adopt_sizes(session, &folder)?;
        let mut settings = Settings::new(&artifact, "transcribe")?;
        if let Some(own) = folder.normalize()? {
            settings.force("normalize", own as u8 as f64);
        }
        set.iter().try_for_each(|s| settings.set(s))?;
        folder.load(&artifact, session.params()?, Missing::Quantizer)?;
        let vocab = folder.vocab()?.unwrap_or_default();
        check_classes(&artifact, &vocab)?;
        let program = artifact.programs.iter().find(|p| p.name == "transcribe").cloned();
        let program = program.ok_or_else(|| Error::program("transcribe", "this model was compiled without it"))?;
        let geometry = Geometry::new(&artifact)?;
        session.freeze(&program.name)?;
        Ok(Transcriber {
            program,
            geometry,
            normalize: settings.flag("normalize")?,
            settings,
            vocab,
            session,
            guard: Guard::default(),
            reader: Reader::default(),
        })
    }

    /// Decodes and transcribes a file. A clip shorter than one frame has no text.
    pub fn file(&mut self, path: &Path) -> Result<Transcript, Error> {
        let mut wave = self.reader.read(path)?;
        if self.normalize {
            normalize(&mut wave);
        }
        let (mut logits, mut classes) = (vec![], 0);
        for window in self.windows(wave.len())? {
            let (own, width) = self.logits(&wave[window.start..window.end])?;
            logits.extend_from_slice(&own[window.first * width..window.last * width]);
            classes = width;
        }
        let (text, frames) = match classes {
            0 => (String::new(), 0),
            _ => (self.vocab.decode(&best_path(&logits, classes)), logits.len() / classes),
        };
        Ok(Transcript {
            text,
            logits,
            frames,
            classes,
            seconds: wave.len() as f64 / RATE as f64,
        })
    }

    /// A text in the letters of the model's vocabulary, as it was fine-tuned on.
    pub fn normalize(&self, text: &str) -> String {
        self.vocab.normalize(text)
    }

    /// The first letter of a text that the vocabulary lacks.
    pub fn unknown_letter(&self, text: &str) -> Option<char> {
        self.vocab.encode(text).err()
    }

    fn windows(&self, samples: usize) -> Result<Vec<Window>, Error> {
        let length = (self.settings.number("window_seconds")? * RATE as f64) as usize;
        let context = (self.settings.number("context_seconds")? * RATE as f64) as usize;
        Ok(windows(&self.geometry, samples, length, context))
    }

    /// Logits of a stretch: values [frames, classes] and the number of classes.
    fn logits(&mut self, wave: &[f32]) -> Result<(Vec<f32>, usize), Error> {
        let occasion = Occasion {
            seed: 0,
            major: 0,
            minor: 0,
            masks: false,
            noise: false,
            temperature: 1.0,
        };
        let clips = Clips {
            waves: &[wave],
            labels: &[],
        };
        let batch = build(&self.program, &self.geometry, &self.settings, clips, occasion)?;
        let inputs = batch.inputs.refs();
        let remedy = "cut long recordings into windows by --set window_seconds=30";
        self.guard.check(self.session, &self.program.name, &inputs, remedy)?;
        let outputs = self.session.run(&self.program.name, &inputs)?;
        let logits = outputs.into_iter().find(|(n, _)| n == "logits").map(|(_, t)| t);
        match logits.as_ref().and_then(|t| Some((t.as_f32()?, *t.shape.last()?))) {
            Some((values, classes)) => Ok((values.to_vec(), classes)),
            None => Err(Error::program(&self.program.name, "it has no output `logits`")),
        }
    }
}

/// Transcribes one file with weights from a folder; the session does nothing else from there on.
pub fn transcribe_file(session: &mut dyn Session, weights: &Path, path: &Path) -> Result<Transcript, Error> {
    Transcriber::new(session, weights, &[])?.file(path)
}

/// Cuts a clip into windows of `length` samples (0: never) that see `context` more on each side than they answer for.
/// The frames that count make up the clip's frames, each once and in order.
fn windows(geometry: &Geometry, samples: usize, length: usize, context: usize) -> Vec<Window> {
    let frames = geometry.frames(samples);
    if frames == 0 {
        return vec![];
    }
    if length == 0 || samples <= length {
        return vec![Window {
            start: 0,
            end: samples,
            first: 0,
            last: frames,
        }];
    }
    // Windows begin at whole frames, so that theirs are the clip's.
    let hop = geometry.hop();
    let context = context / hop;
    let step = (geometry.frames(length).saturating_sub(2 * context)).max(1);
    let mut out = vec![];
    let mut done = 0;
    while done < frames {
        let from = done.saturating_sub(context);
        let start = from * hop;
        let end = (start + length).min(samples);
        let reach = from + geometry.frames(end - start);
        let last = if end == samples {
            frames
        } else {
            (done + step).min(reach)
        };
        out.push(Window {
            start,
            end,
            first: done - from,
            last: last - from,
        });
        done = last;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn windows_answer_for_every_frame_once(samples in 1usize..5000, length in 100usize..900, context in 0usize..40) {
            let geometry = Geometry::new(&crate::fake::artifact()).unwrap();
            let mut next = 0;
            for w in windows(&geometry, samples, length, context) {
                prop_assert!(w.end - w.start <= length.max(samples.min(length)) && w.end <= samples);
                prop_assert_eq!(w.start / 10 + w.first, next);
                prop_assert!(w.first < w.last && w.last <= geometry.frames(w.end - w.start));
                next = w.start / 10 + w.last;
            }
            prop_assert_eq!(next, geometry.frames(samples));
        }
    }
}
