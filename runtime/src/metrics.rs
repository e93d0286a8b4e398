//! Word and character error rates.

/// Fewest insertions, deletions and substitutions that turn `a` into `b` (Levenshtein).
pub fn edit_distance<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + (x != y) as usize;
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Errors and reference lengths summed over utterances.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ErrorRates {
    pub word_errors: usize,
    pub words: usize,
    pub char_errors: usize,
    pub chars: usize,
}

impl ErrorRates {
    pub fn add(&mut self, reference: &str, hypothesis: &str) {
        let words = |s: &str| s.split_whitespace().map(String::from).collect::<Vec<_>>();
        let chars = |s: &str| s.chars().collect::<Vec<_>>();
        let (rw, rc) = (words(reference), chars(reference));
        self.word_errors += edit_distance(&rw, &words(hypothesis));
        self.char_errors += edit_distance(&rc, &chars(hypothesis));
        self.words += rw.len();
        self.chars += rc.len();
    }

    pub fn join(&mut self, other: &ErrorRates) {
        self.word_errors += other.word_errors;
        self.char_errors += other.char_errors;
        self.words += other.words;
        self.chars += other.chars;
    }

    /// Word error rate: errors per reference word; 0 without words.
    pub fn wer(&self) -> f64 {
        self.word_errors as f64 / self.words.max(1) as f64
    }

    /// Character error rate, spaces counted.
    pub fn cer(&self) -> f64 {
        self.char_errors as f64 / self.chars.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn edit_distance_is_a_metric(a in "[ab]{0,7}", b in "[ab]{0,7}", c in "[ab]{0,7}") {
            let d = |x: &str, y: &str| edit_distance(x.as_bytes(), y.as_bytes());
            prop_assert_eq!(d(&a, &b), d(&b, &a));
            prop_assert_eq!(d(&a, &b) == 0, a == b);
            prop_assert!(d(&a, &c) <= d(&a, &b) + d(&b, &c));
            prop_assert!(d(&a, &b) >= a.len().abs_diff(b.len()) && d(&a, &b) <= a.len().max(b.len()));
        }
    }

    #[test]
    fn rates_are_errors_per_reference_length() {
        let mut rates = ErrorRates::default();
        rates.add("SEVEN TWO ONE", "SEVEN TO ONE NINE");
        assert_eq!((rates.word_errors, rates.words), (2, 3));
        rates.add("NINE", "");
        assert_eq!((rates.wer(), rates.char_errors, rates.chars), (0.75, 10, 17));
    }
}
