//! Which of the recordings that wait are computed together.

/// Recordings of a batch, and samples of it, padding included.
const MOST_CLIPS: usize = 16;
pub const MOST_SAMPLES: usize = 16_000 * 40;

/// Places of the first that waits and of those most like it in length, ascending; `sizes` are not empty.
pub fn together(sizes: &[usize]) -> Vec<usize> {
    let first = sizes[0];
    // The first is at no distance, and so among those chosen.
    let mut near: Vec<usize> = (0..sizes.len()).collect();
    near.sort_by_key(|at| (sizes[*at].abs_diff(first), *at));
    let mut chosen = vec![];
    let mut longest = 0;
    for at in near {
        let width = longest.max(sizes[at]);
        let fits = chosen.is_empty() || (chosen.len() + 1) * width <= MOST_SAMPLES;
        let (shorter, longer) = (sizes[at].min(first), sizes[at].max(first));
        if chosen.len() < MOST_CLIPS && fits && 4 * shorter >= 3 * longer {
            chosen.push(at);
            longest = width;
        }
    }
    chosen.sort();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_is_always_chosen_and_a_batch_stays_small(
            sizes in prop::collection::vec(1usize..600_000, 1..60),
        ) {
            let chosen = together(&sizes);
            prop_assert_eq!(chosen[0], 0);
            prop_assert!(chosen.windows(2).all(|w| w[0] < w[1]) && chosen.len() <= MOST_CLIPS);
            let longest = chosen.iter().map(|at| sizes[*at]).max().unwrap();
            prop_assert!(chosen.len() == 1 || chosen.len() * longest <= MOST_SAMPLES);
            // What is shorter is padded to the longest, by less than its own length.
            prop_assert!(chosen.iter().all(|at| longest < 2 * sizes[*at]));
        }
    }

    #[test]
    fn like_lengths_go_together() {
        assert_eq!(together(&[16_000, 320_000, 15_000, 17_000, 1_000]), [0, 2, 3]);
        assert_eq!(together(&[16_000, 320_000]), [0]);
        assert_eq!(together(&[700_000, 16_000]), [0]);
        assert_eq!(together(&[500_000, 500_000]), [0]);
    }
}
