//! What a training says: a progress line, and one JSON object per line in `log.jsonl`.

mod line;
pub mod pace;
mod progress;

pub use progress::Progress;

use crate::atomic::{open_own, write_text};
use crate::error::Error;
use indicatif::{ProgressBar, ProgressStyle};
use pace::Pace;
use serde_json::{Map, Value, json};
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// From one progress line to the next where there is no terminal.
const APART: Duration = Duration::from_secs(60);

/// The log of one training.
pub struct Log {
    path: PathBuf,
    /// `None`: nothing is written or said, as another process does it.
    file: Option<File>,
    bar: ProgressBar,
    terminal: bool,
    total: u64,
    begun: Instant,
    /// Seconds and seconds of audio before this process, by the last line it left.
    before: [f64; 2],
    heard: f64,
    pace: Pace,
    /// When the last progress line was told.
    told: Option<Instant>,
    train: Vec<(String, f64)>,
    valid: Vec<(String, f64)>,
}

impl Log {
    /// Opens `log.jsonl`; lines beyond `done` updates, left by a run that was killed after its last checkpoint, go.
    pub fn open(dir: &Path, done: u64, total: u64) -> Result<Log, Error> {
        let path = dir.join("log.jsonl");
        let mut before = [0.0; 2];
        let known = std::fs::symlink_metadata(&path);
        if known.as_ref().is_ok_and(|m| !m.is_file()) {
            return Err(Error::run(&path, "it is no regular file", "move it away"));
        }
        if known.is_ok() {
            let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
            // After a loss of power the last lines may be anything.
            let text = String::from_utf8_lossy(&bytes);
            let mut kept = String::new();
            for line in text.lines() {
                let Ok(value) = serde_json::from_str::<Value>(line) else {
                    continue;
                };
                if value["update"].as_u64().is_some_and(|u| u <= done) {
                    kept = kept + line + "\n";
                    let number = |name: &str| value[name].as_f64();
                    before[0] = number("seconds").unwrap_or(before[0]);
                    before[1] = number("audio_hours").map_or(before[1], |h| 3600.0 * h);
                }
            }
            if kept != text {
                write_text(&path, &kept)?;
            }
        }
        let file = open_own(OpenOptions::new().create(true).append(true), &path).map_err(Error::io("open", &path))?;
        Ok(Log::of(path, Some(file), (done, total), before))
    }

    /// A log of nothing.
    pub fn mute(done: u64, total: u64) -> Log {
        Log::of(PathBuf::new(), None, (done, total), [0.0; 2])
    }

    fn of(path: PathBuf, file: Option<File>, (done, total): (u64, u64), before: [f64; 2]) -> Log {
        let bar = ProgressBar::new(total).with_position(done);
        bar.set_style(ProgressStyle::with_template("{wide_msg}").expect("the template is fixed"));
        Log {
            path,
            file,
            bar,
            terminal: std::io::stderr().is_terminal(),
            total,
            begun: Instant::now(),
            before,
            heard: 0.0,
            pace: Pace::new(done as f64),
            told: None,
            train: vec![],
            valid: vec![],
        }
    }

    /// Shows how far the training is: so many updates and a part of the next. On a terminal the line changes in place; elsewhere
    /// there is one at once and then one a minute.
    pub fn progress(&mut self, done: u64, part: f64) {
        if self.file.is_none() {
            return;
        }
        self.pace.at(self.begun.elapsed().as_secs_f64(), done as f64 + part);
        let line = line::progress(&line::State {
            done,
            total: self.total,
            part,
            train: &self.train,
            valid: &self.valid,
            left: self.pace.left(self.total as f64),
        });
        if self.terminal {
            self.bar.set_message(line);
        } else if self.told.is_none_or(|told| told.elapsed() >= APART) {
            self.told = Some(Instant::now());
            tell(&line);
        }
    }

    /// Counts audio that was trained on.
    pub fn hear(&mut self, samples: u64) {
        self.heard += samples as f64 / crate::audio::RATE as f64;
    }

