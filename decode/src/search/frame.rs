//! A frame's classes that are looked at, as probabilities relative to the likeliest.

use crate::alphabet::Alphabet;

pub struct Classes {
    kinds: Vec<Kind>,
    least: f64,
    pub blank: f64,
    pub word_end: f64,
    pub letters: Vec<(u32, f64)>,
    /// Weights by class; of those that are not looked at 0.
    pub weights: Vec<f64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Blank,
    WordEnd,
    Letter,
    Silent,
}

impl Classes {
    pub fn new(alphabet: &Alphabet, token_prune: f64) -> Classes {
        let kind = |class: usize| match class {
            c if c == alphabet.blank => Kind::Blank,
            c if Some(c) == alphabet.word_end => Kind::WordEnd,
            c if alphabet.silent[c] => Kind::Silent,
            _ => Kind::Letter,
        };
        Classes {
            kinds: (0..alphabet.len()).map(kind).collect(),
            least: -token_prune,
            blank: 0.0,
            word_end: 0.0,
            letters: vec![],
            weights: vec![0.0; alphabet.len()],
        }
    }

    /// Reads a row of logits; gives ln of the probability of the likeliest class, which others are relative to.
    pub fn read(&mut self, row: &[f32]) -> f64 {
        (self.blank, self.word_end) = (0.0, 0.0);
        self.letters.clear();
        self.weights.fill(0.0);
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
        if !most.is_finite() {
            // Nothing is known of this frame.
            self.blank = 1.0;
            return 0.0;
        }
        let sum: f64 = row
            .iter()
            .map(|v| (*v as f64 - most).exp())
            .filter(|p| !p.is_nan())
            .sum();
        let all = most + sum.ln();
        let (mut best, mut at) = (f64::NEG_INFINITY, 0);
        for (class, value) in row.iter().enumerate() {
            if self.kinds[class] != Kind::Silent && *value as f64 > best {
                (best, at) = (*value as f64, class);
            }
        }
        if !best.is_finite() {
            self.blank = 1.0;
            return 0.0;
        }
        for (class, value) in row.iter().enumerate() {
            let value = *value as f64;
            if class == at || value - all >= self.least {
                self.take(class, (value - best).exp());
            }
        }
        best - all
    }

    fn take(&mut self, class: usize, weight: f64) {
        self.weights[class] = weight;
        match self.kinds[class] {
            Kind::Blank => self.blank = weight,
            Kind::WordEnd => self.word_end = weight,
            Kind::Letter => self.letters.push((class as u32, weight)),
            Kind::Silent => {}
        }
    }
}
