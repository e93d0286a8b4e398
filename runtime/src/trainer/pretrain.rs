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
    let start = Start::new(session, options, "pretrain", Missing::Head)?;
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
}

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

    fn warnings(&mut self, totals: &Totals) -> Vec<(&'static str, String)> {
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
        }
    }
}
