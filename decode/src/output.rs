//! What was found, in the formats that others read.

mod cues;
mod subtitles;
mod tables;
mod text_grid;

pub use cues::{Cue, Layout, cues};

use serde::Serialize;

/// Seconds, and how sure the model is, in [0, 1].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Letter {
    /// What it writes.
    pub text: String,
    /// Start in seconds.
    pub start: f64,
    /// End in seconds.
    pub end: f64,
    /// Mean probability, in [0, 1].
    pub confidence: f64,
}

/// A word with its times.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Word {
    /// What it writes.
    pub text: String,
    /// Start in seconds.
    pub start: f64,
    /// End in seconds.
    pub end: f64,
    /// Mean probability, in [0, 1].
    pub confidence: f64,
    /// Its letters; none if only words were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub letters: Vec<Letter>,
}

/// A text that was found, with natural logarithms of what it is worth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alternative {
    /// The text.
    pub text: String,
    /// The total score.
    pub score: f64,
    /// The part of the acoustic model.
    pub acoustic: f64,
    /// The part of language model, words and hotwords.
    pub language: f64,
}

/// What was found in a recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    /// The name of the recording.
    pub name: String,
    /// Seconds.
    pub duration: f64,
    /// The text.
    pub text: String,
    /// What stands between words.
    pub gap: String,
    /// The words with their times.
    pub words: Vec<Word>,
    /// Words with which a new segment begins, whatever the pauses.
    pub breaks: Vec<usize>,
    /// The texts found, best first; none where only one was looked for.
    pub alternatives: Vec<Alternative>,
}

/// What times are given of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Of segments.
    #[default]
    Segment,
    /// Of words.
    Word,
    /// Of letters.
    Char,
}

/// A format of transcripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `path<TAB>text`.
    Text,
    /// A table of segments, words or letters.
    Tsv,
    /// A list of objects.
    Json,
    /// An object per line.
    JsonLines,
    /// SubRip subtitles.
    Srt,
    /// WebVTT subtitles.
    Vtt,
    /// For sclite and Kaldi.
    Ctm,
    /// For Praat.
    TextGrid,
    /// Lyrics.
    Lrc,
}

impl Format {
    /// The usual ending of a file's name.
    pub fn ending(self) -> &'static str {
        match self {
            Format::Text => "txt",
            Format::Tsv => "tsv",
            Format::Json => "json",
            Format::JsonLines => "jsonl",
            Format::Srt => "srt",
            Format::Vtt => "vtt",
            Format::Ctm => "ctm",
            Format::TextGrid => "TextGrid",
            Format::Lrc => "lrc",
        }
    }

    /// Whether one file can hold several recordings.
    pub fn holds_several(self) -> bool {
        !matches!(self, Format::Srt | Format::Vtt | Format::TextGrid | Format::Lrc)
    }
}

/// The first line of tables.
pub const TSV_HEAD: &str = "recording\tstart\tend\ttext\tconfidence\n";

/// A transcript as it stands in a file of its own.
pub fn file(transcript: &Transcript, format: Format, detail: Detail, layout: &Layout) -> String {
    match format {
        Format::Text => format!("{}\n", transcript.text),
        Format::Tsv => format!("{TSV_HEAD}{}", tables::tsv(transcript, detail, layout)),
        Format::Json => tables::json(transcript, detail, layout, true) + "\n",
        Format::JsonLines => tables::json(transcript, detail, layout, false) + "\n",
        Format::Srt => subtitles::srt(&parts(transcript, detail, layout)),
        Format::Vtt => subtitles::vtt(&parts(transcript, detail, layout)),
        Format::Lrc => subtitles::lrc(&parts(transcript, detail, layout)),
        Format::Ctm => tables::ctm(transcript),
        Format::TextGrid => text_grid::write(transcript, detail, layout),
    }
}

/// A transcript as one of several in one stream; of tables the rows.
pub fn part(transcript: &Transcript, format: Format, detail: Detail, layout: &Layout) -> String {
    match format {
        Format::Text => format!("{}\t{}\n", transcript.name, transcript.text),
        Format::Tsv => tables::tsv(transcript, detail, layout),
        Format::Json => tables::json(transcript, detail, layout, true),
        _ => file(transcript, format, detail, layout),
    }
}

/// What is shown at a time: subtitles, or single words or letters.
fn parts(transcript: &Transcript, detail: Detail, layout: &Layout) -> Vec<Cue> {
    let one = |text: &str, start: f64, end: f64, confidence: f64| Cue {
        start,
        end,
        lines: vec![text.to_string()],
        confidence,
        words: 0..0,
    };
    let words = transcript.words.iter();
    match detail {
        Detail::Segment => cues(transcript, layout),
        Detail::Word => words.map(|w| one(&w.text, w.start, w.end, w.confidence)).collect(),
        Detail::Char => words
            .flat_map(|w| &w.letters)
            .map(|l| one(&l.text, l.start, l.end, l.confidence))
            .collect(),
    }
}
