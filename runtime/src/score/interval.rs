//! Confidence intervals of error rates: a bootstrap over clips.

use crate::random::{Purpose, Stream};

/// Draws of as many clips as there are.
const DRAWS: usize = 1000;

/// The middle 95 % of an error rate over clips drawn again with replacement; `None` for fewer than two clips.
/// `clips` are errors and reference lengths. The same seed gives the same interval.
pub fn interval(clips: &[(usize, usize)], seed: u64) -> Option<[f64; 2]> {
    if clips.len() < 2 {
        return None;
    }
    let mut stream = Stream::new(seed, Purpose::Bootstrap, 0, 0);
    let mut rates: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let (mut errors, mut length) = (0, 0);
            for _ in 0..clips.len() {
                let (e, n) = clips[stream.below(clips.len())];
                (errors, length) = (errors + e, length + n);
            }
            errors as f64 / length.max(1) as f64
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    Some([0.025, 0.975].map(|q| quantile(&rates, q)))
}

/// Between the two nearest of sorted values, as numpy does.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    sorted[low] + (at - low as f64) * (sorted[high] - sorted[low])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 400 clips of one word, a quarter of them wrong: the normal approximation gives 0.25 +- 1.96 * sqrt(0.25 * 0.75 / 400).
    #[test]
    fn it_is_the_binomial_interval_where_clips_are_single_words() {
        let clips: Vec<(usize, usize)> = (0..400).map(|i| ((i % 4 == 0) as usize, 1)).collect();
        let [low, high] = interval(&clips, 1).unwrap();
        let half = 1.96 * (0.25f64 * 0.75 / 400.0).sqrt();
        assert!(
            (low - (0.25 - half)).abs() < 0.008 && (high - (0.25 + half)).abs() < 0.008,
            "{low} {high}"
        );
        assert_eq!(interval(&clips, 1), Some([low, high]));
        assert_ne!(interval(&clips, 2), Some([low, high]));
    }

    #[test]
    fn clips_without_errors_and_single_clips() {
        assert_eq!(interval(&[(0, 3), (0, 5)], 1), Some([0.0, 0.0]));
        assert_eq!(interval(&[(1, 3)], 1), None);
        assert_eq!(quantile(&[0.0, 1.0, 2.0], 0.25), 0.5);
    }
}
