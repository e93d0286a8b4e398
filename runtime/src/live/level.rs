//! Mean and variance of a stream so far, for models that were trained on clips of zero mean and unit variance.

/// Of all samples before a place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Level {
    counted: usize,
    sum: f64,
    squares: f64,
}

impl Level {
    /// Counts samples up to number `end`; `held` are those from number `from` on.
    pub fn until(&mut self, end: usize, held: &[f32], from: usize) {
        for sample in &held[(self.counted - from).min(held.len())..(end.max(self.counted) - from).min(held.len())] {
            self.sum += *sample as f64;
            self.squares += (*sample as f64).powi(2);
        }
        self.counted = self.counted.max(end);
    }

    pub fn apply(&self, wave: &mut [f32]) {
        let n = self.counted.max(1) as f64;
        let mean = self.sum / n;
        let scale = 1.0 / ((self.squares / n - mean * mean).max(0.0) + 1e-7).sqrt();
        wave.iter_mut().for_each(|s| *s = ((*s as f64 - mean) * scale) as f32);
    }
}
