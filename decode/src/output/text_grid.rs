//! Praat's TextGrid: tiers of intervals that cover the recording without gaps.

use super::{Detail, Layout, Transcript, parts};
use std::fmt::Write;

pub fn write(transcript: &Transcript, detail: Detail, layout: &Layout) -> String {
    let tiers: &[(&str, Detail)] = match detail {
        Detail::Segment => &[("segments", Detail::Segment)],
        Detail::Word => &[("segments", Detail::Segment), ("words", Detail::Word)],
        Detail::Char => &[
            ("segments", Detail::Segment),
            ("words", Detail::Word),
            ("letters", Detail::Char),
        ],
    };
    let end = transcript.duration;
    let mut out = String::from("File type = \"ooTextFile\"\nObject class = \"TextGrid\"\n\n");
    let _ = write!(
        out,
        "xmin = 0\nxmax = {end:.3}\ntiers? <exists>\nsize = {}\nitem []:\n",
        tiers.len()
    );
    for (number, (name, detail)) in tiers.iter().enumerate() {
        let spoken = parts(transcript, *detail, layout);
        let spoken = spoken.iter().map(|c| (c.start, c.end, c.text(&transcript.gap)));
        let intervals = intervals(spoken, end);
        let _ = write!(
            out,
            "    item [{}]:\n        class = \"IntervalTier\"\n        name = \"{name}\"\n        xmin = 0\n        xmax = {end:.3}\n        \
             intervals: size = {}\n",
            number + 1,
            intervals.len()
        );
        for (i, (from, to, text)) in intervals.iter().enumerate() {
            let text = text.replace('"', "\"\"");
            let _ = write!(
                out,
                "        intervals [{}]:\n            xmin = {}\n            xmax = {}\n            text = \"{text}\"\n",
                i + 1,
                seconds(*from),
                seconds(*to)
            );
        }
    }
    out
}

fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

/// What is said, with silences between, from 0 to the end, in milliseconds.
fn intervals(spoken: impl Iterator<Item = (f64, f64, String)>, end: f64) -> Vec<(u64, u64, String)> {
    let millis = |s: f64| (s.max(0.0) * 1000.0).round() as u64;
    let mut out: Vec<(u64, u64, String)> = vec![];
    let mut at = 0;
    for (from, to, text) in spoken {
        let (from, to) = (millis(from).max(at), millis(to));
        if from > at {
            out.push((at, from, String::new()));
        }
        if to > from {
            out.push((from, to, text));
            at = to;
        }
    }
    let end = millis(end);
    if end > at || out.is_empty() {
        out.push((at, end.max(at), String::new()));
    }
    out
}
