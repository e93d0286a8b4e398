//! Clips that are left out: why, how many, and whether that is too many.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A clip that could not be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    #[serde(with = "super::path")]
    pub path: PathBuf,
    pub reason: String,
}

/// The reason for which silent clips are left out.
pub const SILENT: &str = "it is silent";

/// Share of the clips that may be left out without `--allow-skips`.
pub const DEFAULT_SHARE: f64 = 0.02;

/// Examples of each reason, and reasons, that a table shows.
const EXAMPLES: usize = 2;
const REASONS: usize = 12;

/// The reason that an error gives, without the path, which stands before it anyway.
pub(super) fn reason(error: &Error) -> String {
    match error {
        Error::Audio { what, remedy, .. } => format!("{what}; {remedy}"),
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => "there is no such file".into(),
        other => other.to_string(),
    }
}

/// Reasons that differ in numbers and names alone are one.
fn kind(reason: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    for c in reason.chars() {
        match c {
            '`' => {
                quoted = !quoted;
                if quoted {
                    out.push_str("`…`");
                }
            }
            _ if quoted => {}
            '0'..='9' | '.' if out.ends_with('N') => {}
            '0'..='9' => out.push('N'),
            c => out.push(c),
        }
    }
    out
}

/// The reasons, each with its count and examples, the most frequent first.
pub(crate) fn table(skipped: &[Skipped]) -> String {
    let mut by_kind: BTreeMap<String, Vec<&Skipped>> = BTreeMap::new();
    for one in skipped {
        by_kind.entry(kind(&one.reason)).or_default().push(one);
    }
    let mut kinds: Vec<Vec<&Skipped>> = by_kind.into_values().collect();
    kinds.sort_by_key(|k| std::cmp::Reverse(k.len()));
    let mut out = String::new();
    for kind in kinds.iter().take(REASONS) {
        let names: Vec<String> = kind
            .iter()
            .take(EXAMPLES)
            .map(|s| s.path.display().to_string())
            .collect();
        let more = if kind.len() > EXAMPLES { ", ..." } else { "" };
        out += &format!("\n  {:>7}  {} ({}{more})", kind.len(), kind[0].reason, names.join(", "));
    }
    let rest: usize = kinds.iter().skip(REASONS).map(Vec::len).sum();
    if rest > 0 {
        out += &format!("\n  {rest:>7}  {} other reasons", kinds.len() - REASONS);
    }
    out
}

/// Whether more clips are left out than may be. One always may: of a handful it is a large share, and it is named.
pub fn too_many(skipped: usize, all: usize, share: f64) -> bool {
    skipped > 1 && skipped as f64 > share * all as f64
}

/// # Errors
/// Where more clips of a data set are left out than `share` allows.
pub(crate) fn enough_left(place: &str, skipped: &[Skipped], left: (usize, f64), share: f64) -> Result<(), Error> {
    let (clips, hours) = left;
    let all = clips + skipped.len();
    if !too_many(skipped.len(), all, share) {
        return Ok(());
    }
    let what = format!(
        "{} of {all} clips would be left out, {clips} clips of {hours:.2} h would stay:{}\n ",
        skipped.len(),
        table(skipped)
    );
    let remedy = format!(
        "repair them, change the settings that refuse them, or continue without them with --allow-skips; by default {:.0} % may be left out",
        100.0 * DEFAULT_SHARE
    );
    Err(Error::data(place, what, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_one_line_per_reason() {
        let skip = |i: usize, reason: String| Skipped {
            path: format!("{i}.wav").into(),
            reason,
        };
        let mut all: Vec<Skipped> = (0..40)
            .map(|i| skip(i, format!("it has {i}.5 samples of `x{i}`")))
            .collect();
        all.push(skip(99, "there is no such file".into()));
        let text = table(&all);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(
            text.contains("     40  it has 0.5 samples of `x0` (0.wav, 1.wav, ...)"),
            "{text}"
        );
        let said = enough_left("d.tsv", &all, (100, 1.5), 0.02).unwrap_err().to_string();
        assert!(
            said.contains("41 of 141") && said.contains("1.50 h") && said.contains("--allow-skips"),
            "{said}"
        );
        enough_left("d.tsv", &all, (100, 1.5), 0.5).unwrap();
        enough_left("d.tsv", &all[..1], (2, 0.1), 0.02).unwrap();
        enough_left("d.tsv", &all[..2], (2, 0.1), 0.02).unwrap_err();
        enough_left("d.tsv", &all[..2], (200, 0.1), 0.02).unwrap();
    }
}
