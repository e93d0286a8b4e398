//! The random numbers of [`rng`](crate::rng) as code, bit for bit the same.

use super::Build;
use crate::rng::{LAYER_FACTOR, MIX_FACTORS, TICKETS, site_word};

fn mix<B: Build>(b: &B, x: B::V) -> B::V {
    let [first, second] = MIX_FACTORS;
    let x = b.xor(x, b.lshr(x, 16));
    let x = b.imul(x, b.word(first));
    let x = b.xor(x, b.lshr(x, 15));
    let x = b.imul(x, b.word(second));
    b.xor(x, b.lshr(x, 16))
}

/// The two keys of a stream, from the two elements of a seed and the number of the layer, all i32.
pub fn keys<B: Build>(b: &B, seed: impl Fn(i64) -> B::V, site: u32, layer: impl FnOnce() -> B::V) -> [B::V; 2] {
    let first = mix(b, b.xor(seed(0), b.word(site_word(site))));
    let layer = b.imul(layer(), b.word(LAYER_FACTOR));
    let second = mix(b, b.xor(seed(1), mix(b, b.xor(layer, first))));
    [first, second]
}

/// The number of 24 bits that a uniform is made of, for a counter; both i32.
pub fn ticket<B: Build>(b: &B, keys: [B::V; 2], counter: B::V) -> B::V {
    let odd = b.or(keys[1], b.word(1));
    b.lshr(mix(b, b.imul(b.xor(counter, keys[0]), odd)), 8)
}

/// An f32 uniform in [0, 1) for an i32 counter.
pub fn uniform<B: Build>(b: &B, keys: [B::V; 2], counter: B::V) -> B::V {
    // 24 bits: the signed conversion is exact.
    let top = b.to_float(ticket(b, keys, counter));
    b.fmul(top, b.float(top, f64::from(1.0 / TICKETS)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::host::{Host, Num};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_those_of_the_host(seed: [u32; 2], site: u32, layer: u32, counter: u32) {
            let word = |v: u32| Num::I32(v as i32);
            let own = keys(&Host, |i| word(seed[i as usize]), site, || word(layer));
            let want = crate::rng::keys(seed, site, layer);
            prop_assert_eq!(own, want.map(word));
            prop_assert_eq!(uniform(&Host, own, word(counter)), Num::F32(crate::rng::uniform(want, counter)));
        }
    }
}
