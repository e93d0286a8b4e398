//! Reads `log.jsonl` of a run.

use crate::error::Error;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// A number at an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub update: u64,
    pub value: f64,
    /// Seconds since 1970.
    pub time: f64,
}

/// A recording of the validation data, what was said, and what the model heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub path: String,
    pub reference: String,
    pub hypothesis: String,
}

/// How many values lie from each edge to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    pub title: String,
    pub edges: Vec<f64>,
    pub counts: Vec<f64>,
}

/// A run's log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunLog {
    pub name: String,
    /// By kind (`train`, `valid`) and name.
    pub series: BTreeMap<(String, String), Vec<Point>>,
    pub settings: BTreeMap<String, String>,
    /// The numbers of the line that began the run, and model and command.
    pub start: BTreeMap<String, String>,
    /// Of the last validation that had any, with its update.
    pub samples: (u64, Vec<Sample>),
    /// The last of each title.
    pub histograms: Vec<Histogram>,
    /// Update, name and message.
    pub events: Vec<(u64, String, String)>,
    /// Seconds of wall time, and updates.
    pub seconds: f64,
    pub updates: u64,
}

/// Fields that are no numbers to plot.
const FRAME: [&str; 4] = ["kind", "update", "time", "seconds"];

impl RunLog {
    /// Reads the log of a run folder.
    ///
    /// # Errors
    /// Where there is no log, or one without a line that can be read. Single lines that cannot are passed over: a run may be
    /// writing one.
    pub fn read(dir: &Path) -> Result<RunLog, Error> {
        let path = dir.join("log.jsonl");
        let bytes = crate::atomic::read(&path).map_err(Error::io("read", &path))?;
        let text = String::from_utf8_lossy(&bytes);
        let mut run = RunLog {
            name: dir.display().to_string().trim_end_matches('/').to_string(),
            ..RunLog::default()
        };
        let mut any = false;
        for line in text.lines() {
            if let Ok(Value::Object(object)) = serde_json::from_str(line) {
                any |= run.line(&object).is_some();
            }
        }
        match any {
            true => Ok(run),
            false => Err(Error::data(
                path.display(),
                "it has no line of a training",
                "name the folder of a run",
            )),
        }
    }

