//! Estimates time and memory of a training from one step on synthetic clips, timed before the first update.
//! The step's gradients are discarded and its random numbers come from separate streams, so results are the
//! same bits with and without it.

use super::Trainer;
use crate::data::Plan;
use crate::error::Error;
use crate::feeds::{Batch, Clips, Feeds, Occasion};
use crate::log::pace::{clock, duration};
use crate::memory::{Guard, available};
use crate::random::{Purpose, Stream};
use ir::artifact::Program;
use std::time::Instant;

/// A training of fewer updates is not worth a measurement.
const LEAST_UPDATES: u64 = 20;

/// A step that took less is timed again: the first also allocates and, on a GPU, compiles.
const WARM: f64 = 2.0;

/// Time of an optimizer step in norms of the gradients: it goes through four arenas, three of which it writes.
const NORMS: f64 = 6.0;

/// A forward pass is a third of a step.
const FORWARD: f64 = 1.0 / 3.0;

/// What a training will take.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    pub seconds: f64,
    pub updates: u64,
    pub epochs: f64,
    /// Of one epoch.
    pub hours: f64,
    /// Parameters, gradients, moments and the activations of the largest batch; `None` where they are on a device.
    pub bytes: Option<usize>,
}

impl Estimate {
    /// In one line.
    pub fn text(&self) -> String {
        let gib = |bytes: usize| format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64);
        let mut text = format!(
            "about {} on this machine, until {}: {} updates of {:.2} s; {:.1} epochs of {:.2} h of audio",
            duration(self.seconds),
            clock(self.seconds),
            self.updates,
            self.seconds / self.updates.max(1) as f64,
            self.epochs,
            self.hours
        );
        if let Some(bytes) = self.bytes {
            text += &format!("; {} of memory", gib(bytes));
            text += &available().map_or(String::new(), |free| format!(", {} free", gib(free)));
        }
        text
    }
}

impl Trainer<'_> {
    /// Times a step of each program that the rest of the training runs. `None` where that is switched off or not worth it.
    pub(super) fn estimate(&mut self) -> Result<Option<Estimate>, Error> {
        let (total, done) = (self.settings.count("updates", 0)?, self.state.update);
        let left = total.saturating_sub(done);
        if !self.settings.flag("estimate")? || left < LEAST_UPDATES {
            return Ok(None);
        }
        let mut plans = self.batcher(&self.train, true).epoch(0);
        plans.sort_by_key(|p| self.samples(p));
        let (Some(middle), Some(largest)) = (plans.get(plans.len() / 2).cloned(), plans.last().cloned()) else {
            return Ok(None);
        };
        let stretches = self.course.stretches(done, total);
        let Some(last) = stretches.last().map(|(program, _)| program.clone()) else {
            return Ok(None);
        };

        let accumulate = self.settings.count("accumulate", 1)? as f64;
        // Ranks work side by side.
        let in_turn = (accumulate / self.ranks.size() as f64).ceil();
        let mut seconds = 0.0;
        let mut step = 0.0;
        for (program, updates) in stretches {
            let Some(batch) = self.made_up(&program, &middle) else {
                return Ok(None);
            };
            let inputs = batch.inputs.refs();
            if Guard::default()
                .check(self.session, &program.name, &inputs, "")
                .is_err()
            {
                // The training itself says so, with what can be done.
                return Ok(None);
            }
            step = self.time(&program.name, &batch)?;
            let begun = Instant::now();
            self.session.grad_norm(&program.name, 1.0)?;
            let optimizer = NORMS * begun.elapsed().as_secs_f64();
            seconds += updates as f64 * (in_turn * step + optimizer);
        }
        self.session.zero_grads()?;

        let audio: f64 = self
            .train
            .lengths
            .iter()
            .map(|n| (*n).min(self.limits.max_crop) as f64)
            .sum();
        let held: f64 = self.valid.lengths.iter().map(|n| *n as f64).sum();
        let validations = left as f64 / self.settings.count("validate_every", 1)? as f64;
        let ranks = self.ranks.size() as f64;
        seconds += validations.ceil() * FORWARD * step * held / (self.samples(&middle) as f64).max(1.0) / ranks;
        let bytes = match (self.session.device_bytes(), self.made_up(&last, &largest)) {
            (None, Some(batch)) => {
                let activations = self.session.peak_bytes(&last.name, &batch.inputs.refs())?;
                // Parameters, gradients and two moments.
                Some(activations + 4 * 4 * self.artifact.param_elements)
            }
            _ => None,
        };
        Ok(Some(Estimate {
            seconds,
            updates: left,
            epochs: left as f64 * accumulate / plans.len() as f64,
            hours: audio / crate::audio::RATE as f64 / 3600.0,
            bytes,
        }))
    }

    /// Lengths of a plan's clips as they will be.
    fn lengths(&self, plan: &Plan) -> Vec<usize> {
        plan.clips
            .iter()
            .map(|i| self.train.lengths[*i].min(plan.crop))
            .collect()
    }

    /// Samples of a plan's batch, padding included.
    fn samples(&self, plan: &Plan) -> usize {
        let lengths = self.lengths(plan);
        lengths.len() * lengths.iter().max().copied().unwrap_or(0)
    }

    /// A batch of noise with the sizes of a plan; `None` where none can be made.
    fn made_up(&self, program: &Program, plan: &Plan) -> Option<Batch> {
        noise(&self.feeds, program, &self.lengths(plan))
    }

    fn time(&mut self, program: &str, batch: &Batch) -> Result<f64, Error> {
        let inputs = batch.inputs.refs();
        let mut seconds = 0.0;
        for _ in 0..2 {
            let begun = Instant::now();
            self.session.run(program, &inputs)?;
            seconds = begun.elapsed().as_secs_f64();
            if seconds > WARM {
                break;
            }
        }
        Ok(seconds)
    }
}

/// A batch of noise of clips of these lengths; `None` where none can be made.
pub(super) fn noise(feeds: &Feeds, program: &Program, lengths: &[usize]) -> Option<Batch> {
    let mut stream = Stream::new(1, Purpose::Synthetic, 0, 0);
    let waves: Vec<Vec<f32>> = lengths
        .iter()
        .map(|n| (0..*n).map(|_| 0.1 * (2.0 * stream.uniform() - 1.0)).collect())
        .collect();
    let labels = feeds.made_up_labels(&waves, &mut stream);
    let waves: Vec<&[f32]> = waves.iter().map(Vec::as_slice).collect();
    let clips = Clips {
        waves: &waves,
        labels: &labels,
    };
    let occasion = Occasion {
        whole: false,
        ..Occasion::MEASURED
    };
    feeds.draw(program, clips, &occasion).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_a_training_takes() {
        let estimate = Estimate {
            seconds: 14_400.0,
            updates: 1500,
            epochs: 45.25,
            hours: 0.193,
            bytes: Some(3 << 29),
        };
        let text = estimate.text();
        for part in [
            "about 4 h 00 min",
            "1500 updates of 9.60 s",
            "45.2 epochs of 0.19 h",
            "1.5 GiB of memory",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
