//! One recording as training takes it: whole, or of a long one the part that the crop keeps.

use super::{Batcher, Plan, Task, Utterance};
use crate::audio::{RATE, Reader, is_silent, normalize};
use crate::error::Error;

/// Samples that are held whole: ten minutes. Of longer recordings only the crop is held.
const MOST_WHOLE: usize = 600 * RATE as usize;

/// What reading gave: samples ready to use, or why the clip is left out.
pub(super) enum Taken {
    /// With the place in the recording where they begin.
    Samples(Vec<f32>, usize),
    LeftOut(String),
}

/// Reads a clip of `known` samples for its row of a batch.
///
/// # Errors
/// Where the system fails to read: no reason to train on something else.
pub(super) fn take(
    reader: &mut Reader,
    utterance: &Utterance,
    known: usize,
    (plan, row): (&Plan, usize),
    task: Task,
) -> Result<Taken, Error> {
    let window = (known > MOST_WHOLE && plan.crop < known).then(|| {
        let start = Batcher::crop_start(task.seed, plan.position, row, known, plan.crop);
        start..start + plan.crop
    });
    let most = 2 * MOST_WHOLE.max(if window.is_some() { 0 } else { known });
    let mut part = Part::default();
    let outcome = (|| {
        let mut stream = reader.open(&utterance.path, utterance.segment)?;
        let (mut piece, mut going) = (vec![], true);
        while going {
            piece.clear();
            going = stream.more(&mut piece)?;
            part.add(&piece, window.as_ref());
            if window.is_none() && part.kept.len() > most {
                return Ok(Some(
                    "it lasts far longer than its header says; copy or convert it".to_string(),
                ));
            }
        }
        Ok(None)
    })();
    match outcome {
        Ok(None) => {}
        Ok(Some(reason)) => return Ok(Taken::LeftOut(reason)),
        Err(e) if crate::audio::is_of_the_system(&e) => return Err(e),
        Err(e) => return Ok(Taken::LeftOut(super::skips::reason(&e))),
    }
    if part.count < task.min_samples {
        let what = format!("it has {} samples and training needs {}", part.count, task.min_samples);
        return Ok(Taken::LeftOut(what));
    }
    if task.drop_silent && is_silent(&part.kept) {
        return Ok(Taken::LeftOut(super::SILENT.into()));
    }
    if task.normalize {
        match &window {
            None => normalize(&mut part.kept),
            Some(_) => part.normalize(),
        }
    }
    Ok(Taken::Samples(part.kept, window.map_or(0, |w| w.start)))
}

/// The samples that are kept, and sums over all.
#[derive(Default)]
struct Part {
    kept: Vec<f32>,
    count: usize,
    sum: f64,
    squares: f64,
}

impl Part {
    fn add(&mut self, piece: &[f32], window: Option<&std::ops::Range<usize>>) {
        match window {
            None => self.kept.extend_from_slice(piece),
            Some(window) => {
                let within = |at: usize| at.saturating_sub(self.count).min(piece.len());
                self.kept
                    .extend_from_slice(&piece[within(window.start)..within(window.end)]);
                self.sum += piece.iter().map(|s| *s as f64).sum::<f64>();
                self.squares += piece.iter().map(|s| (*s as f64).powi(2)).sum::<f64>();
            }
        }
        self.count += piece.len();
    }

    /// As [`normalize`] over the whole clip, of which a part is kept.
    fn normalize(&mut self) {
        let mean = self.sum / self.count as f64;
        let variance = (self.squares / self.count as f64 - mean * mean).max(0.0);
        let scale = 1.0 / (variance + 1e-7).sqrt();
        self.kept
            .iter_mut()
            .for_each(|s| *s = ((*s as f64 - mean) * scale) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_what_the_whole_has_there() {
        let wave: Vec<f32> = (0..10_000).map(|i| ((i * 37 % 101) as f32 - 30.0) / 50.0).collect();
        let mut whole = wave.clone();
        normalize(&mut whole);
        let mut part = Part::default();
        wave.chunks(777).for_each(|c| part.add(c, Some(&(1_500..4_321))));
        part.normalize();
        assert_eq!(part.kept.len(), 2_821);
        assert!(part.kept.iter().zip(&whole[1_500..]).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}
