//! Streams of random numbers named by what they are for, so that a resumed run draws what the first would have drawn.

use ir::rng;

/// What numbers are drawn for; part of the key, so no two uses share numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    TimeMask = 1,
    ChannelMask,
    Negatives,
    Gumbel,
    LayerDrop,
    Dropout,
    Order,
    Crop,
    Split,
    Init,
    Synthetic,
    Bootstrap,
}

/// A counter under a key. Two streams with equal keys give equal numbers, wherever and whenever they are drawn.
#[derive(Clone, Debug)]
pub struct Stream {
    keys: [u32; 2],
    counter: u32,
}

fn halves(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

impl Stream {
    /// `major` and `minor` number the occasion: update and micro-batch, or epoch and batch.
    pub fn new(seed: u64, purpose: Purpose, major: u64, minor: u64) -> Stream {
        let [m0, m1] = halves(major);
        let [n0, n1] = halves(minor);
        let keys = rng::keys(rng::keys(rng::keys(halves(seed), purpose as u32, m0), m1, n0), n1, 0);
        Stream { keys, counter: 0 }
    }

    /// The stream's key, for programs that draw their own numbers.
    pub fn keys(&self) -> [i32; 2] {
        self.keys.map(|k| k as i32)
    }

    /// The stream after `count` numbers of 32 bits have been drawn from it, so that parts of it are drawn side by side.
    pub fn after(&self, count: usize) -> Stream {
        Stream {
            counter: self.counter.wrapping_add(count as u32),
            ..self.clone()
        }
    }

    pub fn bits(&mut self) -> u32 {
        let b = rng::bits(self.keys, self.counter);
        self.counter = self.counter.wrapping_add(1);
        b
    }

    /// Uniform in [0, 1) in steps of 2^-24.
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform strictly between 0 and 1, fit for a logarithm.
    pub fn open_uniform(&mut self) -> f64 {
        (self.bits() as f64 + 0.5) / 4_294_967_296.0
    }

    /// Uniform in `0..n`; for `n` up to 2^24 the bias is below 2^-8 of the spacing.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "no number is below 0");
        ((self.bits() as u64 * n as u64) >> 32) as usize
    }

    /// Two independent standard normals, by Box and Muller.
    pub fn normals(&mut self) -> [f64; 2] {
        let radius = (-2.0 * self.open_uniform().ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.open_uniform()).sin_cos();
        [radius * cos, radius * sin]
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        self.normals()[0]
    }

    /// Standard Gumbel: -ln(-ln u).
    pub fn gumbel(&mut self) -> f32 {
        -(-self.open_uniform().ln()).ln() as f32
    }

    /// Brings `count` random elements to the front, in random order (all of them: a shuffle).
    pub fn choose<T>(&mut self, items: &mut [T], count: usize) {
        for i in 0..count.min(items.len()) {
            let j = i + self.below(items.len() - i);
            items.swap(i, j);
        }
    }
}

/// A 64-bit name for text (FNV-1a), to key streams by a parameter's name.
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ b as u64).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_distributions() {
        let n = 200_000;
        let mut s = Stream::new(3, Purpose::Init, 7, 9);
        let normal: Vec<f64> = (0..n / 2).flat_map(|_| s.normals()).collect();
        let mean = normal.iter().sum::<f64>() / n as f64;
        let var = normal.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.01 && (var - 1.0).abs() < 0.02, "{mean} {var}");
        let gumbel = (0..n).map(|_| s.gumbel() as f64).sum::<f64>() / n as f64;
        assert!((gumbel - 0.577_215_66).abs() < 0.02, "{gumbel}");
    }

    #[test]
    fn every_part_of_the_key_matters() {
        let first = |s, p, a, b| Stream::new(s, p, a, b).bits();
        let base = first(1, Purpose::Crop, 2, 3);
        assert_ne!(base, first(1 << 40, Purpose::Crop, 2, 3));
        assert_ne!(base, first(1, Purpose::Order, 2, 3));
        assert_ne!(base, first(1, Purpose::Crop, 2 + (1 << 33), 3));
        assert_ne!(base, first(1, Purpose::Crop, 2, 3 + (1 << 33)));
    }
}