    /// Reports numbers: in the file by their names; those of training on the progress line, others on a line of their own.
    pub fn report(&mut self, update: u64, kind: &str, fields: &[(String, f64)]) -> Result<(), Error> {
        let mut object = Map::new();
        for (name, value) in fields {
            let number = match line::is_count(name) {
                true => json!(*value as u64),
                // JSON knows no NaN; its absence would hide it.
                false => serde_json::Number::from_f64(*value).map_or_else(|| json!(value.to_string()), Value::Number),
            };
            object.insert(name.clone(), number);
        }
        if kind == "train" {
            object.insert("audio_hours".into(), json!((self.before[1] + self.heard) / 3600.0));
        }
        self.write(update, kind, object)?;
        match kind {
            "train" => self.train = fields.to_vec(),
            _ => {
                if kind == "valid" {
                    self.valid = fields.to_vec();
                }
                self.say(&format!("{kind} {update}: {}", line::all(fields)));
            }
        }
        Ok(())
    }

    /// Reports something that happened, under a name to search for.
    pub fn event(&mut self, update: u64, name: &str, message: &str) -> Result<(), Error> {
        let object = [("event", name), ("message", message)].map(|(n, v)| (n.to_string(), v.into()));
        self.write(update, "event", Map::from_iter(object))?;
        self.say(&format!("{name}: {message}"));
        Ok(())
    }

    /// Writes what only a report shows: samples and histograms.
    pub fn record(&mut self, update: u64, kind: &str, value: Map<String, Value>) -> Result<(), Error> {
        self.write(update, kind, value)
    }

    fn write(&mut self, update: u64, kind: &str, rest: Map<String, Value>) -> Result<(), Error> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let seconds = self.before[0] + self.begun.elapsed().as_secs_f64();
        let mut object = Map::new();
        object.insert("kind".into(), kind.into());
        object.insert("update".into(), update.into());
        object.insert("time".into(), pace::stamp().into());
        object.insert("seconds".into(), json!((1000.0 * seconds).round() / 1000.0));
        object.extend(rest);
        // One call per line, so that a kill cannot leave two half lines.
        file.write_all(format!("{}\n", Value::Object(object)).as_bytes())
            .map_err(Error::io("write", &self.path))
    }

    /// Makes what was reported survive a loss of power.
    pub fn sync(&self) -> Result<(), Error> {
        let sync = |file: &File| file.sync_data().map_err(Error::io("sync", &self.path));
        self.file.as_ref().map_or(Ok(()), sync)
    }

    fn say(&self, line: &str) {
        if self.file.is_some() {
            self.bar.suspend(|| tell(line));
        }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A line on the standard error stream, where there still is one: a training outlives its terminal.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_after_the_checkpoint_go_and_nan_stays_visible() {
        let tmp = tempfile::tempdir().unwrap();
        let mut log = Log::open(tmp.path(), 0, 9).unwrap();
        for update in 1..=4 {
            log.hear(16_000 * 3600);
            let loss = if update == 2 { f64::NAN } else { 0.5 };
            log.report(update, "train", &[("loss".into(), loss), ("epoch".into(), 3.0)])
                .unwrap();
        }
        drop(log);
        let mut log = Log::open(tmp.path(), 2, 9).unwrap();
        log.event(3, "collapse", "group 0").unwrap();
        log.hear(16_000 * 3600);
        log.report(3, "train", &[]).unwrap();
        let text = std::fs::read_to_string(tmp.path().join("log.jsonl")).unwrap();
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(
            (&lines[1]["loss"], &lines[2]["event"]),
            (&json!("NaN"), &json!("collapse"))
        );
        assert_eq!(lines[0]["epoch"].to_string(), "3", "a count is written as one");
        // A resumed run counts on from where it was.
        assert_eq!(lines[3]["audio_hours"], json!(3.0));
        let seconds: Vec<f64> = lines.iter().map(|l| l["seconds"].as_f64().unwrap()).collect();
        assert!(seconds.is_sorted(), "{seconds:?}");
        assert!(lines.iter().all(|l| l["time"].as_str().is_some_and(|t| t.len() == 20)));
    }
}
