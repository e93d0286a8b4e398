//! What connectionist temporal classification requires of labels and frames.

/// The most likely class of each frame of logits [T, V]; the first of equals.
pub fn best_path(logits: &[f32], classes: usize) -> Vec<usize> {
    logits
        .chunks_exact(classes)
        .map(|row| {
            row.iter()
                .enumerate()
                .fold(0, |best, (i, v)| if *v > row[best] { i } else { best })
        })
        .collect()
}

/// Frames CTC needs for labels: one each, and a blank between equal neighbours.
pub fn frames_needed(labels: &[i32]) -> usize {
    labels.len() + labels.windows(2).filter(|w| w[0] == w[1]).count()
}
