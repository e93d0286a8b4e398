//! Where in a matrix a text is: the likeliest path that spells it (Viterbi).
//!
//! Columns of scores are kept at intervals alone; between two of them they are computed again, for the states that the path can
//! have been in. So an hour's recording takes little memory, and the path is exact.

mod column;

use crate::alphabet::Alphabet;
use column::{Chain, Column, Room};

/// Bytes of columns that are kept, at most about.
const MOST_KEPT: usize = 256 << 20;
/// Frames between kept columns, at least.
const LEAST_APART: usize = 256;

/// A label's frames, the end excluded, and its mean probability over them, in [0, 1].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Span {
    /// The first frame.
    pub start: usize,
    /// The frame after the last.
    pub end: usize,
    /// Mean probability over the frames.
    pub confidence: f64,
}

/// Labels with their frames.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alignment {
    /// One per label; an optional end of word that the path leaves out has no frames.
    pub spans: Vec<Span>,
    /// ln of the path's probability.
    pub log_prob: f64,
}

/// Why there is no alignment.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Unaligned {
    /// The audio is too short for the text.
    #[error("the text needs {needed} frames and there are {frames}: {} too few", needed - frames)]
    TooLong {
        /// Frames that the text needs at least.
        needed: usize,
        /// Frames that there are.
        frames: usize,
    },
    /// Some letters have probability 0 wherever they could be.
    #[error("no path spells the text: some of its letters are impossible where they would have to be")]
    Impossible,
}

/// Log-probabilities [frames, classes].
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    classes: usize,
}

impl<'a> Matrix<'a> {
    /// `values` in rows of `classes`.
    pub fn new(values: &'a [f32], classes: usize) -> Matrix<'a> {
        Matrix { values, classes }
    }

    /// Number of rows.
    pub fn frames(&self) -> usize {
        self.values.len() / self.classes.max(1)
    }

    /// Log-probabilities of a frame.
    pub fn row(&self, frame: usize) -> &'a [f32] {
        &self.values[frame * self.classes..(frame + 1) * self.classes]
    }

    /// A class's log-probability; that of the class behind the last, the star, is 0 everywhere.
    pub fn at(&self, frame: usize, class: usize) -> f32 {
        if class == self.classes {
            0.0
        } else {
            self.row(frame)[class]
        }
    }

    /// The class of which anything is a part: where text is not known.
    pub fn star(&self) -> u32 {
        self.classes as u32
    }
}

/// Logits to log-probabilities, row by row.
pub fn log_softmax(values: &mut [f32], classes: usize) {
    for row in values.chunks_exact_mut(classes.max(1)) {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
        if most.is_finite() {
            let all = most + row.iter().map(|v| (*v as f64 - most).exp()).sum::<f64>().ln();
            row.iter_mut().for_each(|v| *v = (*v as f64 - all) as f32);
        }
    }
}

/// Frames that labels need: one each, and a blank between equal neighbours.
pub fn frames_needed(labels: &[u32]) -> usize {
    labels.len() + labels.windows(2).filter(|w| w[0] == w[1]).count()
}

/// The likeliest path of exactly these labels; the star ([`Matrix::star`]) may be among them.
///
/// # Errors
/// Where there are too few frames, or all paths are impossible.
pub fn labels(matrix: &Matrix, blank: usize, labels: &[u32]) -> Result<Alignment, Unaligned> {
    align(matrix, &Chain::new(labels, blank, None))
}

/// As [`labels`], where ends of words may come several times, and one that is first or last not at all: as in what a model wrote.
///
/// # Errors
/// As [`labels`].
pub fn written(matrix: &Matrix, blank: usize, word_end: u32, labels: &[u32]) -> Result<Alignment, Unaligned> {
    align(matrix, &Chain::new(labels, blank, Some(word_end)))
}

