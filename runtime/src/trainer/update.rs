//! One update: gradients of as many plans as make one, of whichever rank; then the optimizer, on every rank alike.
//!
//! An update is `accumulate` consecutive plans with all their parts. Plan `j` of it belongs to rank `j` modulo the ranks, and its
//! random numbers depend on `j`. A plan without a usable clip adds nothing; where no plan of them has one, there is no update.

#[cfg(test)]
mod tests;

use super::Trainer;
use super::ahead::{self, Gathered, Ready};
use super::course::LOSS;
use super::optimize::Sum;
use super::totals::Totals;
use crate::data::{Batcher, Clip, Loaded, Loader, Position, Skipped};
use crate::error::Error;
use crate::feeds::Occasion;
use crate::interrupt::Wish;
use crate::ranks::{Pending, Phase, Ranks};
use crate::session::{AdamStep, Final};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// What one update did.
pub(super) struct Update {
    pub totals: Totals,
    pub samples: u64,
    pub norm: f64,
}

/// What a micro-batch gave.
#[derive(Serialize, Deserialize)]
struct Gave {
    number: u64,
    part: u64,
    totals: Totals,
    samples: u64,
}

/// What a rank tells the others of its share of an update.
#[derive(Serialize, Deserialize)]
struct Told {
    gave: Vec<Gave>,
    /// By the number of their plan.
    left_out: Vec<(u64, Skipped)>,
    wish: Option<Wish>,
    /// The bits of the last gradient norm.
    norm: u64,
    /// Seconds that its share took.
    seconds: f64,
}

/// Bits of a part's number begin here in [`Occasion::minor`].
const PARTS: u32 = 32;

