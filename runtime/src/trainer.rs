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
mod load;
mod opening;
mod optimize;
pub(crate) mod predict;
mod prepare;
mod rules;
mod skipped;
mod spread;
mod start;
mod target;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::tuned as test_weights;
mod totals;
mod transcribe;
mod update;
mod validate;

pub use classify::Classifier;
pub use hearing::{Hearing, Logits, Part, Sound, Transcript, With};
pub use load::Load;
pub use prepare::{Options, check, train};
pub(crate) use rules::Rules;
pub use target::labels_of;
pub use transcribe::{Transcriber, text_task, transcribe_file};

use crate::data::{Batcher, Clip, Corpus, Limits, Loader, Position, Skipped, Task};
use crate::error::Error;
use crate::feeds::Feeds;
use crate::interrupt::{Signals, Wish};
use crate::log::Log;
use crate::memory::Guard;
use crate::ranks::{Phase, Ranks, Share};
use crate::run::{Run, State};
use crate::session::Session;
use crate::settings::Settings;
use ahead::Ready;
use course::Course;
use ir::artifact::Artifact;
use judge::Judge;
use spread::Spread;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use totals::Totals;

/// Frames a clip must have: two can be hidden, and two are left to see.
pub const LEAST_FRAMES: usize = 4;

/// Everything a training needs, prepared.
struct Trainer<'a> {
    ranks: Ranks,
    /// This rank's plans.
    share: Share,
    /// Plans of an epoch.
    in_epoch: u64,
    /// Plans before this update since the loader began, and the next that this rank reads.
    first: u64,
    cursor: u64,
    /// The bits of the last gradient norm: the same on every rank.
    last_norm: u64,
    /// The program by whose ranges moments are divided among the ranks; `None`: every rank has all.
    divided_by: Option<String>,
    /// Sums of gradients begin while others are computed.
    overlap: bool,
    /// What signals to any rank ask for.
    wish: Option<Wish>,
    spread: Spread,
    session: &'a mut dyn Session,
    artifact: Artifact,
    settings: Settings,
    feeds: Feeds,
    course: Course,
    judge: Option<Judge>,
    /// Patterns of the parameters that have a row per class, and the number in files of each class.
    order: Option<(Vec<String>, Vec<usize>)>,
    /// Rank 0's alone.
    run: Option<Run>,
    log: Log,
    state: State,
    train: Arc<Corpus>,
    valid: Arc<Corpus>,
    limits: Limits,
    task: Task,
    guard: Guard,
    /// Clips that could not be used, each told once.
    skipped: BTreeSet<PathBuf>,
    /// The first plan since the last usable clip.
    barren_since: Option<Position>,
    /// The batch after the last one that was run, if it was ready in time, or why there is none.
    ahead: Option<Result<Ready, Error>>,
    /// Clips that were left out on the way to it, by plan, told with the update of that plan.
    left_out: Vec<(u64, Skipped)>,
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
        let share = (batcher, self.share);
        let mut loader = Loader::new(self.train.clone(), share, self.state.position, threads, self.task);
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
        self.still_here()?;
        if self.state.due {
            let begun = Instant::now();
            self.ranks.enter(Phase::Validating);
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

    /// The labels of a clip, none where the task has no use for any, or why it cannot be learnt from.
    fn labels(&self, clip: &Clip) -> Result<Vec<i32>, String> {
        let frames = self.feeds.geometry().frames(clip.wave.len());
        if frames < LEAST_FRAMES {
            return Err(format!("it has {frames} frame(s) and training needs {LEAST_FRAMES}"));
        }
        self.feeds.label().map_or(Ok(vec![]), |label| label.of(clip, frames))
    }

    fn report(&mut self, window: Window) -> Result<(), Error> {
        self.tell_skipped()?;
        let update = self.state.update;
        for event in self.ranks.take_events() {
            self.log.event(update, "stalled", &event)?;
        }
        let ranks = &self.ranks;
        if let Some(slow) = self.spread.slow(|rank| ranks.name(rank)) {
            self.log.event(update, "slow rank", &slow)?;
        }
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
        fields.extend(self.spread.report());
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
