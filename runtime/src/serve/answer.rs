//! Transcripts in the forms that a client can ask for.

use decode::output::{Cue, Detail, Format, Layout, Transcript, Word, cues, file};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Map, Value, json};
use std::io::Write;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Text,
    Srt,
    Vtt,
    Verbose,
}

impl Form {
    pub const NAMES: [(&'static str, Form); 5] = [
        ("json", Form::Json),
        ("text", Form::Text),
        ("srt", Form::Srt),
        ("verbose_json", Form::Verbose),
        ("vtt", Form::Vtt),
    ];

    pub fn content_type(self) -> &'static str {
        match self {
            Form::Json | Form::Verbose => "application/json",
            Form::Text => "text/plain; charset=utf-8",
            Form::Srt => "application/x-subrip; charset=utf-8",
            Form::Vtt => "text/vtt; charset=utf-8",
        }
    }

    pub fn needs_times(self) -> bool {
        matches!(self, Form::Srt | Form::Vtt | Form::Verbose)
    }
}

/// What the client said of the recording, and what it wants to have times of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Asked {
    pub language: Option<String>,
    pub temperature: f64,
    pub words: bool,
    pub segments: bool,
}

pub(super) fn write(transcript: &Transcript, form: Form, asked: &Asked) -> String {
    let subtitles = |format| file(transcript, format, Detail::Segment, &Layout::default());
    match form {
        Form::Text => format!("{}\n", transcript.text),
        Form::Json => json!({ "text": transcript.text, "usage": usage(transcript) }).to_string(),
        Form::Srt => subtitles(Format::Srt),
        Form::Vtt => subtitles(Format::Vtt),
        Form::Verbose => Value::Object(verbose(transcript, asked)).to_string(),
    }
}

/// What the recording counts as, in whole seconds.
pub(super) fn usage(transcript: &Transcript) -> Value {
    json!({ "type": "duration", "seconds": transcript.duration.ceil() })
}

fn verbose(transcript: &Transcript, asked: &Asked) -> Map<String, Value> {
    let mut all = Map::from_iter([
        ("task".to_string(), json!("transcribe")),
        ("language".into(), json!(asked.language.as_deref().unwrap_or("unknown"))),
        ("duration".into(), json!(transcript.duration)),
        ("text".into(), json!(transcript.text)),
        ("usage".into(), usage(transcript)),
    ]);
    if asked.words {
        all.insert("words".into(), transcript.words.iter().map(word).collect());
    }
    if asked.segments {
        let segments = cues(transcript, &Layout::default()).into_iter().enumerate();
        let segments = segments.map(|(id, cue)| segment(id, &cue, transcript, asked));
        all.insert("segments".into(), segments.collect());
    }
    all
}

/// As OpenAI's, and how sure the model is.
fn word(word: &Word) -> Value {
    json!({ "word": word.text, "start": word.start, "end": word.end, "confidence": word.confidence })
}

/// As OpenAI's. There are no tokens, and segments are of words: none is without speech.
fn segment(id: usize, cue: &Cue, transcript: &Transcript, asked: &Asked) -> Value {
    let words = &transcript.words[cue.words.clone()];
    let letters = words.iter().flat_map(|w| &w.letters);
    let logs: Vec<f64> = letters.map(|l| l.confidence.max(f64::MIN_POSITIVE).ln()).collect();
    let text = cue.text(&transcript.gap);
    json!({
        "id": id,
        "seek": (cue.start * 100.0) as u64,
        "start": cue.start,
        // Subtitles stay to be read; segments end with their words.
        "end": words.last().map_or(cue.end, |w| w.end),
        "compression_ratio": compression(&text),
        "text": text,
        "tokens": [],
        "temperature": asked.temperature,
        "avg_logprob": logs.iter().sum::<f64>() / logs.len().max(1) as f64,
        "no_speech_prob": 0.0,
        "confidence": cue.confidence,
    })
}

/// By how much zlib makes a text shorter: high where it repeats itself.
fn compression(text: &str) -> f64 {
    let mut zlib = ZlibEncoder::new(vec![], Compression::default());
    let packed = zlib.write_all(text.as_bytes()).and_then(|()| zlib.finish());
    packed.map_or(1.0, |p| text.len() as f64 / p.len() as f64)
}