    fn line(&mut self, object: &Map<String, Value>) -> Option<()> {
        let kind = object.get("kind")?.as_str()?;
        let update = object.get("update")?.as_u64()?;
        self.updates = self.updates.max(update);
        self.seconds = object.get("seconds").and_then(Value::as_f64).unwrap_or(self.seconds);
        let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_string);
        match kind {
            "event" => self.events.push((update, text("event")?, text("message")?)),
            "start" => {
                let numbers = object.iter().filter(|(n, _)| !FRAME.contains(&n.as_str()));
                self.start.extend(numbers.map(|(n, v)| (n.clone(), plain(v))));
            }
            "settings" => {
                let values = object.get("values")?.as_object()?;
                self.settings = values.iter().map(|(n, v)| (n.clone(), plain(v))).collect();
                for name in ["model", "command"] {
                    self.start.extend(text(name).map(|t| (name.to_string(), t)));
                }
            }
            "sample" => {
                let own = Sample {
                    path: text("path")?,
                    reference: text("reference")?,
                    hypothesis: text("hypothesis")?,
                };
                if self.samples.0 != update {
                    self.samples = (update, vec![]);
                }
                self.samples.1.push(own);
            }
            "histogram" => {
                let numbers = |name: &str| -> Option<Vec<f64>> {
                    object.get(name)?.as_array()?.iter().map(Value::as_f64).collect()
                };
                let own = Histogram {
                    title: text("title")?,
                    edges: numbers("edges")?,
                    counts: numbers("counts")?,
                };
                self.histograms.retain(|h| h.title != own.title);
                self.histograms.push(own);
            }
            _ => {
                let stamp = text("time").and_then(|t| t.parse::<jiff::Timestamp>().ok());
                let time = stamp.map_or(0.0, |t| t.as_second() as f64);
                for (name, value) in object.iter().filter(|(n, _)| !FRAME.contains(&n.as_str())) {
                    // What is not finite was written as a word.
                    let value = value.as_f64().unwrap_or(f64::NAN);
                    let key = (kind.to_string(), name.clone());
                    self.series.entry(key).or_default().push(Point { update, value, time });
                }
            }
        }
        Some(())
    }

    /// The last value of a number.
    pub fn last(&self, kind: &str, name: &str) -> Option<f64> {
        let points = self.series.get(&(kind.to_string(), name.to_string()))?;
        points.last().map(|p| p.value)
    }

    /// The lowest value of a number, and its update.
    pub fn lowest(&self, kind: &str, name: &str) -> Option<(f64, u64)> {
        let points = self.series.get(&(kind.to_string(), name.to_string()))?;
        let finite = points.iter().filter(|p| p.value.is_finite());
        finite
            .min_by(|a, b| a.value.total_cmp(&b.value))
            .map(|p| (p.value, p.update))
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Number(n) => n
            .as_f64()
            .filter(|f| f.fract() == 0.0)
            .map_or(n.to_string(), |f| format!("{f:.0}")),
        other => other.to_string(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A run folder with a log that has every kind of line.
    pub fn write(dir: &Path, shift: f64) {
        let mut text = String::new();
        let mut put = |value: Value| text += &format!("{value}\n");
        let frame = |kind: &str, update: u64, rest: Value| {
            let mut object = serde_json::json!({"kind": kind, "update": update, "time": "2026-01-31T12:00:00Z",
                "seconds": update as f64});
            object
                .as_object_mut()
                .unwrap()
                .extend(rest.as_object().unwrap().clone());
            object
        };
        let values = serde_json::json!({"lr": 0.001 + shift, "on_nan": "skip", "normalize": true});
        put(frame(
            "settings",
            0,
            serde_json::json!({"values": values, "model": "tiny", "command": "finetune"}),
        ));
        put(frame(
            "start",
            0,
            serde_json::json!({"train_clips": 67, "train_seconds": 485.4}),
        ));
        for update in 1..=400u64 {
            let loss = 5.0 / (1.0 + update as f64 / 50.0) + shift;
            let loss = if update == 7 {
                serde_json::json!("NaN")
            } else {
                loss.into()
            };
            let lr = 1e-3 * (update.min(100) as f64 / 100.0);
            put(frame(
                "train",
                update,
                serde_json::json!({"loss_bits": loss, "lr": lr, "epoch": update / 9}),
            ));
            if update % 100 == 0 {
                let wer = 0.9 - update as f64 / 800.0;
                put(frame(
                    "valid",
                    update,
                    serde_json::json!({"loss_bits": 2.0 + shift, "wer": wer}),
                ));
                let heard = "SEVEN <TO> ONE";
                put(frame(
                    "sample",
                    update,
                    serde_json::json!({"path": "a/1.wav", "reference": "SEVEN TWO ONE",
                    "hypothesis": heard}),
                ));
            }
        }
        put(frame(
            "histogram",
            0,
            serde_json::json!({"title": "seconds", "edges": [0, 5, 10, 15], "counts": [3, 9, 1]}),
        ));
        put(frame(
            "event",
            9,
            serde_json::json!({"event": "warning", "message": "one <clip> & more"}),
        ));
        // A line that is being written.
        text += "{\"kind\": \"tra";
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("log.jsonl"), text).unwrap();
    }

    #[test]
    fn every_kind_of_line_is_read_and_a_torn_one_passed_over() {
        let tmp = tempfile::tempdir().unwrap();
        write(&tmp.path().join("run"), 0.0);
        let run = RunLog::read(&tmp.path().join("run")).unwrap();
        assert_eq!((run.updates, run.seconds), (400, 9.0));
        let loss = &run.series[&("train".to_string(), "loss_bits".to_string())];
        assert!(loss.len() == 400 && loss[6].value.is_nan() && loss[7].value > 0.0);
        assert_eq!(loss[0].time, 1_769_860_800.0);
        assert_eq!(run.lowest("valid", "wer"), Some((0.4, 400)));
        assert_eq!((run.samples.0, run.samples.1.len()), (400, 1));
        assert_eq!(run.settings["lr"], "0.001");
        assert_eq!(
            (run.start["train_clips"].as_str(), run.start["model"].as_str()),
            ("67", "tiny")
        );
        assert_eq!((run.histograms.len(), run.events.len()), (1, 1));
        assert!(RunLog::read(tmp.path()).unwrap_err().to_string().contains("log.jsonl"));
    }
}
