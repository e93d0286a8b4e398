//! Counter-based random numbers, bit for bit those of `ir::rng`.

use crate::entry::{Entry, V};
use inkwell::values::IntValue;
use ir::scalar::DType;

impl<'c> Entry<'_, 'c> {
    /// The two keys (i32) of a stream, computed once per call: seeds are elements 0 and 1 of an i32 slot.
    pub fn random_keys(&self, seed: usize, site: u32) -> [IntValue<'c>; 2] {
        if let Some(keys) = self.random_keys.borrow().get(&(seed, site)) {
            return *keys;
        }
        let layer = self.symbol(ir::names::LAYER);
        let keys = self.in_head(|| {
            let element = |i| self.load(DType::I32, self.at(DType::I32, self.slot(seed), self.i64(i)));
            let word = |v: u32| self.i32(v as i32);
            let site = ir::rng::mix(site.wrapping_mul(0x9e37_79b9) ^ 0x85eb_ca6b);
            let a = self.mix(self.xor(element(0), word(site)));
            let layer = self.mul(self.resize(layer.into(), 32), word(0xc2b2_ae35));
            let b = self.mix(self.xor(element(1), self.mix(self.xor(layer, a))));
            [a.into_int_value(), b.into_int_value()]
        });
        self.random_keys.borrow_mut().insert((seed, site), keys);
        keys
    }

    fn mix(&self, x: V<'c>) -> V<'c> {
        let word = |v: u32| self.i32(v as i32);
        let x = self.xor(x, self.lshr(x, 16));
        let x = self.mul(x, word(0x7feb_352d));
        let x = self.xor(x, self.lshr(x, 15));
        let x = self.mul(x, word(0x846c_a68b));
        self.xor(x, self.lshr(x, 16))
    }

    /// f32 uniforms in [0, 1) for i32 counters.
    pub fn uniform(&self, keys: [IntValue<'c>; 2], counter: V<'c>) -> V<'c> {
        let odd = self.or(keys[1].into(), self.i32(1));
        let bits = self.mix(self.mul(self.xor(counter, keys[0].into()), odd));
        // 24 bits: the signed conversion is exact.
        let top = self.cast(self.lshr(bits, 8), DType::F32);
        self.fmul(top, self.f32(1.0 / 16_777_216.0))
    }
}
