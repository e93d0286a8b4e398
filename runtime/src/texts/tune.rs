//! The weight of a language model and the bonus of a word under which most words are right.

use super::Finder;
use crate::log::Progress;
use crate::score::{Op, align};
use rayon::prelude::*;

/// Logits, and what was said in the letters of the vocabulary.
pub struct Case {
    pub logits: Vec<f32>,
    pub reference: String,
}

/// Weights, and how many words and letters are wrong with them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuned {
    pub lm_weight: f64,
    pub word_score: f64,
    pub words_wrong: usize,
    pub letters_wrong: usize,
    pub words: usize,
}

const WEIGHTS: [f64; 6] = [0.25, 0.5, 1.0, 1.5, 2.0, 3.0];
const BONUSES: [f64; 5] = [-1.0, 0.0, 1.0, 2.0, 3.0];
/// How far the neighbours of the best are from it, in turn.
const STEPS: [(f64, f64); 2] = [(0.25, 0.5), (0.12, 0.25)];

/// Tries a grid, then what lies around its best; gives the best and what the first pair, that of the flags, gives.
pub fn tune(finder: &Finder, cases: &[Case], given: (f64, f64)) -> (Tuned, Tuned) {
    let around = STEPS.len() * 8;
    let mut progress = Progress::new("weights tried", 1 + WEIGHTS.len() * BONUSES.len() + around);
    let mut errors = |lm_weight: f64, word_score: f64| {
        let found = errors(finder, cases, lm_weight, word_score);
        progress.step();
        found
    };
    let usual = errors(given.0, given.1);
    let mut best = usual;
    for lm_weight in WEIGHTS {
        for word_score in BONUSES {
            best = better(best, errors(lm_weight, word_score));
        }
    }
    for (weight, bonus) in STEPS {
        let center = best;
        for (x, y) in [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)] {
            let lm_weight = (center.lm_weight + x as f64 * weight).max(0.0);
            best = better(best, errors(lm_weight, center.word_score + y as f64 * bonus));
        }
    }
    (best, usual)
}

/// The one with fewer errors; the first of equals.
fn better(a: Tuned, b: Tuned) -> Tuned {
    let wrong = |t: &Tuned| (t.words_wrong, t.letters_wrong);
    if wrong(&b) < wrong(&a) { b } else { a }
}

fn errors(finder: &Finder, cases: &[Case], lm_weight: f64, word_score: f64) -> Tuned {
    let decoder = finder.with_weights(lm_weight, word_score);
    let wrong = |ops: Vec<Op>| ops.iter().filter(|o| !matches!(o, Op::Hit(..))).count();
    let counts = cases.par_iter().map(|case| {
        let found = decoder.decode(&case.logits);
        let text = found.first().map(|h| finder.text(&h.words)).unwrap_or_default();
        let (said, heard): (Vec<&str>, Vec<&str>) = (
            case.reference.split_whitespace().collect(),
            text.split_whitespace().collect(),
        );
        let letters: (Vec<char>, Vec<char>) = (case.reference.chars().collect(), text.chars().collect());
        (
            wrong(align(&said, &heard)),
            wrong(align(&letters.0, &letters.1)),
            said.len(),
        )
    });
    let (words_wrong, letters_wrong, words) = counts.reduce(|| (0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2));
    Tuned {
        lm_weight,
        word_score,
        words_wrong,
        letters_wrong,
        words,
    }
}
