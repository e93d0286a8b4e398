//! Progress of work other than training: a bar on a terminal, elsewhere a line after two seconds and then once a
//! minute.

use super::pace::{Pace, clock, duration};
use super::tell;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Until the first line, and from one line to the next.
const FIRST: Duration = Duration::from_secs(2);
const APART: Duration = Duration::from_secs(60);

/// Work of a number of parts, which is known or (0) is not.
pub struct Progress {
    what: &'static str,
    total: u64,
    done: u64,
    begun: Instant,
    next: Duration,
    pace: Pace,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// `what` is counted, in the plural: "recordings transcribed".
    pub fn new(what: &'static str, total: usize) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let (bar, template) = match total {
                0 => (ProgressBar::no_length(), "{pos} {msg}"),
                n => (ProgressBar::new(n as u64), "{pos}/{len} {msg} [{bar:20}] {eta} left"),
            };
            bar.set_style(ProgressStyle::with_template(template).expect("the template is fixed"));
            bar.with_message(what)
        });
        Progress {
            what,
            total: total as u64,
            done: 0,
            begun: Instant::now(),
            next: FIRST,
            pace: Pace::new(0.0),
            bar,
        }
    }

    /// Of which nobody knows how much there is.
    pub fn counting(what: &'static str) -> Progress {
        Progress::new(what, 0)
    }

    /// One more part is done.
    pub fn step(&mut self) {
        self.done += 1;
        let elapsed = self.begun.elapsed();
        self.pace.at(elapsed.as_secs_f64(), self.done as f64);
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        } else if elapsed >= self.next {
            self.next = elapsed + APART;
            let left = self.pace.left(self.total as f64).unwrap_or(0.0);
            let (done, total, what) = (self.done, self.total, self.what);
            if total == 0 {
                return tell(&format!("{done} {what}"));
            }
            tell(&format!(
                "{done}/{total} {what}  {} left, until {}",
                duration(left),
                clock(left)
            ));
        }
    }

    /// How far one part is that takes long by itself: so many seconds of audio of all of it, heard in `took` seconds.
    pub fn within(&mut self, name: &str, (done, total): (f64, f64), took: f64) {
        let elapsed = self.begun.elapsed();
        if self.bar.is_none() && elapsed < self.next || done >= total || took <= 0.0 || done <= 0.0 {
            return;
        }
        let (heard, all, speed) = (duration(done), duration(total), done / took);
        let left = (total - done) / speed;
        let text = format!(
            "{name}: {heard} of {all} heard, {speed:.0} times as fast as it was spoken  {} left, until {}",
            duration(left),
            clock(left)
        );
        match &self.bar {
            Some(bar) => bar.set_message(text),
            None => {
                self.next = elapsed + APART;
                tell(&text);
            }
        }
    }

    /// Ends what [`Progress::within`] showed.
    pub fn over(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message(self.what);
        }
    }

    /// Writes to standard output or error around the bar.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
