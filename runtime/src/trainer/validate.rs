//! Validation: the same masks every time, no dropout, no noise; the best model is exported.

use super::Trainer;
use super::judge::{Seen, Verdict};
use super::totals::Totals;
use crate::data::{Loader, Position, SILENT, Task};
use crate::error::Error;
use crate::feeds::{Clips, Occasion};
use crate::ranks::Share;
use crate::run::Run;
use serde::{Deserialize, Serialize};

/// Keeps the numbers of a validation apart from those of training.
const SEED: u64 = 0x7661_6c69_6461_7465;

/// What a rank found in its batches.
#[derive(Default, Serialize, Deserialize)]
struct Found {
    /// By the batch's number.
    batches: Vec<(u64, Totals, Option<Seen>)>,
    silent: usize,
}

/// A validation's outcome.
struct Score {
    /// Lower is better, compared in order.
    key: Vec<f64>,
    verdict: Verdict,
}

impl Trainer<'_> {
    /// Scores the model on the validation data and exports it if it is the best so far.
    pub(super) fn validate(&mut self) -> Result<(), Error> {
        if self.valid.is_empty() {
            return Ok(());
        }
        let Some(Score { key, verdict }) = self.score()? else {
            return Ok(());
        };
        self.log.report(self.state.update, "valid", &verdict.fields)?;
        for (name, message) in &verdict.warnings {
            self.log.event(self.state.update, name, message)?;
        }
        for (kind, fields) in verdict.records {
            self.log.record(self.state.update, kind, fields)?;
        }
        if !key.iter().all(|k| k.is_finite()) {
            let message = "the validation score is not a number; this model is not taken for the best";
            return self.log.event(self.state.update, "not finite", message);
        }
        if !self.weights_are_finite()? {
            let message = "weights are not finite; this model is not taken for the best";
            return self.log.event(self.state.update, "not finite", message);
        }
        self.proven = Some(self.state.update);
        // Lexicographic: the first difference decides.
        let better = self.state.best.as_ref().is_none_or(|best| key < *best);
        if better {
            // Where there is a model, there is a checkpoint: a folder without one is never resumed over a model.
            let run = &self.run;
            if !self
                .ranks
                .from_first(|| Ok(run.as_ref().is_some_and(Run::has_checkpoint)))?
            {
                self.save(&self.state.clone())?;
            }
            self.export()?;
            self.state.best = Some(key);
        }
        Ok(())
    }

    /// Scores the model. Batch `i` is rank `i` modulo the ranks'; what all found is added up in the order of the batches.
    fn score(&mut self) -> Result<Option<Score>, Error> {
        let mut found = Found::default();
        let mut silent = 0;
        let own = self.own_batches()?;
        for own in self.ranks.gather(own)? {
            found.batches.extend(own.batches);
            silent += own.silent;
        }
        found.batches.sort_by_key(|(number, ..)| *number);
        if silent > 0 && !std::mem::replace(&mut self.silent_told, true) {
            let all = self.valid.len();
            let message = format!("{silent} of {all} validation clips are silent; they do not count");
            self.log.event(self.state.update, "silent", &message)?;
        }
        // A training program has added gradients; the next update starts from zero, and so does a resumed one.
        self.session.zero_grads()?;
        let mut totals = Totals::default();
        let mut seen = vec![];
        for (_, own, shown) in found.batches {
            totals.add(&own);
            seen.extend(shown);
        }
        if totals.weight <= 0.0 {
            return Ok(None);
        }
        let mut verdict = self.judge.as_ref().map(|judge| judge.verdict(seen)).unwrap_or_default();
        let key = self.course.key(&totals, &verdict.fields);
        let judged = std::mem::replace(&mut verdict.fields, self.course.report(&totals));
        verdict.fields.extend(judged);
        Ok(Some(Score { key, verdict }))
    }

    /// Runs this rank's batches.
    fn own_batches(&mut self) -> Result<Found, Error> {
        let program = self.course.validates.clone();
        let share = Share {
            group: self.share.ranks as u64,
            ..self.share
        };
        let batches = (self.batcher(&self.valid, false), share);
        // A silent clip is trivially right; it must not choose the best model.
        let task = Task {
            drop_silent: true,
            ..self.task
        };
        let mut found = Found::default();
        let mut loader = Loader::new(self.valid.clone(), batches, Position::default(), 1, task);
        loop {
            if !self.ranks.several() {
                self.attend(self.state.position)?;
            }
            let loaded = self.wait(&mut loader, self.state.position)?;
            if loaded.position.epoch > 0 {
                return Ok(found);
            }
            found.silent += loaded.skipped.iter().filter(|s| s.reason == SILENT).count();
            let number = loaded.number;
            // What cannot be used was reported when the data were opened or is seen in every validation: not again.
            let mut clips = loaded.clips;
            let mut labels = vec![];
            clips.retain(|clip| self.labels(clip).map(|l| labels.push(l)).is_ok());
            if clips.is_empty() {
                continue;
            }
            let waves: Vec<&[f32]> = clips.iter().map(|c| c.wave.as_slice()).collect();
            let occasion = Occasion {
                seed: self.task.seed ^ SEED,
                major: number,
                minor: loaded.position.part,
                update: self.state.update,
                masks: true,
                noise: false,
                whole: true,
            };
            let given = Clips {
                waves: &waves,
                labels: &labels,
            };
            let batch = self.feeds.draw(&program, given, &occasion)?;
            let inputs = batch.inputs.refs();
            self.guard
                .check(self.session, &program.name, &inputs, "lower it by --set max_tokens=N")?;
            let outputs = self.session.run(&program.name, &inputs)?;
            let totals = self.course.read(&program, &batch, &outputs)?;
            let judge = self.judge.as_ref();
            let seen = judge.map(|j| j.observe(&program.name, &clips, &labels, &batch, &outputs));
            found.batches.push((number, totals, seen.transpose()?));
        }
    }
}
