//! Training: updates, checkpoints, validation and reports, the same for every task.

mod advice;
mod ahead;
mod classify;
mod course;
mod estimate;
mod fit;
mod hearing;
mod judge;
mod keep;
pub(crate) mod letters;
mod listen;
mod opening;
pub(crate) mod predict;
mod prepare;
mod rules;
mod skipped;
mod target;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::tuned as test_weights;
mod totals;
mod transcribe;
mod validate;

pub use classify::Classifier;
pub use hearing::{Hearing, Logits, Part, Sound, Transcript, With};
pub use prepare::{Options, check, train};
pub(crate) use rules::Rules;
pub use target::labels_of;
pub use transcribe::{Transcriber, text_task, transcribe_file};

use crate::data::{Batcher, Clip, Corpus, Limits, Loaded, Loader, Position, Skipped, Task};
use crate::error::Error;
use crate::feeds::{Feeds, Occasion};
use crate::interrupt::Signals;
use crate::log::Log;
use crate::memory::Guard;
use crate::run::{Run, State};
use crate::session::{AdamStep, Session};
use crate::settings::Settings;
use ahead::{Gathered, Ready};
use course::{Course, LOSS};
use ir::artifact::Artifact;
use judge::Judge;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use totals::Totals;

/// Frames a clip must have: two can be hidden, and two are left to see.
pub const LEAST_FRAMES: usize = 4;

/// Everything a training needs, prepared.
struct Trainer<'a> {
    session: &'a mut dyn Session,
    artifact: Artifact,
    settings: Settings,
    feeds: Feeds,
    course: Course,
    judge: Option<Judge>,
    /// Patterns of the parameters that have a row per class, and the number in files of each class.
    order: Option<(Vec<String>, Vec<usize>)>,
    run: Run,
    log: Log,
    state: State,
    train: Arc<Corpus>,
    valid: Arc<Corpus>,
    limits: Limits,
    task: Task,
    guard: Guard,
    /// Clips that could not be used, each told once.
    skipped: BTreeSet<PathBuf>,
    /// The first of the batches since the last usable clip.
    barren_since: Option<Position>,
    /// The batch after the last one that was run, if it was ready in time, or why there is none.
    ahead: Option<Result<Ready, Error>>,
    /// Clips that were left out on the way to it, told when it is run.
    left_out: Vec<Skipped>,
    signals: Signals,
    /// What the newest checkpoint holds.
    saved: Option<State>,
    /// The update of which a finite validation is the proof that its weights can be gone on with.
    proven: Option<u64>,
    /// A checkpoint is owed: its turn came while updates were skipped.
    owed: bool,
    /// Clips of the data, those that are left out among them, and the share that may be.
    clips: usize,
    allowed: f64,
    /// Clips that are left out since that was last told.
    untold: Vec<Skipped>,
    /// Clips among those that are left out that are silent.
    silent: usize,
    /// Whether silent validation clips were told.
    silent_told: bool,
}

/// Sums of the updates since the last report.
struct Window {
    totals: Totals,
    updates: u64,
    samples: u64,
    norm: f64,
    since: Instant,
}

impl Window {
    fn new() -> Window {
        Window {
            totals: Totals::default(),
            updates: 0,
            samples: 0,
            norm: 0.0,
            since: Instant::now(),
        }
    }
}

/// What one update did.
struct Update {
    totals: Totals,
    samples: u64,
    norm: f64,
}

