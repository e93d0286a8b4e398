//! Transcribing: recordings alone, together, or in windows while they are read.

use super::hearing::{Heard, Logits, Part, Sound, Transcript, With};
use super::transcribe::Transcriber;
use crate::data::Utterance;
use crate::error::Error;
use crate::feeds::{Clips, Occasion};
use std::path::Path;

impl Transcriber<'_> {
    /// Transcripts are to have logits or not; they do by default.
    pub fn keep_logits(&mut self, keep: bool) {
        self.logits = keep;
    }

    /// Transcribes a file. A clip shorter than one frame has no text.
    pub fn file(&mut self, path: &Path) -> Result<Transcript, Error> {
        self.utterance(&Utterance {
            path: path.into(),
            ..Utterance::default()
        })
    }

    /// As [`Transcriber::file`], for a recording or a part of one.
    pub fn utterance(&mut self, utterance: &Utterance) -> Result<Transcript, Error> {
        let sound = self.read(utterance)?;
        self.hear(utterance, sound, &mut |_| Ok(()))
    }

    /// Reads a recording: samples where it is of moderate length.
    ///
    /// # Errors
    /// Where it cannot be read whole and sound, or is too long.
    pub fn read(&mut self, utterance: &Utterance) -> Result<Sound, Error> {
        self.hearing.read(&mut self.reader, utterance)
    }

    /// Transcribes what was read; `after` is asked after each window.
    pub fn hear(
        &mut self,
        utterance: &Utterance,
        sound: Sound,
        after: &mut dyn FnMut(&Part) -> Result<(), Error>,
    ) -> Result<Transcript, Error> {
        let hearing = self.hearing.clone();
        let mut reader = std::mem::take(&mut self.reader);
        let with = With {
            reader: &mut reader,
            keep: self.logits,
            logits: &mut |wave| self.run(&[wave]).map(|(values, classes, _)| Logits { values, classes }),
            after,
        };
        let outcome = hearing.hear(utterance, sound, with);
        self.reader = reader;
        outcome
    }

    /// Transcribes recordings of one window together, padded to the longest; what one of them gives does not depend on the
    /// others. Outcomes are in their order.
    ///
    /// # Errors
    /// Those that concern all.
    pub fn together(&mut self, clips: &[(&Path, &[f32])]) -> Result<Vec<Result<Transcript, Error>>, Error> {
        let waves: Vec<&[f32]> = clips.iter().map(|(_, wave)| *wave).collect();
        let all = self.logits_of(&waves)?;
        let outcomes = clips.iter().zip(all).map(|((name, wave), found)| {
            let mut heard = Heard::default();
            let frames = self.hearing.geometry().frames(wave.len());
            if frames > 0 {
                self.hearing.note(name, &found, 0..frames, self.logits, &mut heard)?;
            }
            Ok(self.hearing.transcript(heard, wave.len()))
        });
        Ok(outcomes.collect())
    }

    /// Logits of stretches computed together, each without what pads it; none of one shorter than a frame.
    ///
    /// # Errors
    /// Those that concern all.
    pub fn logits_of(&mut self, waves: &[&[f32]]) -> Result<Vec<Logits>, Error> {
        let counts: Vec<usize> = waves.iter().map(|w| self.hearing.geometry().frames(w.len())).collect();
        let long: Vec<&[f32]> = waves
            .iter()
            .zip(&counts)
            .filter(|(_, n)| **n > 0)
            .map(|(w, _)| *w)
            .collect();
        let (values, classes, row) = match long.is_empty() {
            true => (vec![], 0, 0),
            false => self.run(&long)?,
        };
        let mut rows = values.chunks_exact(row.max(1));
        let own = counts.iter().map(|frames| Logits {
            values: match *frames {
                0 => vec![],
                n => rows.next().expect("one row per clip with frames")[..n * classes].to_vec(),
            },
            classes,
        });
        Ok(own.collect())
    }

    /// Logits of clips: values [clips, frames, classes], the classes, and values per clip.
    fn run(&mut self, waves: &[&[f32]]) -> Result<(Vec<f32>, usize, usize), Error> {
        let clips = Clips { waves, labels: &[] };
        let batch = self.feeds.draw(&self.program, clips, &Occasion::STILL)?;
        let inputs = batch.inputs.refs();
        let remedy = "cut long recordings into windows by --set window_seconds=30";
        self.guard.check(self.session, &self.program.name, &inputs, remedy)?;
        let outputs = self.session.run(&self.program.name, &inputs)?;
        let logits = outputs.into_iter().find(|(n, _)| *n == self.scores).map(|(_, t)| t);
        match logits.as_ref().and_then(|t| Some((t.as_f32()?, *t.shape.last()?))) {
            Some((values, classes)) => Ok((values.to_vec(), classes, values.len() / waves.len())),
            None => Err(Error::program(
                &self.program.name,
                format!("it has no output `{}`", self.scores),
            )),
        }
    }
}
