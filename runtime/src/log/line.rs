//! The progress line of a training: most important first, no wider than a terminal.

use super::pace::{clock, duration};

/// Columns of the line.
const WIDTH: usize = 80;

/// Fields in the order in which they matter; names are shortened where the full ones would take the place of others.
const ORDER: &[(&str, &str)] = &[
    ("loss_bits", "loss"),
    ("wer", "wer"),
    ("cer", "cer"),
    ("accuracy", "accuracy"),
    ("lr", "lr"),
];

/// Numbers that count things.
pub fn is_count(name: &str) -> bool {
    name == "epoch" || name.ends_with("_clips") || name == "clips_left_out"
}

/// A number, short: shares in percent, counts as integers.
pub fn brief(name: &str, v: f64) -> String {
    let size = v.abs();
    if !v.is_finite() {
        v.to_string()
    } else if is_count(name) {
        format!("{v:.0}")
    } else if matches!(name, "wer" | "cer" | "accuracy") {
        format!("{:.1} %", 100.0 * v)
    } else if v == 0.0 {
        "0".into()
    } else if !(1e-2..1e6).contains(&size) {
        format!("{v:.2e}")
    } else if size >= 1000.0 {
        format!("{v:.0}")
    } else if size >= 100.0 {
        format!("{v:.1}")
    } else {
        format!("{v:.3}")
    }
}

/// Every field as `name value`, those that matter first.
pub fn all(fields: &[(String, f64)]) -> String {
    let rank = |name: &str| ORDER.iter().position(|(n, _)| *n == name).unwrap_or(ORDER.len());
    let mut sorted: Vec<&(String, f64)> = fields.iter().collect();
    sorted.sort_by_key(|(n, _)| rank(n));
    let parts: Vec<String> = sorted.iter().map(|(n, v)| format!("{n} {}", brief(n, *v))).collect();
    parts.join("  ")
}

/// What a line is made of.
pub struct State<'a> {
    pub done: u64,
    pub total: u64,
    /// Share of the update that is under way.
    pub part: f64,
    /// Of the last training report, and of the last validation.
    pub train: &'a [(String, f64)],
    pub valid: &'a [(String, f64)],
    /// Seconds until the end.
    pub left: Option<f64>,
}

/// The line; what does not fit is left out, the last first.
pub fn progress(s: &State) -> String {
    let share = 100.0 * (s.done as f64 + s.part) / s.total.max(1) as f64;
    let mut line = format!("{}/{}", s.done, s.total);
    let mut parts = vec![format!("{share:.0} %")];
    for (name, short) in ORDER {
        let of = |fields: &[(String, f64)]| fields.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
        // Of a rate that only validation gives.
        let found = of(s.train).or_else(|| of(s.valid));
        parts.extend(found.map(|v| format!("{short} {}", brief(name, v))));
    }
    parts.extend(
        s.left
            .map(|left| format!("{} left, until {}", duration(left), clock(left))),
    );
    let speed = s.train.iter().find(|(n, _)| n == "audio_hours_per_hour");
    parts.extend(speed.map(|(_, v)| format!("{v:.0} h/h")));
    for part in parts {
        if line.chars().count() + 2 + part.chars().count() <= WIDTH {
            line = line + "  " + &part;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: f64) -> (String, f64) {
        (name.into(), value)
    }

    #[test]
    fn the_line_holds_what_matters_within_80_columns() {
        let train = [
            field("frame_bits", 1.0),
            field("loss_bits", 123.456),
            field("grad_norm", 1.0),
            field("lr", 5e-4),
            field("audio_hours_per_hour", 33.4),
        ];
        let valid = [field("loss_bits", 9.0), field("wer", 0.525), field("cer", 0.214)];
        let state = |left| State {
            done: 250,
            total: 1500,
            part: 0.0,
            train: &train,
            valid: &valid,
            left,
        };
        let line = progress(&state(None));
        assert_eq!(
            line,
            "250/1500  17 %  loss 123.5  wer 52.5 %  cer 21.4 %  lr 5.00e-4  33 h/h"
        );
        for left in [1.0, 600.0, 1e4, 1e7] {
            let line = progress(&state(Some(left)));
            assert!(line.chars().count() <= 80, "{line}");
            assert!(
                line.contains("loss 123.5  wer 52.5 %  cer 21.4 %  lr 5.00e-4"),
                "{line}"
            );
        }
        assert_eq!(
            progress(&State {
                train: &[],
                valid: &[],
                ..state(None)
            }),
            "250/1500  17 %"
        );
    }

    #[test]
    fn counts_are_whole_and_what_matters_comes_first() {
        let fields = [
            field("epoch", 3.0),
            field("train_clips", 281_241.0),
            field("wer", 0.525),
            field("loss_bits", 3.0),
            field("grad_norm", f64::NAN),
        ];
        assert_eq!(
            all(&fields),
            "loss_bits 3.000  wer 52.5 %  epoch 3  train_clips 281241  grad_norm NaN"
        );
    }
}
