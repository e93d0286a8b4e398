//! Checkpoints during training: when they are written, and what signals request.

#[cfg(test)]
mod tests;

use super::Trainer;
use crate::data::{Loaded, Loader, Position};
use crate::error::Error;
use crate::interrupt::{Wish, command_to_go_on};
use crate::ranks::Phase;
use crate::run::{Run, State};
use crate::weights::export_model;
use rayon::prelude::*;
use std::path::PathBuf;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Between two looks at what signals ask for.
const PATIENCE: Duration = Duration::from_millis(200);

fn finite(values: &[f32]) -> bool {
    values
        .par_chunks(1 << 16)
        .all(|chunk| chunk.iter().all(|v| v.is_finite()))
}

impl Trainer<'_> {
    /// Fails where the run folder was moved or removed.
    pub(super) fn still_here(&self) -> Result<(), Error> {
        self.run.as_ref().map_or(Ok(()), Run::still_here)
    }

    /// Has rank 0 write a checkpoint, unless the newest holds the same; its path where this is rank 0.
    pub(super) fn save(&mut self, state: &State) -> Result<PathBuf, Error> {
        self.owed = false;
        self.ranks.enter(Phase::Writing);
        self.compare_weights()?;
        self.collect_moments()?;
        let Some(run) = &self.run else {
            self.saved = Some(state.clone());
            return Ok(PathBuf::new());
        };
        if let (true, Some(newest)) = (self.saved.as_ref() == Some(state), run.newest()) {
            return Ok(newest);
        }
        self.demand_finite()?;
        self.log.sync()?;
        let keep = self.settings.count("keep_checkpoints", 1)? as usize;
        let keep = if state.skips > 0 {
            // Nothing has been computed from these weights that was finite: nothing is given up for them.
            usize::MAX
        } else if self.proven == Some(state.update) {
            keep
        } else {
            // From the one before, the last update was computed, and it was finite.
            keep.max(2)
        };
        let run = self.run.as_ref().expect("it was there above");
        let path = run.save(self.session, state, keep)?;
        self.saved = Some(state.clone());
        self.forget_others()?;
        self.say_notes()?;
        Ok(path)
    }

    /// Writes the model into the run folder.
    pub(super) fn export(&mut self) -> Result<(), Error> {
        let Some(run) = &self.run else { return Ok(()) };
        run.still_here()?;
        let order = self
            .order
            .as_ref()
            .map(|(heads, order)| (heads.as_slice(), order.as_slice()));
        let task = self.artifact.task(&self.course.task).expect("it is being trained");
        export_model(run.dir(), &self.artifact, task, self.session.params()?, order)
    }

    /// Fails where a rank has drifted away from the others.
    fn compare_weights(&mut self) -> Result<(), Error> {
        if !self.ranks.several() {
            return Ok(());
        }
        let own = xxh3_64(crate::bytes::of(self.session.params()?));
        let all = self.ranks.gather(own)?;
        self.ranks.compare("digest of the weights", &all)
    }

    /// Whether all weights are numbers.
    pub(super) fn weights_are_finite(&mut self) -> Result<bool, Error> {
        Ok(finite(self.session.params()?))
    }

    /// Fails where a weight or a moment is not finite: nothing could ever be learnt from there.
    fn demand_finite(&mut self) -> Result<(), Error> {
        let weights = finite(self.session.params()?);
        let (first, second) = self.session.moments()?;
        let what = match (weights, finite(first) && finite(second)) {
            (true, true) => return Ok(()),
            (false, _) => "weights are not finite",
            (true, false) => "moments of the optimizer are not finite",
        };
        Err(Error::Training {
            update: self.state.update,
            what: format!("{what}, and no checkpoint is written of them; try a lower lr or clip_norm"),
        })
    }

    /// Says what was found in the run folder.
    pub(super) fn say_notes(&mut self) -> Result<(), Error> {
        for note in self.run.as_ref().map(Run::take_notes).unwrap_or_default() {
            self.log.event(self.state.update, "note", &note)?;
        }
        Ok(())
    }

    /// The next batch; meanwhile signals are attended to. `begun` is the batch after the last whole update.
    pub(super) fn wait(&mut self, loader: &mut Loader, begun: Position) -> Result<Loaded, Error> {
        loop {
            if let Some(loaded) = loader.next_within(PATIENCE)? {
                return Ok(loaded);
            }
            self.still_here()?;
            // Several ranks agree on it after the update.
            if !self.ranks.several() {
                self.attend(begun)?;
            }
        }
    }

    /// What signals ask of this rank, to be told to the others.
    pub(super) fn own_wish(&self) -> Option<Wish> {
        if self.ranks.several() {
            self.signals.take()
        } else {
            None
        }
    }

    /// Does what signals ask for; `begun` is the batch after the last whole update.
    pub(super) fn attend(&mut self, begun: Position) -> Result<(), Error> {
        let wish = match self.ranks.several() {
            true => self.wish.take(),
            false => self.signals.take(),
        };
        let Some(wish) = wish else {
            return Ok(());
        };
        // What goes with the weights as they are.
        let state = State {
            position: begun,
            ..self.state.clone()
        };
        match wish {
            Wish::Checkpoint => {
                let path = self.save(&state)?;
                let message = format!("`{}` was written, as SIGUSR1 requested", path.display());
                self.log.event(state.update, "checkpoint", &message)
            }
            Wish::End(signal) => {
                let checkpoint = self.save(&state)?;
                self.log.event(state.update, "interrupted", &format!("by {signal}"))?;
                self.log.finish();
                Err(Error::Interrupted {
                    signal,
                    update: state.update,
                    checkpoint,
                    command: command_to_go_on(),
                })
            }
        }
    }

    /// Completes what is said of a training that cannot go on: what there is to go on from.
    pub(super) fn failed(&mut self, update: u64, what: String) -> Error {
        self.log.finish();
        let Some(run) = &self.run else {
            return Error::Training { update, what };
        };
        let aside = match self.state.skips {
            0 => Ok(None),
            // Skipped updates are counted, the one that ended it not.
            skips => run.put_aside_unless_last(update.saturating_sub(skips - 1), &self.artifact, &self.course.task),
        };
        let aside = match aside {
            Ok(aside) => aside,
            Err(e) => return e,
        };
        let what = match aside {
            Some(aside) => format!(
                "{what}; nothing finite came from the last checkpoint, which is put aside as `{}`",
                aside.display()
            ),
            None => what,
        };
        let what = match run.newest() {
            Some(path) => format!("{what}; `{}` is kept: continue from it with --resume", path.display()),
            None => format!("{what}; no checkpoint was written"),
        };
        Error::Training { update, what }
    }
}