impl Trainer<'_> {
    fn batcher(&self, corpus: &Corpus, shuffle: bool) -> Batcher {
        Batcher::new(corpus.lengths.clone(), self.limits, self.task.seed, shuffle)
    }

    /// Trains to the end; returns the updates done.
    fn train(mut self) -> Result<u64, Error> {
        let outcome = self.updates();
        match outcome {
            Err(Error::Training { update, what }) => Err(self.failed(update, what)),
            other => other,
        }
    }

    fn updates(&mut self) -> Result<u64, Error> {
        let updates = self.settings.count("updates", 0)?;
        let report = self.settings.count("log_every", 1)?;
        if self.state.update >= updates && self.state.best.is_none() {
            self.state.due = true;
        }
        // The validation that a stopped training left, before anything is learnt.
        if self.state.due {
            self.settle(&mut Window::new())?;
        }
        let batcher = self.batcher(&self.train, true);
        let threads = self.settings.count("loaders", 1)? as usize;
        let mut loader = Loader::new(self.train.clone(), batcher, self.state.position, threads, self.task);
        let mut window = Window::new();
        while self.state.update < updates {
            let done = self.update(&mut loader)?;
            window.totals.add(&done.totals);
            window.samples += done.samples;
            self.log.hear(done.samples);
            window.norm += done.norm;
            window.updates += 1;
            let (now, last) = (self.state.update, self.state.update == updates);
            if now % report == 0 || last {
                self.report(std::mem::replace(&mut window, Window::new()))?;
            }
            self.state.due = now % self.settings.count("validate_every", 1)? == 0 || last;
            self.settle(&mut window)?;
            self.log.progress(now, 0.0);
            self.attend(self.state.position)?;
        }
        self.log.finish();
        Ok(self.state.update)
    }

    /// Does what the last update asks for: validation, and a checkpoint.
    fn settle(&mut self, window: &mut Window) -> Result<(), Error> {
        self.run.still_here()?;
        if self.state.due {
            let begun = Instant::now();
            self.validate()?;
            self.state.due = false;
            // Speed is that of the updates alone.
            window.since += begun.elapsed();
        }
        let (now, last) = (self.state.update, self.settings.count("updates", 0)?);
        self.owed |= now % self.settings.count("save_every", 1)? == 0;
        // Skipped updates leave nothing new, and nothing that is known to be good.
        if (self.owed && self.state.skips == 0) || now >= last {
            self.save(&self.state.clone())?;
            // Without a validation that could score one, the latest is the best there is.
            if self.state.best.is_none() {
                self.export()?;
            }
        }
        Ok(())
    }

    /// Splits off the clips that this task cannot use.
    fn usable(&mut self, clips: Vec<Clip>) -> (Vec<Clip>, Vec<Vec<i32>>) {
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
        self.left_out.extend(bad);
        (kept, labels)
    }

    /// The labels of a clip, none where the task has no use for any, or why it cannot be learnt from.
    fn labels(&self, clip: &Clip) -> Result<Vec<i32>, String> {
        let frames = self.feeds.geometry().frames(clip.wave.len());
        if frames < LEAST_FRAMES {
            return Err(format!("it has {frames} frame(s) and training needs {LEAST_FRAMES}"));
        }
        self.feeds.label().map_or(Ok(vec![]), |label| label.of(clip, frames))
    }

    /// Clips for a micro-batch of an update, from the batches that `next` gives; `None` if it gives none before one is usable.
    fn gather(
        &mut self,
        loader: &mut Loader,
        (update, micro): (u64, u64),
        next: &mut dyn FnMut(&mut Self, &mut Loader) -> Result<Option<Loaded>, Error>,
    ) -> Result<Option<Gathered>, Error> {
        if update >= self.settings.count("updates", 0)? {
            return Ok(None);
        }
        while let Some(loaded) = next(self, loader)? {
            self.left_out.extend(loaded.skipped);
            let (clips, labels) = self.usable(loaded.clips);
            if !clips.is_empty() {
                self.barren_since = None;
                return Ok(Some(Gathered {
                    next: loaded.next,
                    program: self.course.program(update).clone(),
                    clips,
                    labels,
                    occasion: Occasion {
                        seed: self.task.seed,
                        major: update,
                        minor: micro,
                        update,
                        masks: true,
                        noise: true,
                        whole: false,
                    },
                }));
            }
            // A whole epoch without a usable clip would go on for ever.
            let since = *self.barren_since.get_or_insert(loaded.position);
            if loaded.position.epoch > since.epoch + 1 {
                let left_out = self.left_out.iter().map(|clip| &clip.path);
                let skipped = self.skipped.iter().chain(left_out).collect::<BTreeSet<_>>().len();
                let what = format!("no clip of the last epoch could be used ({skipped} skipped)");
                return Err(Error::Training { update, what });
            }
        }
        Ok(None)
    }

    /// One update: gradients of `accumulate` micro-batches, then the optimizer.
    fn update(&mut self, loader: &mut Loader) -> Result<Update, Error> {
        let accumulate = self.settings.count("accumulate", 1)?;
        let program = self.course.program(self.state.update).clone();
        // Where a checkpoint goes on until this update is done.
        let begun = self.state.position;
        let mut done = Update {
            totals: Totals::default(),
            samples: 0,
            norm: 0.0,
        };
        self.session.zero_grads()?;
        for micro in 0..accumulate {
            let ready = match self.ahead.take() {
                Some(ready) => ready?,
                None => {
                    let mut wait = |this: &mut Self, loader: &mut Loader| this.wait(loader, begun).map(Some);
                    let gathered = self.gather(loader, (self.state.update, micro), &mut wait)?;
                    let gathered = gathered.expect("who waits gets a batch");
                    Ready::new(gathered, &self.feeds)
                }
            };
            let left_out = std::mem::take(&mut self.left_out);
            self.skip(left_out)?;
            self.state.position = ready.next;
            let batch = ready.batch?;
            let inputs = batch.inputs.refs();
            let remedy = "lower it by --set max_tokens=N (with --set accumulate=N for the same update) or max_samples";
            self.guard.check(self.session, &program.name, &inputs, remedy)?;
            let following = match micro + 1 < accumulate {
                true => (self.state.update, micro + 1),
                false => (self.state.update + 1, 0),
            };
            let gathered = self.gather(loader, following, &mut |_, loader| loader.ready_batch());
            let (session, feeds) = (&mut *self.session, &self.feeds);
            let outputs = ahead::beside(gathered, feeds, &mut self.ahead, || session.run(&program.name, &inputs))?;
            done.totals.add(&self.course.read(&program, &batch, &outputs)?);
            done.samples += ready.samples;
            if micro + 1 < accumulate {
                self.log
                    .progress(self.state.update, (micro + 1) as f64 / accumulate as f64);
            }
        }
        self.apply(&program.name, &mut done)?;
        self.state.update += 1;
        Ok(done)
    }

    /// Divides by the sample size and updates the parameters, or skips an update that is not finite.
    fn apply(&mut self, program: &str, done: &mut Update) -> Result<(), Error> {
        let update = self.state.update;
        let mut scale = 1.0 / done.totals.weight;
        done.norm = self.session.grad_norm(program, scale as f32)?.sqrt();
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
        self.session.adam(program, &adam)
    }

    fn report(&mut self, window: Window) -> Result<(), Error> {
        self.tell_skipped()?;
        let update = self.state.update;
        let mut fields = self.course.report(&window.totals);
        let seconds = window.since.elapsed().as_secs_f64();
        fields.push(("grad_norm".into(), window.norm / window.updates.max(1) as f64));
        let last = update.saturating_sub(1);
        fields.push(("lr".into(), self.course.lr(last)));
        fields.extend(self.feeds.logged(last));
        let speed = window.samples as f64 / seconds.max(1e-9);
        fields.push(("samples_per_second".into(), speed));
        // How many times as fast as it plays.
        fields.push(("audio_hours_per_hour".into(), speed / crate::audio::RATE as f64));
        fields.push(("epoch".into(), self.state.position.epoch as f64));
        if !self.skipped.is_empty() {
            fields.push(("skipped_clips".into(), self.skipped.len() as f64));
        }
        self.log.report(update, "train", &fields)?;
        for (name, message) in self.course.warnings(update, &window.totals) {
            self.log.event(update, &name, &message)?;
        }
        Ok(())
    }
}
