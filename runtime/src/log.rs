//! What a training says: a progress line, and one JSON object per line in `log.jsonl`.

use crate::atomic::write_text;
use crate::error::Error;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// The log of one training.
pub struct Log {
    path: PathBuf,
    file: File,
    bar: ProgressBar,
    terminal: bool,
}

impl Log {
    /// Opens `log.jsonl`; lines beyond `done` updates, left by a run that was killed after its last checkpoint, go.
    pub fn open(dir: &Path, done: u64, total: u64) -> Result<Log, Error> {
        let path = dir.join("log.jsonl");
        if path.exists() {
            let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
            let update = |line: &str| serde_json::from_str::<Value>(line).ok()?.get("update")?.as_u64();
            let kept: String = text
                .lines()
                .filter(|l| update(l).is_some_and(|u| u <= done))
                .map(|l| format!("{l}\n"))
                .collect();
            if kept != text {
                write_text(&path, &kept)?;
            }
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let bar = ProgressBar::new(total).with_position(done);
        let style = ProgressStyle::with_template("{pos}/{len} [{bar:20}] eta {eta}  {wide_msg}");
        bar.set_style(style.expect("the template is fixed"));
        Ok(Log {
            path,
            file,
            bar,
            terminal: std::io::stderr().is_terminal(),
        })
    }

    pub fn progress(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// Reports numbers, in the file by their names and on the line in short.
    pub fn report(&mut self, update: u64, kind: &str, fields: &[(String, f64)]) -> Result<(), Error> {
        let mut object = Map::new();
        object.insert("kind".into(), kind.into());
        object.insert("update".into(), update.into());
        for (name, value) in fields {
            // JSON knows no NaN; its absence would hide it.
            let number = serde_json::Number::from_f64(*value).map_or_else(|| json!(value.to_string()), Value::Number);
            object.insert(name.clone(), number);
        }
        self.write(&Value::Object(object))?;
        let short = fields
            .iter()
            .map(|(n, v)| format!("{n} {}", brief(*v)))
            .collect::<Vec<_>>()
            .join("  ");
        if kind == "train" && self.terminal {
            self.bar.set_message(short);
        } else {
            self.say(&format!("{kind} {update}: {short}"));
        }
        Ok(())
    }

    /// Reports something that happened, under a name to search for.
    pub fn event(&mut self, update: u64, name: &str, message: &str) -> Result<(), Error> {
        self.write(&json!({ "kind": "event", "update": update, "event": name, "message": message }))?;
        self.say(&format!("{name}: {message}"));
        Ok(())
    }

    fn write(&mut self, value: &Value) -> Result<(), Error> {
        // One call per line, so that a kill cannot leave two half lines.
        self.file
            .write_all(format!("{value}\n").as_bytes())
            .map_err(Error::io("write", &self.path))
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| tell(line));
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A line on the standard error stream, where there still is one: a training outlives its terminal.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn brief(v: f64) -> String {
    let size = v.abs();
    if v == 0.0 {
        "0".into()
    } else if !(1e-3..1e6).contains(&size) {
        format!("{v:.2e}")
    } else if size >= 1000.0 {
        format!("{v:.0}")
    } else {
        format!("{v:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_after_the_checkpoint_go_and_nan_stays_visible() {
        let tmp = tempfile::tempdir().unwrap();
        let mut log = Log::open(tmp.path(), 0, 9).unwrap();
        for update in 1..=4 {
            log.report(
                update,
                "train",
                &[("loss".into(), if update == 2 { f64::NAN } else { 0.5 })],
            )
            .unwrap();
        }
        drop(log);
        let mut log = Log::open(tmp.path(), 2, 9).unwrap();
        log.event(3, "collapse", "group 0").unwrap();
        let text = std::fs::read_to_string(tmp.path().join("log.jsonl")).unwrap();
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            (&lines[1]["loss"], &lines[2]["event"]),
            (&json!("NaN"), &json!("collapse"))
        );
    }
}
