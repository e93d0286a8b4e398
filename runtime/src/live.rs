//! Speech while it is spoken: samples go in as they come, texts come out as soon as they are heard.
//!
//! The models see both ways, so each chunk is computed anew with what is to its left and right. [`Live`] computes nothing
//! itself: [`Live::next`] says which samples to compute, [`Live::heard`] takes their logits and gives events.

mod shape;
mod utterance;

pub use shape::{Right, Shape, ShapeFlags};
pub use utterance::Event;

use crate::audio::{Levels, RATE};
use crate::error::Error;
use crate::texts::Finder;
use crate::trainer::{Hearing, Logits};
use std::ops::Range;
use std::sync::Arc;
use utterance::Utterance;

/// Samples to compute, and which of their frames are new.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    pub wave: Vec<f32>,
    pub frames: Range<usize>,
}

/// One stream of speech.
pub struct Live {
    hearing: Arc<Hearing>,
    finder: Arc<Finder>,
    shape: Shape,
    /// Samples that are still needed, from number `from` on.
    held: Vec<f32>,
    from: usize,
    /// Frames that were asked for.
    asked: usize,
    ended: bool,
    levels: Levels,
    utterance: Utterance,
    /// What was asked for by [`Live::events`] and not heard, as computing it failed.
    unheard: Option<Stretch>,
}

/// Who is told of events.
pub type Told<'a> = dyn FnMut(Event) -> Result<(), Error> + 'a;

impl Live {
    pub fn new(hearing: Arc<Hearing>, finder: Arc<Finder>, shape: Shape) -> Live {
        let hop = hearing.geometry().hop() as f64 / RATE as f64;
        Live {
            hearing,
            finder,
            shape,
            held: vec![],
            from: 0,
            asked: 0,
            ended: false,
            levels: Levels::default(),
            utterance: Utterance::new(hop),
            unheard: None,
        }
    }

    /// Adds mono samples at 16 kHz.
    pub fn push(&mut self, samples: &[f32]) {
        self.held.extend_from_slice(samples);
    }

    /// Says that no more samples come.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    /// Seconds that came.
    pub fn seconds(&self) -> f64 {
        (self.from + self.held.len()) as f64 / RATE as f64
    }

    /// Samples to compute next, where enough have come.
    pub fn next(&mut self) -> Option<Stretch> {
        let geometry = self.hearing.geometry().clone();
        let Shape { left, chunk, right } = self.shape;
        let total = self.from + self.held.len();
        let there = geometry.frames(total);
        let (until, seen) = match self.asked + chunk + right {
            enough if there >= enough => (self.asked + chunk, enough),
            _ if self.ended && there > self.asked => (there, there),
            _ => return None,
        };
        let first = self.asked.saturating_sub(left);
        let start = first * geometry.hop();
        let end = start + geometry.least_samples(seen - first);
        // Statistics of what is computed and what was before, whatever has already come after it.
        let new = self.levels.count().clamp(self.from, end);
        self.levels.push(&self.held[new - self.from..end - self.from]);
        let mut wave = self.held[start - self.from..end - self.from].to_vec();
        if self.hearing.normalizes() {
            self.levels.forget_before(start);
            self.levels.gains().apply(&mut wave, start);
        }
        let frames = self.asked - first..until - first;
        self.asked = until;
        let next = until.saturating_sub(left) * geometry.hop();
        self.held.drain(..next.min(end) - self.from);
        self.from = next.min(end);
        Some(Stretch { wave, frames })
    }

    /// Takes the logits of a stretch, in the order of [`Live::next`], and tells what is heard.
    ///
    /// # Errors
    /// Where these are no numbers, or a text cannot be found in them.
    pub fn heard(&mut self, stretch: &Stretch, logits: &Logits, tell: &mut Told) -> Result<(), Error> {
        let classes = logits.classes;
        let rows = &logits.values[stretch.frames.start * classes..stretch.frames.end * classes];
        if let Some(bad) = rows.iter().find(|v| v.is_nan() || **v == f32::INFINITY) {
            return Err(Error::data(
                "stream",
                format!("the model's output has {bad}, which is no number"),
                "check the weights: some are not finite or far too large",
            ));
        }
        self.utterance.add(rows, classes, &self.finder, tell)
    }

    /// Tells what is left after the last stretch.
    ///
    /// # Errors
    /// As [`Live::heard`].
    pub fn last(&mut self, tell: &mut Told) -> Result<(), Error> {
        self.utterance.close(&self.finder, tell)
    }

    /// Computes all that can be computed now, by `logits`. Where that fails nothing is lost: the next call begins with the
    /// stretch that failed.
    ///
    /// # Errors
    /// Those of computing and of who is told, and as [`Live::heard`].
    pub fn events(
        &mut self,
        logits: &mut dyn FnMut(&[f32]) -> Result<Logits, Error>,
        tell: &mut Told,
    ) -> Result<(), Error> {
        while let Some(stretch) = self.unheard.take().or_else(|| self.next()) {
            match logits(&stretch.wave) {
                Ok(found) => self.heard(&stretch, &found, tell)?,
                Err(e) => {
                    self.unheard = Some(stretch);
                    return Err(e);
                }
            }
        }
        match self.ended {
            true => self.last(tell),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
