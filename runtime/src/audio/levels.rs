//! How loud a recording is from place to place, for models that were trained on clips of zero mean and unit variance.
//!
//! A clip is brought to that as a whole. A long recording is many clips, whose speakers are near the microphone and far from it:
//! each place takes the level of the stretch of five seconds around it that is most even, so that a change of speakers falls
//! between stretches (Kuwahara's filter). Silence stays quiet: no level counts as more than 20 dB below that of all.

use super::RATE;
use std::collections::VecDeque;

/// Samples of a block.
const BLOCK: usize = RATE as usize / 10;
/// Blocks of a stretch, and of the mean that evenness is judged by.
const STRETCH: usize = 50;
const MEAN: usize = 10;
/// How often levels are sought.
const PASSES: usize = 2;
/// Of the energy of all, what a stretch has at least.
const FLOOR: f64 = 0.01;

/// Sum and sum of squares of so many samples.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    count: usize,
    sum: f64,
    squares: f64,
}

impl Sums {
    /// One after the other, so that pieces change no bit of what is chosen by these sums.
    fn add(&mut self, samples: &[f32]) {
        self.count += samples.len();
        for sample in samples {
            let sample = *sample as f64;
            self.sum += sample;
            self.squares += sample * sample;
        }
    }

    fn mean(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }

    /// Mean square about a value.
    fn energy(&self, about: f64) -> f64 {
        let n = self.count.max(1) as f64;
        (self.squares / n - 2.0 * about * self.sum / n + about * about).max(0.0)
    }
}

/// What is known of a recording so far.
#[derive(Clone, Debug, Default)]
pub struct Levels {
    /// Blocks that are still kept, from number `first` on; the last one may go on.
    blocks: VecDeque<Sums>,
    first: usize,
    all: Sums,
}

impl Levels {
    pub fn push(&mut self, samples: &[f32]) {
        let mut rest = samples;
        while !rest.is_empty() {
            let room = self.blocks.back().map_or(0, |b| BLOCK - b.count);
            if room == 0 {
                self.blocks.push_back(Sums::default());
                continue;
            }
            let (own, others) = rest.split_at(room.min(rest.len()));
            if let Some(block) = self.blocks.back_mut() {
                block.add(own);
            }
            self.all.add(own);
            rest = others;
        }
    }

    /// Samples so far.
    pub fn count(&self) -> usize {
        self.all.count
    }

    /// Lets go of what levels from a sample on do not need.
    pub fn forget_before(&mut self, sample: usize) {
        let keep = (sample / BLOCK).saturating_sub(STRETCH + MEAN);
        while self.first < keep && self.blocks.len() > 1 {
            self.blocks.pop_front();
            self.first += 1;
        }
    }

    /// What brings samples to zero mean and unit variance.
    pub fn gains(&self) -> Gains {
        let mean = self.all.mean();
        let floor = FLOOR * self.all.energy(mean);
        let energies: Vec<f64> = self.blocks.iter().map(|b| b.energy(mean)).collect();
        let most = 1.0 / (floor + 1e-7).sqrt();
        let mut scales = vec![1.0; energies.len()];
        // Once more where changes of level are smaller, so that they are placed better.
        for _ in 0..PASSES {
            let levelled: Vec<f64> = energies.iter().zip(&scales).map(|(e, s)| e * s * s).collect();
            for (scale, energy) in scales.iter_mut().zip(even(&levelled)) {
                *scale = (*scale / energy.max(1e-12).sqrt()).min(most);
            }
        }
        // Even stretches are those in which somebody speaks; with the pauses between, all is brought to unit variance.
        let sums = self.blocks.iter().zip(&energies).zip(&scales);
        let (count, energy) = sums.fold((0.0, 0.0), |(n, all), ((block, energy), scale)| {
            let own = block.count as f64;
            (n + own, all + own * energy * scale * scale)
        });
        let rest = if energy > 0.0 { (count / energy).sqrt() } else { 1.0 };
        Gains {
            mean: mean as f32,
            first: self.first,
            scales: scales.into_iter().map(|s| (s * rest) as f32).collect(),
        }
    }
}

