//! Tables, CTM and JSON.

use super::{Alternative, Detail, Layout, Transcript, Word, cues, parts};
use serde::Serialize;

/// Rows `recording, start, end, text, confidence`.
pub fn tsv(transcript: &Transcript, detail: Detail, layout: &Layout) -> String {
    let row = |cue: &super::Cue| {
        format!(
            "{}\t{:.3}\t{:.3}\t{}\t{:.4}\n",
            transcript.name,
            cue.start,
            cue.end,
            cue.text(&transcript.gap),
            cue.confidence
        )
    };
    parts(transcript, detail, layout).iter().map(row).collect()
}

/// `NAME 1 START DURATION WORD CONFIDENCE`; names end at spaces, so they have none.
pub fn ctm(transcript: &Transcript) -> String {
    let path = std::path::Path::new(&transcript.name);
    let name = path
        .file_stem()
        .map_or(transcript.name.clone(), |s| s.to_string_lossy().into_owned());
    let name: String = name.split_whitespace().collect::<Vec<_>>().join("_");
    let row = |w: &Word| {
        let text: String = w.text.split_whitespace().collect::<Vec<_>>().join("_");
        format!(
            "{name} 1 {:.3} {:.3} {text} {:.4}\n",
            w.start,
            w.end - w.start,
            w.confidence
        )
    };
    transcript.words.iter().map(row).collect()
}

#[derive(Serialize)]
struct Document<'a> {
    recording: &'a str,
    duration: f64,
    text: &'a str,
    segments: Vec<Segment<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    alternatives: &'a [Alternative],
}

#[derive(Serialize)]
struct Segment<'a> {
    id: usize,
    start: f64,
    end: f64,
    text: String,
    confidence: f64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    words: &'a [Word],
}

/// One object: text, duration, segments (with words, and these with letters, as the detail says), alternatives.
pub fn json(transcript: &Transcript, detail: Detail, layout: &Layout, pretty: bool) -> String {
    let plain: Vec<Word> = transcript
        .words
        .iter()
        .map(|w| Word {
            letters: if detail == Detail::Char {
                w.letters.clone()
            } else {
                vec![]
            },
            ..w.clone()
        })
        .collect();
    let segment = |(id, cue): (usize, super::Cue)| Segment {
        id,
        start: cue.start,
        // Subtitles stay to be read; segments end with their words.
        end: transcript.words[cue.words.end - 1].end,
        text: cue.text(&transcript.gap),
        confidence: cue.confidence,
        words: if detail == Detail::Segment {
            &[]
        } else {
            &plain[cue.words]
        },
    };
    let document = Document {
        recording: &transcript.name,
        duration: transcript.duration,
        text: &transcript.text,
        segments: cues(transcript, layout).into_iter().enumerate().map(segment).collect(),
        alternatives: &transcript.alternatives,
    };
    let text = match pretty {
        true => serde_json::to_string_pretty(&document),
        false => serde_json::to_string(&document),
    };
    text.expect("plain data always serialises")
}
