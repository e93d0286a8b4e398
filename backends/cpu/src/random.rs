//! Counter-based random numbers.

use crate::entry::{Entry, V};
use inkwell::values::IntValue;
use ir::emit::random;
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
            let keys = random::keys(self, element, site, || self.resize(layer.into(), 32));
            keys.map(V::into_int_value)
        });
        self.random_keys.borrow_mut().insert((seed, site), keys);
        keys
    }

    /// f32 uniforms in [0, 1) for i32 counters.
    pub fn uniform(&self, keys: [IntValue<'c>; 2], counter: V<'c>) -> V<'c> {
        random::uniform(self, keys.map(Into::into), counter)
    }
}
