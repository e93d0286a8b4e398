//! Counter-based random numbers: the same numbers on every backend and any number of threads, recomputed, never stored.
//!
//! The mixer is Wellons' `lowbias32` (two multiplications, bias 0.17). The host's streams apply it twice with a key
//! between; compiled programs, which draw a number for every element of a dropout, once.

/// What [`mix`] multiplies with.
pub const MIX_FACTORS: [u32; 2] = [0x7feb_352d, 0x846c_a68b];

/// What [`keys`] multiplies the number of a layer with.
pub const LAYER_FACTOR: u32 = 0xc2b2_ae35;

/// What of a site goes into [`keys`].
pub fn site_word(site: u32) -> u32 {
    mix(site.wrapping_mul(0x9e37_79b9) ^ 0x85eb_ca6b)
}

/// A bijective 32-bit mixer.
pub fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(MIX_FACTORS[0]);
    x ^= x >> 15;
    x = x.wrapping_mul(MIX_FACTORS[1]);
    x ^ (x >> 16)
}

/// The two keys of a stream of random numbers: scalar work, once per kernel.
pub fn keys(seed: [u32; 2], site: u32, layer: u32) -> [u32; 2] {
    let a = mix(seed[0] ^ site_word(site));
    let b = mix(seed[1] ^ mix(layer.wrapping_mul(LAYER_FACTOR) ^ a));
    [a, b]
}

/// 32 random bits for a counter.
pub fn bits(keys: [u32; 2], index: u32) -> u32 {
    mix(mix(index ^ keys[0]).wrapping_add(keys[1]))
}

/// The number of 24 bits that a uniform is made of: inner loops draw it by the hundred million, so there is one mixer. The
/// multiplier is odd, so every key walks through all numbers, each in an order of its own.
pub fn ticket(keys: [u32; 2], index: u32) -> u32 {
    mix((index ^ keys[0]).wrapping_mul(keys[1] | 1)) >> 8
}

/// Uniform in [0, 1), a multiple of 2^-24.
pub fn uniform(keys: [u32; 2], index: u32) -> f32 {
    ticket(keys, index) as f32 * (1.0 / TICKETS)
}

/// How many tickets there are.
pub const TICKETS: f32 = 16_777_216.0;

#[cfg(test)]
mod tests {
    use super::*;

    const N: u32 = 1 << 18;

    /// Streams of layers next to each other, as dropout has them.
    fn streams() -> Vec<[u32; 2]> {
        let of = |seed: u32, site| (0..4).map(move |layer| keys([seed, 0], site, layer));
        [(1, 1), (1, 2), (2, 1), (0xdead_beef, 9)]
            .into_iter()
            .flat_map(|(seed, site)| of(seed, site))
            .collect()
    }

    /// Distance from what is expected of independent numbers, in standard deviations of the mean of `N` products.
    fn correlation(x: impl Fn(u32) -> f32, y: impl Fn(u32) -> f32) -> f64 {
        let centred = |v: f32| f64::from(v) - 0.5;
        let sum: f64 = (0..N).map(|i| centred(x(i)) * centred(y(i))).sum();
        12.0 * sum / f64::from(N).sqrt()
    }

    #[test]
    fn tickets_fill_their_range_evenly() {
        for keys in streams() {
            let mut bins = [0u32; 256];
            (0..N).for_each(|i| bins[(ticket(keys, i) >> 16) as usize] += 1);
            let expected = f64::from(N) / 256.0;
            let chi: f64 = bins.iter().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
            // 255 degrees of freedom: six standard deviations.
            assert!((chi - 255.0).abs() < 6.0 * 510f64.sqrt(), "{chi} of {keys:?}");
        }
    }

    #[test]
    fn neighbours_rows_and_streams_are_independent() {
        let all = streams();
        for (n, own) in all.iter().enumerate() {
            for lag in [1, 2, 3, 4, 8, 16, 32, 64, 499, 768, 3072, 249_001] {
                let far = correlation(|i| uniform(*own, i), |i| uniform(*own, i + lag));
                assert!(far.abs() < 6.0, "{far} at {lag} of {own:?}");
            }
            for other in &all[..n] {
                for lag in [0, 1, 768] {
                    let far = correlation(|i| uniform(*own, i), |i| uniform(*other, i + lag));
                    assert!(far.abs() < 6.0, "{far} at {lag} between {own:?} and {other:?}");
                }
            }
        }
    }

    /// What dropout sees: of four neighbours at a small rate, all sixteen patterns as often as they should be.
    #[test]
    fn small_tickets_do_not_come_together() {
        for keys in streams() {
            let dropped = |i| uniform(keys, i) < 0.1;
            let mut counts = [0f64; 16];
            for i in (0..4 * N).step_by(4) {
                counts[(0..4).map(|k| usize::from(dropped(i + k)) << k).sum::<usize>()] += 1.0;
            }
            for (pattern, count) in counts.iter().enumerate() {
                let ones = pattern.count_ones() as i32;
                let p = 0.1f64.powi(ones) * 0.9f64.powi(4 - ones);
                let (mean, deviation) = (p * f64::from(N), (p * (1.0 - p) * f64::from(N)).sqrt());
                assert!(
                    (count - mean).abs() < 6.0 * deviation,
                    "{count}, not {mean}, of {pattern:04b} {keys:?}"
                );
            }
        }
    }
}
