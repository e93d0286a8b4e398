//! Recordings to text.

use super::letters::fit_head;
use super::predict::{Opened, open};
use crate::audio::{RATE, Reader};
use crate::error::Error;
use crate::feeds::Feeds;
use crate::geometry::Geometry;
use crate::memory::Guard;
use crate::session::Session;
use crate::settings::Settings;
use crate::texts::{Aligner, Finder, OutputFlags, SearchFlags};
use crate::vocab::Vocab;
use ir::artifact::{Artifact, Program};
use ir::task::{Gives, Task};
use std::path::Path;

/// A model with weights, ready to listen.
pub struct Transcriber<'a> {
    pub(super) session: &'a mut dyn Session,
    pub(super) program: Program,
    pub(super) feeds: Feeds,
    /// The output that says which letter is how likely.
    pub(super) scores: String,
    pub(super) settings: Settings,
    pub(super) vocab: Vocab,
    /// Of its logits.
    classes: usize,
    pub(super) normalize: bool,
    pub(super) guard: Guard,
    pub(super) reader: Reader,
    /// Whether transcripts have logits.
    pub(super) logits: bool,
}

/// What was heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    pub text: String,
    /// [frames, classes]; none where they are not kept.
    pub logits: Vec<f32>,
    pub frames: usize,
    pub classes: usize,
    /// Length of the recording.
    pub seconds: f64,
}

/// A stretch of a clip, and which of its frames count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub start: usize,
    pub end: usize,
    pub first: usize,
    pub last: usize,
}

impl<'a> Transcriber<'a> {
    /// Loads weights for the model's first task that gives texts; the session is for that from there on.
    ///
    /// # Errors
    /// Where the model has no such task; settings and weights that cannot be used.
    pub fn new(session: &'a mut dyn Session, weights: &Path, set: &[String]) -> Result<Transcriber<'a>, Error> {
        let task = text_task(session.artifact())?.name.clone();
        Transcriber::of(session, &task, weights, set)
    }

    /// As [`Transcriber::new`], for a task that gives texts.
    pub fn of(
        session: &'a mut dyn Session,
        task: &str,
        weights: &Path,
        set: &[String],
    ) -> Result<Transcriber<'a>, Error> {
        let opened = open(session, (task, weights, set), |_, gives| match gives {
            Gives::Text { logits } => Ok(Some(logits.clone())),
            _ => Ok(None),
        })?;
        let Opened {
            artifact,
            task,
            folder,
            program,
            settings,
            feeds,
            normalize,
            own: scores,
        } = opened;
        // Classes beyond the tokens write nothing, as in transformers.
        let vocab = fit_head(&artifact, &task, folder.vocab()?.unwrap_or_default())?;
        session.freeze(&program.name)?;
        Ok(Transcriber {
            classes: artifact.classes(&task).unwrap_or(vocab.len()),
            program,
            feeds,
            scores,
            normalize,
            settings,
            vocab,
            session,
            guard: Guard::default(),
            reader: Reader::default(),
            logits: true,
        })
    }

    /// A text in the letters of the model's vocabulary, as it was fine-tuned on.
    pub fn normalize(&self, text: &str) -> String {
        self.vocab.normalize(text)
    }

    /// What finds texts in this model's logits.
    ///
    /// # Errors
    /// Where a file that the flags name cannot be used.
    pub fn finder(&self, search: &SearchFlags, output: &OutputFlags) -> Result<Finder, Error> {
        Finder::new(self.vocab.clone(), self.classes, self.feeds.geometry(), search, output)
    }

    /// What finds given texts in this model's logits.
    pub fn aligner(&self) -> Aligner {
        Aligner::new(self.vocab.clone(), self.classes, self.feeds.geometry())
    }

    /// The first letter of a text that the vocabulary lacks.
    pub fn unknown_letter(&self, text: &str) -> Option<String> {
        self.vocab.encode(text).err()
    }

    pub(super) fn windows(&self, samples: usize) -> Result<Vec<Window>, Error> {
        let length = (self.settings.number("window_seconds")? * RATE as f64) as usize;
        let context = (self.settings.number("context_seconds")? * RATE as f64) as usize;
        Ok(windows(self.feeds.geometry(), samples, length, context))
    }
}

/// Transcribes one file with weights from a folder; the session does nothing else from there on.
pub fn transcribe_file(session: &mut dyn Session, weights: &Path, path: &Path) -> Result<Transcript, Error> {
    Transcriber::new(session, weights, &[])?.file(path)
}

/// The model's first task that gives texts.
pub fn text_task(artifact: &Artifact) -> Result<&Task, Error> {
    let gives_text = |t: &&Task| t.prediction().is_some_and(|p| matches!(p.gives, Gives::Text { .. }));
    let found = artifact.tasks.iter().find(gives_text);
    found.ok_or_else(|| Error::Usage(format!("`{}` has no task that gives texts", artifact.name)))
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
            let geometry = crate::fake::geometry();
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