impl Trainer<'_> {
    /// Splits off the clips that this task cannot use.
    fn usable(&mut self, number: u64, clips: Vec<Clip>) -> (Vec<Clip>, Vec<Vec<i32>>) {
        let (mut kept, mut labels, mut bad) = (vec![], vec![], vec![]);
        for clip in clips {
            match self.labels(&clip) {
                Ok(own) => {
                    labels.push(own);
                    kept.push(clip);
                }
                Err(reason) => bad.push(Skipped {
                    path: clip.path,
                    reason,
                }),
            }
        }
        self.left_out.extend(bad.into_iter().map(|clip| (number, clip)));
        (kept, labels)
    }

    /// The next usable clips of this rank's share, from the batches that `next` gives: of this update or, where its share of that
    /// is through, of the one after. `None` where `next` gives none in time, and where that share is through as well.
    fn gather(
        &mut self,
        loader: &mut Loader,
        next: &mut dyn FnMut(&mut Self, &mut Loader) -> Result<Option<Loaded>, Error>,
    ) -> Result<Option<Gathered>, Error> {
        let group = self.share.group;
        let ahead = (self.cursor - self.first) / group;
        let update = self.state.update + ahead;
        if ahead > 1 || update >= self.settings.count("updates", 0)? {
            return Ok(None);
        }
        let first = self.first + ahead * group;
        while self.cursor < first + group {
            let Some(loaded) = next(self, loader)? else {
                return Ok(None);
            };
            let (number, part) = (loaded.number, loaded.position.part);
            // Only a plan's last part is followed by another plan.
            self.cursor = match loaded.next.part {
                0 => self.share.next(number + 1),
                _ => number,
            };
            self.left_out
                .extend(loaded.skipped.into_iter().map(|clip| (number, clip)));
            let (clips, labels) = self.usable(number, loaded.clips);
            if clips.is_empty() {
                continue;
            }
            return Ok(Some(Gathered {
                number,
                part,
                last: self.cursor >= first + group,
                program: self.course.program(update).clone(),
                clips,
                labels,
                occasion: Occasion {
                    seed: self.task.seed,
                    major: update,
                    minor: (number - first) | part << PARTS,
                    update,
                    masks: true,
                    noise: true,
                    whole: false,
                },
            }));
        }
        Ok(None)
    }

    /// One update: gradients of `accumulate` plans, then the optimizer.
    pub(super) fn update(&mut self, loader: &mut Loader) -> Result<Update, Error> {
        loop {
            // Where a checkpoint goes on until this update is done.
            let begun = self.state.position;
            self.ranks.at_update(self.state.update);
            self.session.zero_grads()?;
            let started = Instant::now();
            let (gave, sums) = self.own_share(loader, begun)?;
            let seconds = started.elapsed().as_secs_f64();
            // Also where no plan had a usable clip: no rank knows that of all before the sums are under way.
            let program = self.course.program(self.state.update).clone();
            self.sum(&program.name, sums)?;
            let mut done = self.together(gave, seconds)?;
            self.first += self.share.group;
            self.state.position = Batcher::after(begun, self.share.group, self.in_epoch);
            if done.totals.batches > 0.0 {
                self.barren_since = None;
                self.apply(&program.name, &mut done)?;
                self.state.update += 1;
                return Ok(done);
            }
            // A whole epoch without a usable clip would go on for ever.
            let since = *self.barren_since.get_or_insert(begun);
            if self.state.position.epoch > since.epoch + 1 {
                let what = format!(
                    "no clip of the last epoch could be used ({} skipped)",
                    self.skipped.len()
                );
                let update = self.state.update;
                return Err(Error::Training { update, what });
            }
            self.attend(self.state.position)?;
        }
    }

    /// Runs this rank's plans of the update.
    fn own_share(&mut self, loader: &mut Loader, begun: Position) -> Result<(Vec<Gave>, Vec<Pending>), Error> {
        let program = self.course.program(self.state.update).clone();
        let group = self.share.group;
        let end = self.first + group;
        let (mut gave, mut sums) = (vec![], vec![]);
        loop {
            self.ranks.enter(Phase::Reading);
            let ready = match self.ahead.take() {
                Some(Ok(ready)) if ready.number >= end => {
                    self.ahead = Some(Ok(ready));
                    return Ok((gave, sums));
                }
                Some(ready) => ready?,
                None if self.cursor >= end => return Ok((gave, sums)),
                None => {
                    let mut wait = |this: &mut Self, loader: &mut Loader| this.wait(loader, begun).map(Some);
                    match self.gather(loader, &mut wait)? {
                        Some(gathered) => Ready::new(gathered, &self.feeds),
                        None => return Ok((gave, sums)),
                    }
                }
            };
            self.ranks.enter(Phase::Computing);
            let batch = ready.batch?;
            let inputs = batch.inputs.refs();
            let remedy = "lower it by --set max_tokens=N (with --set accumulate=N for the same update) or max_samples";
            self.guard.check(self.session, &program.name, &inputs, remedy)?;
            let gathered = self.gather(loader, &mut |_, loader| loader.ready_batch());
            // Nothing of this update comes after it.
            let last = ready.last && self.overlap;
            let planned = if last { self.sums(&program.name)? } else { vec![] };
            let (session, feeds, ranks) = (&mut *self.session, &self.feeds, &self.ranks);
            let outputs = ahead::beside(gathered, feeds, &mut self.ahead, || {
                if !last {
                    return session.run(&program.name, &inputs);
                }
                let done = session.run_giving(&program.name, &inputs, &mut |grads| {
                    sums.push(begin(ranks, &planned[sums.len()], &grads));
                });
                if let (Err(e), false) = (&done, sums.is_empty()) {
                    // Others are in the midst of sums, and this rank's memory is lent to them.
                    ranks.end(e);
                }
                done
            })?;
            gave.push(Gave {
                number: ready.number,
                part: ready.part,
                totals: self.course.read(&program, &batch, &outputs)?,
                samples: ready.samples,
            });
            let through = ready.number - self.first + 1;
            if through < group {
                self.log.progress(self.state.update, through as f64 / group as f64);
            }
        }
    }

    /// Exchanges with the other ranks what all shares gave, and adds it up in the order of the plans.
    fn together(&mut self, gave: Vec<Gave>, seconds: f64) -> Result<Update, Error> {
        let end = self.first + self.share.group;
        let (left_out, later) = std::mem::take(&mut self.left_out)
            .into_iter()
            .partition(|(n, _)| *n < end);
        self.left_out = later;
        let told = self.ranks.gather(Told {
            gave,
            left_out,
            wish: self.own_wish(),
            norm: self.last_norm,
            seconds,
        })?;
        let norms: Vec<u64> = told.iter().map(|t| t.norm).collect();
        self.ranks.compare("gradient norm after the last update", &norms)?;
        self.wish = wish_of_all(told.iter().filter_map(|t| t.wish));
        let seconds: Vec<f64> = told.iter().map(|t| t.seconds).collect();
        let plans: Vec<usize> = told.iter().map(|t| t.gave.len()).collect();
        self.spread.note(&seconds, &plans);
        let (mut gave, mut left_out) = (vec![], vec![]);
        for own in told {
            gave.extend(own.gave);
            left_out.extend(own.left_out);
        }
        left_out.sort_by_key(|(number, _)| *number);
        self.skip(left_out.into_iter().map(|(_, clip)| clip).collect())?;
        gave.sort_by_key(|g| (g.number, g.part));
        let mut done = Update {
            totals: Totals::default(),
            samples: 0,
            norm: 0.0,
        };
        for own in &gave {
            done.totals.add(&own.totals);
            done.samples += own.samples;
        }
        Ok(done)
    }

    /// Divides by the sample size and updates the parameters, or skips an update that is not finite.
    fn apply(&mut self, program: &str, done: &mut Update) -> Result<(), Error> {
        let update = self.state.update;
        let mut scale = 1.0 / done.totals.weight;
        done.norm = self.norm(program, scale as f32)?;
        self.last_norm = done.norm.to_bits();
        if !done.norm.is_finite() || !done.totals.get(LOSS).is_finite() {
            let what = format!(
                "the loss is {} and the gradient norm {}",
                done.totals.get(LOSS),
                done.norm
            );
            self.state.skips += 1;
            self.log
                .event(update, "not finite", &format!("{what}; this update is skipped"))?;
            let most = self.settings.count("max_skips", 0)?;
            if self.settings.text("on_nan") == Some("stop") || self.state.skips > most {
                let what = format!(
                    "{what} ({} updates in a row); try a lower lr or clip_norm",
                    self.state.skips
                );
                return Err(Error::Training { update, what });
            }
            (done.totals, done.norm) = (Totals::default(), 0.0);
            return Ok(());
        }
        self.state.skips = 0;
        let clip = self.settings.number("clip_norm")?;
        if clip > 0.0 && done.norm > clip {
            scale *= clip / done.norm;
        }
        let adam = AdamStep {
            lr: self.course.lr(update) as f32,
            beta1: self.settings.share("beta1")? as f32,
            beta2: self.settings.share("beta2")? as f32,
            eps: self.settings.number("eps")? as f32,
            weight_decay: self.settings.number("weight_decay")? as f32,
            step: update + 1,
            scale: scale as f32,
        };
        self.step(program, &adam)
    }
}

/// Begins the sum of gradients that are final.
fn begin(ranks: &Ranks, sum: &Sum, grads: &Final) -> Pending {
    assert_eq!(sum.stretch, (grads.start, grads.length), "points come in their order");
    // SAFETY: nothing writes these gradients until the next run, and nothing reads them until `Trainer::sum` has waited.
    unsafe { ranks.begin_sum(grads.values, grads.length, sum.parts.clone()) }
}

/// An end that any rank asks for goes before a checkpoint.
fn wish_of_all(all: impl Iterator<Item = Wish>) -> Option<Wish> {
    all.max_by_key(|wish| matches!(wish, Wish::End(_)))
}
