//! Reports before the first update.

use super::Trainer;
use super::advice::{Facts, warnings};
use super::judge::Judge;
use crate::error::Error;
use crate::settings::show;
use serde_json::{Map, Value, json};

/// Bars of a histogram.
const BARS: usize = 20;

/// A record of kind `histogram`: how many values lie from each edge to the next.
pub fn histogram(title: &str, values: &[f64]) -> Map<String, Value> {
    let (low, high) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    let (low, high) = if low < high {
        (low, high)
    } else {
        (low - 0.5, low + 0.5)
    };
    let step = (high - low) / BARS as f64;
    let mut counts = vec![0u64; BARS];
    for v in values {
        counts[(((v - low) / step) as usize).min(BARS - 1)] += 1;
    }
    let edges: Vec<f64> = (0..=BARS).map(|i| low + i as f64 * step).collect();
    Map::from_iter([
        ("title".to_string(), json!(title)),
        ("edges".into(), json!(edges)),
        ("counts".into(), json!(counts)),
    ])
}

impl Trainer<'_> {
    /// Writes settings and data into the log, and says how long training will take and what does not fit. `started`: weights
    /// were given, or the run goes on from its own.
    pub(super) fn introduce(&mut self, started: bool) -> Result<(), Error> {
        let update = self.state.update;
        let values: Map<String, Value> = self
            .settings
            .list()
            .iter()
            .map(|s| (s.name.clone(), json!(show(&s.value))))
            .collect();
        let settings = Map::from_iter([
            ("model".to_string(), json!(self.artifact.name)),
            ("command".into(), json!(self.course.task)),
            ("values".into(), Value::Object(values)),
        ]);
        self.log.record(update, "settings", settings)?;
        let seconds = |n: &usize| *n as f64 / crate::audio::RATE as f64;
        let lengths: Vec<f64> = self.train.lengths.iter().map(seconds).collect();
        if !lengths.is_empty() {
            self.log.record(
                update,
                "histogram",
                histogram("length of training clips, seconds", &lengths),
            )?;
        }
        let texts = self.train.utterances.iter().zip(&lengths);
        let density: Vec<f64> = texts
            .filter_map(|(u, s)| Some(u.text.as_ref()?.chars().count() as f64 / s))
            .filter(|d| d.is_finite())
            .collect();
        if matches!(self.judge, Some(Judge::Text(_))) && !density.is_empty() {
            let title = "letters per second of training clips";
            self.log.record(update, "histogram", histogram(title, &density))?;
        }

        let estimate = self.estimate()?;
        if let Some(estimate) = &estimate {
            self.log.event(update, "estimate", &estimate.text())?;
        }
        let facts = Facts {
            task: self.course.task.clone(),
            other_weights: self.course.other_weights,
            updates: self.settings.count("updates", 0)?,
            last_phase: self.course.last_phase(),
            warmup: self.course.warmup(),
            accumulate: self.settings.count("accumulate", 1)?,
            batches: self.batcher(&self.train, true).epoch(0).len() as u64,
            train_clips: self.train.len(),
            valid_clips: self.valid.len(),
            started,
            seconds: estimate.map(|e| e.seconds),
        };
        for warning in warnings(&facts) {
            self.log.event(update, "warning", &warning)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_value_is_in_one_bar(values in prop::collection::vec(-1e6f64..1e6, 1..50)) {
            let h = histogram("x", &values);
            let counts: Vec<u64> = serde_json::from_value(h["counts"].clone()).unwrap();
            let edges: Vec<f64> = serde_json::from_value(h["edges"].clone()).unwrap();
            prop_assert_eq!(counts.iter().sum::<u64>() as usize, values.len());
            prop_assert_eq!(edges.len(), counts.len() + 1);
            prop_assert!(edges.windows(2).all(|e| e[0] < e[1]));
        }
    }
}
