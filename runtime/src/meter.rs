//! Progress of work that takes longer than a moment, on the standard error stream: a line that is kept up to date on a
//! terminal, a line now and then elsewhere, nothing at all where it is over soon.

use crate::log::tell;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long nothing is said, and the time between lines where there is no terminal.
const QUIET: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_secs(30);

pub struct Meter {
    what: &'static str,
    total: u64,
    begun: Instant,
    terminal: bool,
    state: Mutex<State>,
}

struct State {
    done: u64,
    /// Seconds of sound, where the work has to do with sound.
    sound: f64,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Meter {
    /// Counts up to `total`; `what` reads after "12 of 40".
    pub fn new(what: &'static str, total: u64) -> Meter {
        let begun = Instant::now();
        Meter {
            what,
            total,
            begun,
            terminal: std::io::stderr().is_terminal(),
            state: Mutex::new(State {
                done: 0,
                sound: 0.0,
                bar: None,
                said: begun,
            }),
        }
    }

    pub fn add(&self, count: u64) {
        self.add_sound(count, 0.0);
    }

    /// As [`Meter::add`], with seconds of sound.
    pub fn add_sound(&self, count: u64, seconds: f64) {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        state.done += count;
        state.sound += seconds;
        if self.begun.elapsed() < QUIET {
            return;
        }
        let line = self.line(&state);
        if self.terminal {
            let bar = state.bar.get_or_insert_with(|| {
                let bar = ProgressBar::with_draw_target(Some(self.total), ProgressDrawTarget::stderr());
                bar.set_style(ProgressStyle::with_template("{wide_msg}").expect("the template is fixed"));
                bar
            });
            bar.set_message(line);
        } else if state.said.elapsed() >= BETWEEN || state.said == self.begun {
            state.said = Instant::now();
            tell(&line);
        }
    }

    fn line(&self, state: &State) -> String {
        let seconds = self.begun.elapsed().as_secs_f64();
        let speed = match state.sound > 0.0 {
            true => format!(", {:.0} times as fast as it plays", state.sound / seconds),
            false => String::new(),
        };
        let left = seconds / state.done.max(1) as f64 * self.total.saturating_sub(state.done) as f64;
        format!(
            "{} of {} {}{speed}, {} left",
            state.done,
            self.total,
            self.what,
            clock(left)
        )
    }

    /// Writes to standard output without breaking the line.
    pub fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        let bar = self.state.lock().unwrap_or_else(|e| e.into_inner()).bar.clone();
        match bar {
            Some(bar) => bar.suspend(work),
            None => work(),
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.state.lock().unwrap_or_else(|e| e.into_inner()).bar {
            bar.finish_and_clear();
        }
    }
}

fn clock(seconds: f64) -> String {
    let s = seconds as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min", s / 60),
        _ => format!("{} h {} min", s / 3600, s / 60 % 60),
    }
}
