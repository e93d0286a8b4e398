//! Recordings to text.

use super::hearing::{Hearing, Transcript};
use super::letters::fit_head;
use super::predict::{Opened, open};
use crate::audio::Reader;
use crate::error::Error;
use crate::feeds::Feeds;
use crate::memory::Guard;
use crate::session::Session;
use crate::texts::{Aligner, Finder, OutputFlags, SearchFlags};
use ir::artifact::{Artifact, Program};
use ir::task::{Gives, Task};
use std::path::Path;
use std::sync::Arc;

/// A model with weights, ready to listen.
pub struct Transcriber<'a> {
    pub(super) session: &'a mut dyn Session,
    pub(super) program: Program,
    pub(super) feeds: Feeds,
    /// The output that says which letter is how likely.
    pub(super) scores: String,
    pub(super) hearing: Arc<Hearing>,
    /// Of its logits.
    classes: usize,
    pub(super) guard: Guard,
    pub(super) reader: Reader,
    /// Whether transcripts have logits.
    pub(super) logits: bool,
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
            hearing: Arc::new(Hearing::new(&settings, feeds.geometry().clone(), vocab, normalize)?),
            program,
            feeds,
            scores,
            session,
            guard: Guard::default(),
            reader: Reader::default(),
            logits: true,
        })
    }

    /// A text in the letters of the model's vocabulary, as it was fine-tuned on.
    pub fn normalize(&self, text: &str) -> String {
        self.hearing.vocab.normalize(text)
    }

    /// What finds texts in this model's logits.
    ///
    /// # Errors
    /// Where a file that the flags name cannot be used.
    pub fn finder(&self, search: &SearchFlags, output: &OutputFlags) -> Result<Finder, Error> {
        Finder::new(
            self.hearing.vocab.clone(),
            self.classes,
            self.hearing.geometry(),
            search,
            output,
        )
    }

    /// What finds given texts in this model's logits.
    pub fn aligner(&self) -> Aligner {
        Aligner::new(self.hearing.vocab.clone(), self.classes, self.hearing.geometry())
    }

    /// The first letter of a text that the vocabulary lacks.
    pub fn unknown_letter(&self, text: &str) -> Option<String> {
        self.hearing.vocab.encode(text).err()
    }

    /// How recordings are heard, for who reads them elsewhere.
    pub fn hearing(&self) -> Arc<Hearing> {
        self.hearing.clone()
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
