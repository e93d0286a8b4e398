//! Which values a setting takes.

use crate::artifact::SettingValue;
use Range::{Above, Below, Choice, Real, Switch, Whole};
use serde::{Deserialize, Serialize};

/// The values that make sense for a setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Range {
    /// A whole number from the first to the second, both included.
    Whole(f64, f64),
    /// A number from the first to the second, both included.
    Real(f64, f64),
    /// A number above the first, up to the second.
    Above(f64, f64),
    /// A number from the first on, below the second.
    Below(f64, f64),
    /// true or false.
    Switch,
    /// One of these words.
    Choice(Vec<String>),
}

/// Whole numbers of seconds, samples and updates beyond these are slips: they would overflow later on.
pub const UPDATES: Range = Whole(0.0, 1e9);
pub const EVERY: Range = Whole(1.0, 1e9);
pub const SAMPLES: Range = Whole(0.0, 1e9);
pub const SHARE: Range = Real(0.0, 1.0);
/// Of what is dropped: with 1 nothing would be left to scale up.
pub const RATE: Range = Below(0.0, 1.0);

impl Range {
    /// The range in words, as in "takes ...".
    pub fn words(&self) -> String {
        let to = |low: f64, high: f64| {
            if high.is_finite() {
                format!("{} to {}", number(low), number(high))
            } else {
                format!("{} or more", number(low))
            }
        };
        match self {
            Whole(low, high) => format!("a whole number, {}", to(*low, *high)),
            Real(low, high) => format!("a number, {}", to(*low, *high)),
            Above(low, high) if high.is_finite() => {
                format!("a number above {}, up to {}", number(*low), number(*high))
            }
            Above(low, _) => format!("a number above {}", number(*low)),
            Below(low, high) => format!("a number, {} to below {}", number(*low), number(*high)),
            Switch => "true or false".into(),
            Choice(words) => words.join(" or "),
        }
    }

    /// The range in short, for a table.
    pub fn short(&self) -> String {
        let to = |low: f64, high: f64| {
            if high.is_finite() {
                format!("{}..{}", number(low), number(high))
            } else {
                format!("{}..", number(low))
            }
        };
        match self {
            Whole(low, high) => format!("whole {}", to(*low, *high)),
            Real(low, high) => to(*low, *high),
            Above(low, high) if high.is_finite() => format!("above {} to {}", number(*low), number(*high)),
            Above(low, _) => format!("above {}", number(*low)),
            Below(low, high) => format!("{} to below {}", number(*low), number(*high)),
            Switch => "true|false".into(),
            Choice(words) => words.join("|"),
        }
    }

    /// Whether the value lies in the range.
    pub fn holds(&self, value: &SettingValue) -> bool {
        use SettingValue::{Flag, Number, Text};
        match (self, value) {
            (Whole(low, high), Number(n)) => n.fract() == 0.0 && low <= n && n <= high,
            (Real(low, high), Number(n)) => low <= n && n <= high,
            (Above(low, high), Number(n)) => low < n && n <= high,
            (Below(low, high), Number(n)) => low <= n && n < high,
            (Switch, Flag(_)) => true,
            (Choice(words), Text(t)) => words.contains(t),
            _ => false,
        }
    }
}

fn number(n: f64) -> String {
    if n.abs() >= 1e6 {
        format!("{n:e}")
    } else {
        n.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SettingValue::{Flag, Number, Text};

    #[test]
    fn edges_belong_where_the_words_say_so() {
        for (range, inside, outside) in [
            (
                Whole(1.0, 9.0),
                vec![1.0, 9.0],
                vec![0.0, 10.0, 1.5, -1.0, f64::NAN, f64::INFINITY],
            ),
            (SHARE, vec![0.0, 1.0, 0.5], vec![-0.1, 1.1, f64::NAN]),
            (Above(0.0, f64::INFINITY), vec![1e-9, 1e9], vec![0.0, -1.0, f64::NAN]),
            (RATE, vec![0.0, 0.999], vec![1.0, -0.1, f64::NAN]),
        ] {
            assert!(inside.iter().all(|n| range.holds(&Number(*n))), "{range:?}");
            assert!(outside.iter().all(|n| !range.holds(&Number(*n))), "{range:?}");
        }
        let word = Choice(vec!["skip".into(), "stop".into()]);
        assert!(word.holds(&Text("stop".into())) && !word.holds(&Text("stpo".into())) && !word.holds(&Flag(true)));
        assert!(Switch.holds(&Flag(false)) && !Switch.holds(&Number(1.0)) && !SHARE.holds(&Flag(true)));
        assert_eq!(word.words(), "skip or stop");
        assert_eq!(Whole(1.0, 1e9).words(), "a whole number, 1 to 1e9");
        assert_eq!(Above(0.0, f64::INFINITY).short(), "above 0");
    }
}