/// Per block the energy of the most even stretch that holds it.
fn even(energies: &[f64]) -> Vec<f64> {
    let count = energies.len();
    let size = STRETCH.min(count);
    let sums = |values: &mut dyn Iterator<Item = f64>| {
        let mut all = vec![0.0];
        for value in values {
            all.push(all[all.len() - 1] + value);
        }
        all
    };
    let energy = sums(&mut energies.iter().copied());
    let smooth = |at: usize| {
        let (low, high) = (at.saturating_sub(MEAN / 2), (at + MEAN / 2).min(count));
        ((energy[high] - energy[low]) / (high - low) as f64 + 1e-12).ln()
    };
    let logs: Vec<f64> = (0..count).map(smooth).collect();
    let log = sums(&mut logs.iter().copied());
    let square = sums(&mut logs.iter().map(|l| l * l));
    let unevenness = |from: usize| {
        let n = size as f64;
        (square[from + size] - square[from]) / n - ((log[from + size] - log[from]) / n).powi(2)
    };
    let rough: Vec<f64> = (0..(count + 1).saturating_sub(size)).map(unevenness).collect();
    let of_block = |at: usize| {
        let (low, high) = ((at + 1).saturating_sub(size), at.min(count - size));
        let best = (low..=high)
            .min_by(|a, b| rough[*a].total_cmp(&rough[*b]))
            .unwrap_or(low);
        (energy[best + size] - energy[best]) / size as f64
    };
    (0..count).map(of_block).collect()
}

/// What samples are multiplied by, after their mean is taken away.
#[derive(Clone, Debug)]
pub struct Gains {
    mean: f32,
    first: usize,
    scales: Vec<f32>,
}

impl Gains {
    /// Samples from number `start` of the recording on.
    pub fn apply(&self, wave: &mut [f32], start: usize) {
        let Some(last) = self.scales.len().checked_sub(1) else {
            return;
        };
        for (i, sample) in wave.iter_mut().enumerate() {
            let block = ((start + i) / BLOCK).saturating_sub(self.first).min(last);
            *sample = (*sample - self.mean) * self.scales[block];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(seconds: usize, loud: f32) -> Vec<f32> {
        let sample = |i: usize| ((i * 7919 % 1009) as f32 / 504.5 - 1.0) * loud;
        (0..seconds * RATE as usize).map(sample).collect()
    }

    fn gained(wave: &[f32]) -> Vec<f32> {
        let mut levels = Levels::default();
        levels.push(wave);
        let mut out = wave.to_vec();
        levels.gains().apply(&mut out, 0);
        out
    }

    fn deviation(wave: &[f32]) -> f64 {
        let mut sums = Sums::default();
        sums.add(wave);
        sums.energy(sums.mean()).sqrt()
    }

    #[test]
    fn near_and_far_speakers_come_to_one_level_and_silence_stays_quiet() {
        let parts = [(8, 0.5), (7, 0.08), (9, 0.3), (12, 0.0005), (6, 0.1)];
        let wave: Vec<f32> = parts.iter().flat_map(|(n, loud)| noise(*n, *loud)).collect();
        let out = gained(&wave);
        let mut at = 0;
        for (seconds, loud) in parts {
            let own = deviation(&out[at * RATE as usize..(at + seconds) * RATE as usize]);
            match loud > 0.01 {
                // A third of it is silence.
                true => assert!((own - 1.18).abs() < 0.1, "{seconds} s of {loud}: {own}"),
                false => assert!(own < 0.05, "{own}"),
            }
            at += seconds;
        }
    }

    #[test]
    fn an_even_recording_is_normalised_as_a_whole() {
        let wave = noise(40, 0.2);
        let mut whole = wave.clone();
        super::super::normalize(&mut whole);
        let far = gained(&wave)
            .iter()
            .zip(&whole)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(far < 0.05, "{far}");
        assert_eq!(gained(&[]), [0.0; 0]);
        assert!(gained(&[0.25; 3]).iter().all(|s| s.abs() < 1e-3));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Pieces, and letting go of what lies far behind, change nothing.
        #[test]
        fn pieces_change_nothing(cuts in prop::collection::vec(1usize..40_000, 0..20), seconds in 1usize..30) {
            let wave = noise(seconds, 0.3);
            let (mut whole, mut pieces, mut from) = (Levels::default(), Levels::default(), 0);
            whole.push(&wave);
            for cut in cuts.into_iter().chain([wave.len()]) {
                let to = (from + cut).min(wave.len());
                pieces.push(&wave[from..to]);
                from = to;
            }
            let of = |levels: &Levels, start: usize| {
                let mut out = wave[start..].to_vec();
                levels.gains().apply(&mut out, start);
                out
            };
            prop_assert!(of(&whole, 0) == of(&pieces, 0));
            let start = wave.len() / 2;
            pieces.forget_before(start);
            let far = of(&whole, start).iter().zip(of(&pieces, start)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            prop_assert!(far < 0.2, "{}", far);
        }
    }
}
