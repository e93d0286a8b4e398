//! Pretraining: telling the hidden frame's code from its negatives.

use super::objective::{Objective, Score, Totals, need, sum_of};
use super::prepare::{Corpora, Options, Start, limits, train};
use crate::batch::Batch;
use crate::data::Clip;
use crate::error::Error;
use crate::geometry::Geometry;
use crate::schedule;
use crate::session::{Session, Tensor};
use crate::settings::Settings;
use crate::weights::Missing;
use std::f64::consts::LN_2;

/// Pretrains, into a run folder; returns the updates done.
pub fn pretrain(session: &mut dyn Session, options: &Options) -> Result<u64, Error> {
    let start = Start::new(session, options, "pretrain", Missing::Head, None)?;
    let settings = &start.settings;
    let mut objective = Pretraining::new(settings)?;
    let possible = Geometry::new(&start.artifact)?.least_samples(super::LEAST_FRAMES);
    let least = settings.count("min_samples", 0)? as usize;
    let most = settings.count("max_samples", 1)? as usize;
    let keep = |_: &crate::data::Utterance, length: usize| match length >= least {
        true if length >= possible => Ok(()),
        true => Err(format!("it has {length} samples and training needs {possible}")),
        false => Err(format!("it has {length} samples and min_samples is {least}")),
    };
    let corpora = Corpora::open(options, settings, &keep)?;
    let limits = limits(
        settings,
        most.min(settings.count("max_tokens", 1)? as usize),
        !settings.flag("pad")?,
    )?;
    train(session, &mut objective, start, corpora, limits, None)
}

struct Pretraining {
    peak: f64,
    warmup: u64,
    updates: u64,
    temperature: [f64; 3],
    /// A group below this perplexity has collapsed.
    threshold: f64,
    collapsed: bool,
    /// Bits of a guess among the target and its negatives.
    chance: f64,
    stuck: bool,
}

/// Nearer to a guess than this, in bits, nothing has been learnt.
const NEAR_CHANCE: f64 = 0.02;

impl Pretraining {
    fn new(s: &Settings) -> Result<Pretraining, Error> {
        Ok(Pretraining {
            peak: s.number("lr")?,
            warmup: s.count("warmup", 0)?,
            updates: s.count("updates", 0)?,
            temperature: [
                s.number("temperature_start")?,
                s.number("temperature_decay")?,
                s.number("temperature_floor")?,
            ],
            threshold: s.number("collapse_perplexity")?,
            collapsed: false,
            chance: (s.count("negatives", 1)? as f64 + 1.0).log2(),
            stuck: false,
        })
    }
}

/// Perplexities of the groups, averaged over micro-batches.
fn perplexities(totals: &Totals) -> Vec<f64> {
    totals
        .iter()
        .filter(|(n, _)| n.starts_with("perplexity_"))
        .map(|(_, v)| v / totals.batches)
        .collect()
}

impl Objective for Pretraining {
    fn command(&self) -> &'static str {
        "pretrain"
    }

    fn program(&self, _: u64) -> &'static str {
        "pretrain"
    }

    fn lr(&self, update: u64) -> f64 {
        schedule::linear(self.peak, self.warmup, self.updates, update)
    }

    fn temperature(&self, update: u64) -> Option<f64> {
        let [start, decay, floor] = self.temperature;
        Some(schedule::temperature(start, decay, floor, update))
    }

    fn labels(&self, _: &Clip, _: usize) -> Result<Vec<i32>, String> {
        Ok(vec![])
    }

    fn read(&self, batch: &Batch, outputs: &[(String, Tensor)]) -> Result<Totals, Error> {
        let mut sums = vec![("loss".to_string(), need(outputs, "pretrain", "loss")?)];
        for name in ["contrastive", "diversity", "feature_l2", "correct"] {
            sums.extend(sum_of(outputs, name).map(|v| (name.to_string(), v)));
        }
        if let Some(groups) = outputs
            .iter()
            .find(|(n, _)| n == "perplexity")
            .and_then(|(_, t)| t.as_f32())
        {
            sums.extend(
                groups
                    .iter()
                    .enumerate()
                    .map(|(g, p)| (format!("perplexity_{g}"), *p as f64)),
            );
        }
        Ok(Totals::of(batch.masked as f64, sums))
    }

    fn report(&self, totals: &Totals) -> Vec<(String, f64)> {
        let n = totals.weight;
        let mut fields = vec![("loss_bits".to_string(), totals.get("loss") / n / LN_2)];
        for name in ["contrastive", "diversity", "feature_l2"] {
            fields.extend(totals.find(name).map(|v| (format!("{name}_bits"), v / n / LN_2)));
        }
        fields.extend(totals.find("correct").map(|v| ("accuracy".to_string(), v / n)));
        fields.extend(
            perplexities(totals)
                .iter()
                .enumerate()
                .map(|(g, p)| (format!("perplexity_{g}"), *p)),
        );
        fields.push(("masked_frames".into(), n / totals.batches.max(1.0)));
        fields
    }

    fn warnings(&mut self, update: u64, totals: &Totals) -> Vec<(&'static str, String)> {
        let mut all = self.collapse(totals);
        all.extend(self.stuck(update, totals));
        all
    }

    fn masks_in_validation(&self) -> bool {
        true
    }

    fn observe(&mut self, _: &mut dyn Session, _: &[Clip], _: &Batch, _: &[(String, Tensor)]) -> Result<(), Error> {
        Ok(())
    }

    fn score(&mut self, totals: &Totals) -> Score {
        let contrastive = totals.find("contrastive").unwrap_or(totals.get("loss"));
        Score {
            key: vec![contrastive / totals.weight],
            fields: self.report(totals),
            warnings: vec![],
            records: vec![],
        }
    }
}

