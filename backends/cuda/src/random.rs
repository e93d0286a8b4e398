//! Counter-based random numbers.

use crate::arith::Cmp;
use crate::builder::{Builder, Ty, V};
use crate::function::Function;
use ir::dim::Dim;
use ir::emit::random;
use ir::kernel::Slot;

impl<'c> Builder<'c> {
    /// The number of 24 bits (i32) that a uniform is made of, for an i32 counter.
    pub fn ticket(&self, keys: [V<'c>; 2], counter: V<'c>) -> V<'c> {
        random::ticket(self, keys, counter)
    }

    /// An f32 uniform in [0, 1) for an i32 counter.
    pub fn uniform(&self, keys: [V<'c>; 2], counter: V<'c>) -> V<'c> {
        random::uniform(self, keys, counter)
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
            let element = |i| self.load_element(seed, self.i64(i));
            let layer = || self.dim32(&Dim::sym(ir::names::LAYER));
            let keys = random::keys(&**self, element, site, layer);
            self.random_keys.borrow_mut().push(((seed, site), keys));
            keys
        })
    }
}
