//! SubRip, WebVTT and LRC.

use super::Cue;

/// `HH:MM:SS`, a mark, milliseconds.
fn clock(seconds: f64, mark: char) -> String {
    let all = (seconds.max(0.0) * 1000.0).round() as u64;
    let (rest, millis) = (all / 1000, all % 1000);
    format!(
        "{:02}:{:02}:{:02}{mark}{millis:03}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

pub fn srt(cues: &[Cue]) -> String {
    let numbered = cues.iter().enumerate().map(|(i, cue)| {
        let (start, end) = (clock(cue.start, ','), clock(cue.end, ','));
        format!("{}\n{start} --> {end}\n{}\n\n", i + 1, cue.lines.join("\n"))
    });
    numbered.collect()
}

pub fn vtt(cues: &[Cue]) -> String {
    let mut out = String::from("WEBVTT\n\n");
    for cue in cues {
        let (start, end) = (clock(cue.start, '.'), clock(cue.end, '.'));
        let text = cue.lines.join("\n");
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        out += &format!("{start} --> {end}\n{text}\n\n");
    }
    out
}

pub fn lrc(cues: &[Cue]) -> String {
    let line = |cue: &Cue| {
        let all = (cue.start.max(0.0) * 100.0).round() as u64;
        format!(
            "[{:02}:{:02}.{:02}]{}\n",
            all / 6000,
            all / 100 % 60,
            all % 100,
            cue.lines.join(" ")
        )
    };
    cues.iter().map(line).collect()
}
