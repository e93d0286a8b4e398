//! Speed of some work, and its remaining time.

use std::collections::VecDeque;

/// Seconds between the marks that the speed is taken from, and how many of them are kept: a quarter of an hour.
const APART: f64 = 60.0;
const MARKS: usize = 15;

/// Speed over the last quarter of an hour.
#[derive(Clone, Debug)]
pub struct Pace {
    /// (seconds, done)
    marks: VecDeque<(f64, f64)>,
    now: (f64, f64),
}

impl Pace {
    /// Starts with so much done, at second 0.
    pub fn new(done: f64) -> Pace {
        Pace {
            marks: VecDeque::from([(0.0, done)]),
            now: (0.0, done),
        }
    }

    pub fn at(&mut self, seconds: f64, done: f64) {
        self.now = (seconds, done);
        if self.marks.back().is_some_and(|(s, _)| seconds - s >= APART) {
            self.marks.push_back(self.now);
        }
        while self.marks.len() > MARKS {
            self.marks.pop_front();
        }
    }

    /// Seconds until `total`, where anything has been done yet.
    pub fn left(&self, total: f64) -> Option<f64> {
        let (then, before) = *self.marks.front()?;
        let (seconds, done) = (self.now.0 - then, self.now.1 - before);
        (done > 0.0).then(|| seconds / done * (total - self.now.1).max(0.0))
    }
}

/// A duration in the two largest units that matter.
pub fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0).round();
    let (minute, hour, day) = (60.0, 3600.0, 86_400.0);
    if s < minute {
        format!("{s:.0} s")
    } else if s < hour {
        format!("{:.0} min", (s / minute).round())
    } else if s < day {
        let minutes = (s / minute).round();
        format!("{:.0} h {:02.0} min", (minutes / 60.0).floor(), minutes % 60.0)
    } else {
        let hours = (s / hour).round();
        format!("{:.0} d {:.0} h", (hours / 24.0).floor(), hours % 24.0)
    }
}

/// The local time so many seconds from now: the hour, with the day where it is another; nothing where there is no such time.
pub fn clock(seconds: f64) -> String {
    let now = jiff::ZonedDateTime::now();
    let Ok(span) = jiff::SignedDuration::try_from_secs_f64(seconds.min(1e10)) else {
        return String::new();
    };
    match now.checked_add(span) {
        Ok(then) if then.date() == now.date() => then.strftime("%H:%M").to_string(),
        Ok(then) => then.strftime("%Y-%m-%d %H:%M").to_string(),
        Err(_) => String::new(),
    }
}

/// The time now, as in 2026-01-31T12:00:00Z.
pub fn stamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_the_speed_of_late() {
        let mut pace = Pace::new(100.0);
        assert_eq!(pace.left(200.0), None);
        pace.at(10.0, 110.0);
        assert_eq!(pace.left(200.0), Some(90.0));
        // Slower from here on: after a quarter of an hour the fast start is forgotten.
        for minute in 1..40 {
            pace.at(10.0 + 60.0 * minute as f64, 110.0 + minute as f64);
        }
        let left = pace.left(159.0).unwrap();
        assert!((left - 600.0).abs() < 1.0, "{left}");
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (0.4, "0 s"),
            (59.0, "59 s"),
            (90.0, "2 min"),
            (3599.0, "60 min"),
            (3660.0, "1 h 01 min"),
            (7199.0, "2 h 00 min"),
            (100_000.0, "1 d 4 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(clock(0.0).len(), 5);
        assert!(clock(3e6).len() == 16 && stamp().ends_with('Z'));
    }
}
