//! Recordings to labels.

use super::judge::likeliest;
use super::predict::open;
use super::target::labels_of;
use crate::audio::{Reader, normalize};
use crate::data::Utterance;
use crate::error::Error;
use crate::feeds::{Clips, Feeds, Occasion};
use crate::memory::Guard;
use crate::session::Session;
use ir::artifact::Program;
use ir::task::Gives;
use std::path::Path;

/// A model with weights, ready to tell recordings apart.
pub struct Classifier<'a> {
    session: &'a mut dyn Session,
    program: Program,
    feeds: Feeds,
    /// The output that says which label is how likely.
    scores: String,
    names: Vec<String>,
    normalize: bool,
    guard: Guard,
    reader: Reader,
}

impl<'a> Classifier<'a> {
    /// Loads weights; the session is for this task from there on.
    ///
    /// # Errors
    /// Where the model has no such task; settings and weights that cannot be used.
    pub fn new(
        session: &'a mut dyn Session,
        task: &str,
        weights: &Path,
        set: &[String],
    ) -> Result<Classifier<'a>, Error> {
        let opened = open(session, (task, weights, set), |_, gives| match gives {
            Gives::Label { logits } => Ok(Some(logits.clone())),
            _ => Ok(None),
        })?;
        session.freeze(&opened.program.name)?;
        Ok(Classifier {
            feeds: opened.feeds,
            scores: opened.own,
            names: labels_of(weights)?.unwrap_or_default(),
            normalize: opened.normalize,
            program: opened.program,
            session,
            guard: Guard::default(),
            reader: Reader::default(),
        })
    }

    /// The likeliest label of a recording, and its probability. A class without a name is a number.
    ///
    /// # Errors
    /// Where the recording cannot be read or is shorter than a frame, and where the model's output is no number.
    pub fn label(&mut self, utterance: &Utterance) -> Result<(String, f64), Error> {
        let mut samples = self.reader.part(&utterance.path, utterance.segment)?;
        if self.feeds.geometry().frames(samples.len()) == 0 {
            let what = format!("it has {} samples, too few for a frame", samples.len());
            return Err(Error::data(utterance.name().display(), what, "give a longer one"));
        }
        if self.normalize {
            normalize(&mut samples);
        }
        let waves = [samples.as_slice()];
        let clips = Clips {
            waves: &waves,
            labels: &[],
        };
        let batch = self.feeds.draw(&self.program, clips, &Occasion::STILL)?;
        let (program, inputs) = (&self.program.name, batch.inputs.refs());
        self.guard
            .check(self.session, program, &inputs, "cut the recording into shorter ones")?;
        let outputs = self.session.run(program, &inputs)?;
        let found = outputs
            .iter()
            .find(|(n, _)| *n == self.scores)
            .and_then(|(_, t)| t.as_f32());
        let row = found.ok_or_else(|| Error::program(program, format!("it has no output `{}`", self.scores)))?;
        if row.is_empty() || row.iter().any(|v| !v.is_finite()) {
            return Err(Error::data(
                utterance.name().display(),
                "the model's output is not a number",
                "check the weights: some are not finite or far too large",
            ));
        }
        let best = likeliest(row);
        let sum: f64 = row.iter().map(|v| (*v as f64 - row[best] as f64).exp()).sum();
        let name = self.names.get(best).cloned().unwrap_or_else(|| best.to_string());
        Ok((name, 1.0 / sum))
    }
}
