//! Counter-based random numbers: the same numbers on every backend and any number of threads, recomputed, never stored.
//!
//! The mixer is Wellons' `lowbias32` (two multiplications, bias 0.17), applied twice with a key between.

/// A bijective 32-bit mixer.
pub fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// The two keys of a stream of random numbers: scalar work, once per kernel.
pub fn keys(seed: [u32; 2], site: u32, layer: u32) -> [u32; 2] {
    let a = mix(seed[0] ^ mix(site.wrapping_mul(0x9e37_79b9) ^ 0x85eb_ca6b));
    let b = mix(seed[1] ^ mix(layer.wrapping_mul(0xc2b2_ae35) ^ a));
    [a, b]
}

/// 32 random bits for a counter.
pub fn bits(keys: [u32; 2], index: u32) -> u32 {
    mix(mix(index ^ keys[0]).wrapping_add(keys[1]))
}

/// Uniform in [0, 1): the top 24 bits.
pub fn uniform(keys: [u32; 2], index: u32) -> f32 {
    (bits(keys, index) >> 8) as f32 * (1.0 / 16_777_216.0)
}
