//! Words to subtitles: few enough letters to be read, cut where the speaker pauses.

use super::{Transcript, Word};

/// How subtitles may look.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Letters of a line.
    pub max_line: usize,
    /// Maximum lines per subtitle.
    pub max_lines: usize,
}

impl Default for Layout {
    fn default() -> Layout {
        Layout {
            max_line: 42,
            max_lines: 2,
        }
    }
}

/// A pause of so many seconds parts subtitles.
const PAUSE: f64 = 0.5;
/// Seconds that a subtitle stays, where there is room, and at most.
const SHORTEST: f64 = 1.0;
const LONGEST: f64 = 7.0;
/// Letters that are read in a second.
const READ: f64 = 17.0;

/// A subtitle.
#[derive(Clone, Debug, PartialEq)]
pub struct Cue {
    /// Start in seconds.
    pub start: f64,
    /// End in seconds.
    pub end: f64,
    /// Its lines.
    pub lines: Vec<String>,
    /// Mean over its words, by how long they are.
    pub confidence: f64,
    /// Which words it has.
    pub words: std::ops::Range<usize>,
}

impl Cue {
    /// Its lines joined.
    pub fn text(&self, gap: &str) -> String {
        self.lines.join(gap)
    }
}

/// Subtitles of a transcript, in order; none overlaps another.
pub fn cues(transcript: &Transcript, layout: &Layout) -> Vec<Cue> {
    let words = &transcript.words;
    let mut out: Vec<Cue> = vec![];
    let mut first = 0;
    for at in 0..words.len() {
        let cut = at + 1 == words.len() || {
            let next = &words[at + 1];
            let longer = &words[first..at + 2];
            transcript.breaks.binary_search(&(at + 1)).is_ok()
                || next.start - words[at].end >= PAUSE
                || next.end - words[first].start > LONGEST
                || wrap(longer, &transcript.gap, layout.max_line).len() > layout.max_lines.max(1)
        };
        if cut {
            out.push(cue(transcript, first..at + 1, layout));
            first = at + 1;
        }
    }
    for at in 0..out.len() {
        let room = out.get(at + 1).map_or(transcript.duration, |next| next.start);
        let own = &mut out[at];
        let letters: usize = own.lines.iter().map(|l| l.chars().count()).sum();
        let wanted = (letters as f64 / READ).clamp(SHORTEST, LONGEST);
        own.end = own.end.max((own.start + wanted).min(room));
    }
    out
}

fn cue(transcript: &Transcript, range: std::ops::Range<usize>, layout: &Layout) -> Cue {
    let words = &transcript.words[range.clone()];
    let count = wrap(words, &transcript.gap, layout.max_line).len();
    // Of all widths that need no more lines the least, so that lines are of like length.
    let narrow = (1..=layout.max_line).find(|w| wrap(words, &transcript.gap, *w).len() <= count);
    let length: f64 = words.iter().map(|w| w.end - w.start).sum();
    let sum: f64 = words.iter().map(|w| w.confidence * (w.end - w.start)).sum();
    Cue {
        start: words.first().map_or(0.0, |w| w.start),
        end: words.last().map_or(0.0, |w| w.end),
        lines: wrap(words, &transcript.gap, narrow.unwrap_or(layout.max_line)),
        confidence: if length > 0.0 { sum / length } else { 0.0 },
        words: range,
    }
}

/// Lines of at most so many letters; a longer word has a line of its own.
fn wrap(words: &[Word], gap: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    let mut size = 0;
    for word in words {
        let own = word.text.chars().count();
        let gap_size = gap.chars().count();
        match lines.last_mut() {
            Some(line) if size + gap_size + own <= width => {
                line.push_str(gap);
                line.push_str(&word.text);
                size += gap_size + own;
            }
            _ => {
                lines.push(word.text.clone());
                size = own;
            }
        }
    }
    lines
}
