//! Which frames and channels are hidden, and which frames serve as negatives.
//!
//! Source: wav2vec 2.0 (arXiv 2006.11477), sections 3.1 and 3.2, in fairseq's form.

use crate::random::Stream;

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MaskError {
    #[error(
        "clip {row} of the batch has {frames} frames, too few for a mask that leaves one frame visible; \
             drop clips this short with --set min_samples=N"
    )]
    TooShort { row: usize, frames: usize },
    #[error("all {frames} frames of clip {row} are masked; lower mask_prob or mask_length")]
    FullyMasked { row: usize, frames: usize },
    #[error(
        "clip {row} of the batch has {masked} masked frame(s), and negatives need at least 2; \
             raise mask_prob or min_samples"
    )]
    NoNegatives { row: usize, masked: usize },
}

/// How spans are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spans {
    /// Share of positions that spans would cover if none overlapped.
    pub prob: f64,
    /// Length of a span.
    pub length: usize,
    /// At least so many spans per row.
    pub at_least: usize,
}

/// Draws the masked positions of one row of `size` positions, sorted.
///
/// `num = floor(prob*size/length + u)` spans start at distinct places in `[0, size - length)`; they may overlap. A row
/// too short for `num` such starts gets spans of `size - num - 1`, so its last position stays visible in any case.
fn draw_row(row: usize, size: usize, spans: Spans, stream: &mut Stream) -> Result<Vec<usize>, MaskError> {
    let wanted = spans.prob * size as f64 / spans.length as f64 + stream.uniform() as f64;
    let num = (wanted as usize).max(spans.at_least);
    if num == 0 || spans.prob <= 0.0 {
        return Ok(vec![]);
    }
    let length = if spans.length + num >= size {
        size.saturating_sub(num + 1).max(1)
    } else {
        spans.length
    };
    if size <= length {
        return Err(MaskError::TooShort { row, frames: size });
    }
    let mut starts: Vec<usize> = (0..size - length).collect();
    let num = num.min(starts.len());
    stream.choose(&mut starts, num);
    let mut hit = vec![false; size];
    for start in &starts[..num] {
        hit[*start..start + length].fill(true);
    }
    Ok((0..size).filter(|i| hit[*i]).collect())
}

/// Draws the masked positions of every row and unmasks at random down to the smallest row's count, so that rows are
/// equal in weight. `sizes` are the valid positions of each row; the result is sorted per row.
pub fn draw_spans(sizes: &[usize], spans: Spans, stream: &mut Stream) -> Result<Vec<Vec<usize>>, MaskError> {
    let mut rows = Vec::with_capacity(sizes.len());
    for (row, size) in sizes.iter().enumerate() {
        rows.push(draw_row(row, *size, spans, stream)?);
    }
    let least = rows.iter().map(Vec::len).min().unwrap_or(0);
    for row in &mut rows {
        if row.len() > least {
            stream.choose(row, least);
            row.truncate(least);
            row.sort_unstable();
        }
    }
    check_rows(&rows, sizes)?;
    Ok(rows)
}

/// Fails where a row is masked from end to end: nothing would be left to predict from.
pub fn check_rows(rows: &[Vec<usize>], sizes: &[usize]) -> Result<(), MaskError> {
    match rows.iter().zip(sizes).position(|(row, size)| row.len() >= *size) {
        Some(row) => Err(MaskError::FullyMasked {
            row,
            frames: sizes[row],
        }),
        None => Ok(()),
    }
}

/// Draws `count` negatives for each of a row's `masked` frames, as positions among the masked frames: uniform over all
/// but the frame's own. Returns `masked * count` positions.
pub fn draw_negatives(row: usize, masked: usize, count: usize, stream: &mut Stream) -> Result<Vec<i32>, MaskError> {
    if masked < 2 {
        return Err(MaskError::NoNegatives { row, masked });
    }
    let mut out = Vec::with_capacity(masked * count);
    for own in 0..masked {
        for _ in 0..count {
            let other = stream.below(masked - 1);
            out.push((other + (other >= own) as usize) as i32);
        }
    }
    Ok(out)
}

/// One flag per layer: 1 keeps it, 0 skips it, the latter with probability `layerdrop`.
pub fn draw_keep(layers: usize, layerdrop: f32, stream: &mut Stream) -> Vec<f32> {
    (0..layers)
        .map(|_| if stream.uniform() < layerdrop { 0.0 } else { 1.0 })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;
    use proptest::prelude::*;

    fn stream(seed: u64) -> Stream {
        Stream::new(seed, Purpose::TimeMask, 0, 0)
    }

    const TIME: Spans = Spans {
        prob: 0.65,
        length: 10,
        at_least: 2,
    };

    #[test]
    fn about_half_of_the_frames_are_masked() {
        let rows = draw_spans(&[781; 64], TIME, &mut stream(1)).unwrap();
        // One row alone, so that the equalising does not lower the share.
        let share: f64 = (0..200)
            .map(|s| draw_spans(&[781], TIME, &mut stream(s)).unwrap()[0].len() as f64 / 781.0)
            .sum::<f64>()
            / 200.0;
        assert!((share - 0.49).abs() < 0.01, "{share}");
        assert!(rows.iter().all(|r| r.len() == rows[0].len()));
    }

    #[test]
    fn negatives_are_uniform_over_the_others() {
        let (masked, count) = (5, 40_000);
        let negatives = draw_negatives(0, masked, count, &mut stream(4)).unwrap();
        for own in 0..masked {
            let mut seen = [0usize; 5];
            negatives[own * count..][..count]
                .iter()
                .for_each(|n| seen[*n as usize] += 1);
            assert_eq!(seen[own], 0);
            for (other, n) in seen.iter().enumerate().filter(|(other, _)| *other != own) {
                assert!((*n as f64 / count as f64 - 0.25).abs() < 0.01, "{own} -> {other}: {n}");
            }
        }
    }

    proptest! {
        #[test]
        fn masks_stay_inside_and_leave_something_visible(
            sizes in prop::collection::vec(2usize..400, 1..6), seed: u64, prob in 0.05f64..0.95, length in 1usize..70,
        ) {
            let rows = draw_spans(&sizes, Spans { prob, length, at_least: 2 }, &mut stream(seed));
            match rows {
                Err(MaskError::TooShort { frames, .. }) => prop_assert!(frames < 2),
                Err(other) => prop_assert!(false, "{other}"),
                Ok(rows) => for (row, size) in rows.iter().zip(&sizes) {
                    prop_assert!(row.len() == rows[0].len() && !row.is_empty() && row.len() < *size);
                    prop_assert!(row.windows(2).all(|w| w[0] < w[1]) && row[row.len() - 1] < *size);
                }
            }
        }
    }

    #[test]
    fn too_short_rows_are_named() {
        assert_eq!(
            draw_spans(&[50, 1], TIME, &mut stream(1)),
            Err(MaskError::TooShort { row: 1, frames: 1 })
        );
        assert!(matches!(
            draw_negatives(3, 1, 100, &mut stream(1)),
            Err(MaskError::NoNegatives { row: 3, masked: 1 })
        ));
        assert_eq!(
            check_rows(&[vec![0, 1]], &[2]),
            Err(MaskError::FullyMasked { row: 0, frames: 2 })
        );
    }
}
