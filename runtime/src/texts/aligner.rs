//! Where the words of a given text are in logits.

use super::Frames;
use super::finder::alphabet;
use crate::audio::RATE;
use crate::error::Error;
use crate::geometry::Geometry;
use crate::vocab::Vocab;
use clap::ValueEnum;
use decode::align::{self, Matrix, Span, Unaligned, WordSpan, log_softmax};
use decode::alphabet::Alphabet;
use decode::output::{Letter, Transcript, Word};

/// Where audio may be that the text does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Star {
    /// Before and behind the text.
    #[default]
    Edges,
    /// Between its segments too.
    Segments,
    /// Nowhere: the text is all that is said.
    None,
}

pub struct Aligner {
    vocab: Vocab,
    alphabet: Alphabet,
    /// Seconds from frame to frame.
    hop: f64,
}

/// A text with times.
pub struct Aligned {
    pub transcript: Transcript,
    /// Per segment how well it fits: ln, the mean over its worst 0.6 s.
    pub scores: Vec<f64>,
}

/// A word of the text, and its labels in the chain.
struct Place {
    text: String,
    labels: std::ops::Range<usize>,
}

/// The text as labels.
struct Chain {
    labels: Vec<u32>,
    words: Vec<Place>,
    /// The words of each segment.
    segments: Vec<std::ops::Range<usize>>,
}

impl Aligner {
    pub fn new(vocab: Vocab, classes: usize, geometry: &Geometry) -> Aligner {
        Aligner {
            alphabet: alphabet(&vocab, classes.max(vocab.len())),
            hop: geometry.hop() as f64 / RATE as f64,
            vocab,
        }
    }

    /// Finds where segments are said, one after the other.
    ///
    /// # Errors
    /// Where there is nothing to find, or it does not fit.
    pub fn align(&self, frames: &Frames, segments: &[&str], star: Star) -> Result<Aligned, Error> {
        if !frames.logits.is_empty() {
            frames.fit(self.alphabet.len())?;
        }
        let chain = self.chain(segments, star);
        if chain.words.is_empty() {
            let what = "the text has no word that could be found in it";
            return Err(Error::data(frames.name, what, "give its text, a segment a line"));
        }
        let mut values = frames.logits.to_vec();
        log_softmax(&mut values, self.alphabet.len());
        let matrix = Matrix::new(&values, self.alphabet.len());
        let found = align::labels(&matrix, self.alphabet.blank, &chain.labels).map_err(|e| {
            let seconds = |frames: usize| frames as f64 * self.hop;
            match e {
                Unaligned::TooLong { needed, frames: has } => Error::data(
                    frames.name,
                    format!(
                        "the text is too long for it by {} frames: it needs at least {:.1} s and there are {:.1} s",
                        needed - has,
                        seconds(needed),
                        seconds(has)
                    ),
                    "check that text and recording belong together and that the recording is whole",
                ),
                Unaligned::Impossible => Error::data(
                    frames.name,
                    e.to_string(),
                    "check the model's logits: some are minus infinity",
                ),
            }
        })?;
        let along = align::along(&matrix, self.alphabet.blank, &chain.labels, &found.spans);
        let mut transcript = Transcript {
            name: frames.name.into(),
            duration: frames.duration,
            gap: " ".into(),
            ..Transcript::default()
        };
        let mut scores = vec![];
        for segment in chain.segments {
            let words = &chain.words[segment.clone()];
            let (first, last) = (words[0].labels.start, words[words.len() - 1].labels.end - 1);
            scores.push(align::fit(&along[found.spans[first].start..found.spans[last].end]));
            transcript.breaks.push(segment.start);
            for word in words {
                let (labels, spans) = (&chain.labels[word.labels.clone()], &found.spans[word.labels.clone()]);
                transcript.words.push(self.word(&word.text, labels, spans));
            }
        }
        let texts: Vec<&str> = transcript.words.iter().map(|w| w.text.as_str()).collect();
        transcript.text = texts.join(" ");
        Ok(Aligned { transcript, scores })
    }

    /// Labels of the segments' words; words without labels join the one before.
    fn chain(&self, segments: &[&str], star: Star) -> Chain {
        let anything = self.alphabet.len() as u32;
        let end = self.alphabet.word_end.map(|e| e as u32);
        let mut chain = Chain {
            labels: vec![],
            words: vec![],
            segments: vec![],
        };
        if star != Star::None {
            chain.labels.push(anything);
        }
        for segment in segments {
            let from = chain.words.len();
            for word in segment.split_whitespace() {
                let labels = match self.vocab.encode(word) {
                    Ok(labels) => labels.iter().map(|l| *l as u32).collect(),
                    Err(_) => vec![anything],
                };
                let labels = match labels.split_last() {
                    Some((last, rest)) if Some(*last) == end => rest.to_vec(),
                    _ => labels,
                };
                if labels.is_empty() {
                    if let Some(before) = chain.words[from..].last_mut() {
                        before.text = format!("{} {word}", before.text);
                    }
                    continue;
                }
                if !chain.labels.is_empty() {
                    chain.labels.extend(end);
                }
                let start = chain.labels.len();
                chain.labels.extend(labels);
                chain.words.push(Place {
                    text: word.to_string(),
                    labels: start..chain.labels.len(),
                });
            }
            if chain.words.len() > from {
                chain.segments.push(from..chain.words.len());
                if star == Star::Segments {
                    chain.labels.extend(end);
                    chain.labels.push(anything);
                }
            }
        }
        if star == Star::Edges && !chain.words.is_empty() {
            chain.labels.extend(end);
            chain.labels.push(anything);
        }
        chain
    }

    fn word(&self, text: &str, labels: &[u32], spans: &[Span]) -> Word {
        let whole = WordSpan::of(spans);
        let seconds = |frame: usize| frame as f64 * self.hop;
        let letters = labels
            .iter()
            .zip(spans)
            .filter(|(l, _)| Some(**l as usize) != self.alphabet.word_end);
        let letters = letters.map(|(label, span)| Letter {
            text: match (*label as usize) < self.alphabet.len() {
                true => self.vocab.decode(&[*label as usize]),
                false => text.to_string(),
            },
            start: seconds(span.start),
            end: seconds(span.end),
            confidence: span.confidence,
        });
        Word {
            text: text.to_string(),
            start: seconds(whole.start),
            end: seconds(whole.end),
            confidence: whole.confidence,
            letters: letters.collect(),
        }
    }
}