impl Pretraining {
    /// After the warm-up the contrastive loss is still that of a guess: told once, and again if it comes back.
    fn stuck(&mut self, update: u64, totals: &Totals) -> Option<(&'static str, String)> {
        let loss = totals.find("contrastive").filter(|_| totals.weight > 0.0)? / totals.weight / LN_2;
        let near = update >= self.warmup.max(1) && (loss - self.chance).abs() <= NEAR_CHANCE;
        let was = std::mem::replace(&mut self.stuck, near);
        let message = format!(
            "the contrastive loss is {loss:.2} bits after the warm-up, and a guess among {:.0} gives {:.2}: nothing has been \
             learnt yet. What got a small model going: a higher lr (2e-3), mask_prob=0.5 and mask_length=5, no dropout of any \
             kind, and a model compiled with --set feature_grad_mult=1 --set feature_l2=1 (docs/results.md)",
            self.chance.exp2(),
            self.chance
        );
        (near && !was).then_some(("stuck at chance", message))
    }

    fn collapse(&mut self, totals: &Totals) -> Vec<(&'static str, String)> {
        let lowest = perplexities(totals)
            .into_iter()
            .enumerate()
            .min_by(|a, b| a.1.total_cmp(&b.1));
        let Some((group, perplexity)) = lowest.filter(|_| totals.weight > 0.0) else {
            return vec![];
        };
        let was = std::mem::replace(&mut self.collapsed, perplexity < self.threshold);
        if was || !self.collapsed {
            return vec![];
        }
        let message = format!(
            "group {group} uses {perplexity:.2} codes: the quantizer has collapsed and the loss no longer means \
             anything; start again with a lower lr, a longer warmup or more data per update"
        );
        vec![("codebook collapse", message)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    #[test]
    fn a_loss_of_a_guess_after_the_warm_up_is_named_once() {
        let mut settings = Settings::new(&fake::artifact(), "pretrain").unwrap();
        settings.set("warmup=100").unwrap();
        let mut p = Pretraining::new(&settings).unwrap();
        let totals = |bits: f64| Totals::of(50.0, vec![("contrastive".into(), 50.0 * bits * LN_2)]);
        // Of 1 + 5.
        let chance = 6f64.log2();
        assert!(p.warnings(99, &totals(chance)).is_empty(), "still warming up");
        assert!(p.warnings(100, &totals(chance - 0.03)).is_empty());
        let said = p.warnings(100, &totals(chance - 0.019));
        assert_eq!(said.len(), 1);
        assert!(
            said[0].0 == "stuck at chance" && said[0].1.contains("guess among 6 gives 2.58"),
            "{}",
            said[0].1
        );
        assert!(p.warnings(110, &totals(chance)).is_empty(), "told once");
        assert!(p.warnings(120, &totals(1.0)).is_empty());
        assert_eq!(p.warnings(130, &totals(chance + 0.01)).len(), 1, "it has come back");
        assert!(
            p.warnings(140, &Totals::default()).is_empty(),
            "every update was skipped"
        );
    }
}
