//! Counter-based random numbers, bit for bit those of `ir::rng`.

use crate::arith::Cmp;
use crate::builder::{Builder, Ty, V};
use crate::function::Function;
use ir::dim::Dim;
use ir::kernel::Slot;

impl<'c> Builder<'c> {
    fn mix(&self, x: V<'c>) -> V<'c> {
        let word = |v: u32| self.i32(v as i32);
        let x = self.xor(x, self.lshr(x, 16));
        let x = self.mul(x, word(0x7feb_352d));
        let x = self.xor(x, self.lshr(x, 15));
        let x = self.mul(x, word(0x846c_a68b));
        self.xor(x, self.lshr(x, 16))
    }

    /// The number of 24 bits (i32) that a uniform is made of, for an i32 counter.
    pub fn ticket(&self, keys: [V<'c>; 2], counter: V<'c>) -> V<'c> {
        let odd = self.or(keys[1], self.i32(1));
        self.lshr(self.mix(self.mul(self.xor(counter, keys[0]), odd)), 8)
    }

    /// An f32 uniform in [0, 1) for an i32 counter.
    pub fn uniform(&self, keys: [V<'c>; 2], counter: V<'c>) -> V<'c> {
        // 24 bits: the signed conversion is exact.
        let top = self.op("arith.sitofp", &[self.ticket(keys, counter)], Ty::F32);
        self.mul(top, self.f32(1.0 / ir::rng::TICKETS))
    }

    /// How many tickets are those of uniforms below `rate` (an f32 from 0 to 1): i32.
    pub fn tickets_below(&self, rate: V<'c>) -> V<'c> {
        // Exact: the number of all tickets is a power of two.
        let all = self.mul(rate, self.f32(ir::rng::TICKETS));
        let whole = self.op("arith.fptosi", &[all], Ty::I32);
        let short = self.cmp(Cmp::Lt, self.op("arith.sitofp", &[whole], Ty::F32), all);
        self.add(whole, self.select(short, self.i32(1), self.i32(0)))
    }
}

impl<'c> Function<'_, 'c> {
    /// The two keys (i32) of a stream: seeds are elements 0 and 1 of an i32 slot. Call it first where nothing is nested;
    /// later calls give the same values.
    pub fn random_keys(&self, seed: Slot, site: u32) -> [V<'c>; 2] {
        let known = self
            .random_keys
            .borrow()
            .iter()
            .find(|(k, _)| *k == (seed, site))
            .map(|(_, v)| *v);
        known.unwrap_or_else(|| {
            let word = |v: u32| self.i32(v as i32);
            let mixed = ir::rng::mix(site.wrapping_mul(0x9e37_79b9) ^ 0x85eb_ca6b);
            let a = self.mix(self.xor(self.load_element(seed, self.i64(0)), word(mixed)));
            let layer = self.mul(self.dim32(&Dim::sym(ir::names::LAYER)), word(0xc2b2_ae35));
            let b = self.mix(self.xor(self.load_element(seed, self.i64(1)), self.mix(self.xor(layer, a))));
            self.random_keys.borrow_mut().push(((seed, site), [a, b]));
            [a, b]
        })
    }
}