fn align(matrix: &Matrix, chain: &Chain) -> Result<Alignment, Unaligned> {
    let frames = matrix.frames();
    if chain.labels.is_empty() {
        return Ok(Alignment::default());
    }
    let needed = chain.needed();
    if needed > frames {
        return Err(Unaligned::TooLong { needed, frames });
    }
    let bytes = 8 * (2 * chain.labels.len() + 1);
    let apart = LEAST_APART.max(bytes.saturating_mul(frames) / MOST_KEPT);
    let mut kept: Vec<Column> = vec![];
    let mut column = Column::first(matrix, chain);
    let mut room = Room::new(chain);
    for frame in 1..frames {
        if (frame - 1).is_multiple_of(apart) {
            kept.push(column.clone());
        }
        column.advance(matrix, chain, frame, &mut room);
    }
    let (mut state, log_prob) = column.last(chain);
    if log_prob == f64::NEG_INFINITY {
        return Err(Unaligned::Impossible);
    }
    let mut path = vec![0; frames];
    path[frames - 1] = state;
    for (block, start) in kept.iter().enumerate().rev() {
        let from = block * apart;
        let to = (from + apart).min(frames - 1);
        start.trace(matrix, chain, from, &mut path[from..=to]);
        state = path[from];
    }
    debug_assert!(state <= 2 * chain.labels.len());
    Ok(Alignment {
        spans: spans(matrix, chain, &path),
        log_prob,
    })
}

/// Frames of each label, from the state of each frame: 2 i + 1 is label i.
fn spans(matrix: &Matrix, chain: &Chain, path: &[usize]) -> Vec<Span> {
    let mut spans = vec![Span::default(); chain.labels.len()];
    let mut counts = vec![0usize; spans.len()];
    for (frame, state) in path.iter().enumerate().filter(|(_, s)| *s % 2 == 1) {
        let at = state / 2;
        let span = &mut spans[at];
        if counts[at] == 0 {
            span.start = frame;
        }
        span.end = frame + 1;
        span.confidence += (matrix.at(frame, chain.labels[at] as usize) as f64).exp();
        counts[at] += 1;
    }
    for (span, count) in spans.iter_mut().zip(counts) {
        span.confidence /= count.max(1) as f64;
    }
    spans
}

/// Per frame ln of the probability of what the path has there.
pub fn along(matrix: &Matrix, blank: usize, labels: &[u32], spans: &[Span]) -> Vec<f32> {
    let mut out: Vec<f32> = (0..matrix.frames()).map(|t| matrix.at(t, blank)).collect();
    for (label, span) in labels.iter().zip(spans) {
        for (frame, own) in out.iter_mut().enumerate().take(span.end).skip(span.start) {
            *own = matrix.at(frame, *label as usize);
        }
    }
    out
}

/// Frames over which the worst part of an utterance is looked for.
const WORST: usize = 30;

/// How well a text fits its frames: the least mean of [`along`] over any 30 frames (ctc-segmentation). Below -2 it does not.
pub fn fit(along: &[f32]) -> f64 {
    let width = WORST.min(along.len());
    if width == 0 {
        return f64::NEG_INFINITY;
    }
    let means = along
        .windows(width)
        .map(|w| w.iter().map(|v| *v as f64).sum::<f64>() / width as f64);
    means.fold(f64::INFINITY, f64::min)
}

/// A word's frames, its confidence and its letters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WordSpan {
    /// The first frame.
    pub start: usize,
    /// The frame after the last.
    pub end: usize,
    /// Mean probability over the frames.
    pub confidence: f64,
    /// Spans of its letters.
    pub letters: Vec<Span>,
}

impl WordSpan {
    /// From its letters; the confidence is the mean over all their frames.
    pub fn of(letters: &[Span]) -> WordSpan {
        let frames: usize = letters.iter().map(|l| l.end - l.start).sum();
        let sum: f64 = letters.iter().map(|l| l.confidence * (l.end - l.start) as f64).sum();
        WordSpan {
            start: letters.first().map_or(0, |l| l.start),
            end: letters.last().map_or(0, |l| l.end),
            confidence: sum / frames.max(1) as f64,
            letters: letters.to_vec(),
        }
    }
}

/// Where the words are that a model wrote.
///
/// # Errors
/// Where they do not fit.
pub fn words(matrix: &Matrix, alphabet: &Alphabet, words: &[Vec<u32>]) -> Result<Vec<WordSpan>, Unaligned> {
    let end = alphabet.word_end.map(|e| e as u32);
    let mut all: Vec<u32> = end.into_iter().collect();
    for word in words {
        all.extend(word);
        all.extend(end);
    }
    let found = match end {
        _ if words.is_empty() => return Ok(vec![]),
        Some(end) => written(matrix, alphabet.blank, end, &all)?,
        None => labels(matrix, alphabet.blank, &all)?,
    };
    let gap = end.is_some() as usize;
    let mut at = gap;
    let spans = words.iter().map(|word| {
        let span = WordSpan::of(&found.spans[at..at + word.len()]);
        at += word.len() + gap;
        span
    });
    Ok(spans.collect())
}
