//! Places in the grid, shuffles and barriers.

use crate::builder::{Builder, Ty, V};
use crate::function::Function;

/// Threads of a warp.
pub const WARP: u32 = 32;

impl<'c> Builder<'c> {
    fn special(&self, register: &str) -> V<'c> {
        self.op(&format!("nvvm.read.ptx.sreg.{register}"), &[], Ty::I32)
    }
    /// Number of this thread in its block, i32.
    pub fn thread(&self) -> V<'c> {
        self.special("tid.x")
    }
    /// Number of this block along an axis (0 to 2), i32.
    pub fn block(&self, axis: usize) -> V<'c> {
        self.special(["ctaid.x", "ctaid.y", "ctaid.z"][axis])
    }
    /// Waits for all threads of the block; what they wrote is then visible to all.
    pub fn barrier(&self) {
        self.effect("gpu.barrier", &[], &[]);
    }
    /// The same among the threads of a warp.
    pub fn warp_barrier(&self) {
        self.effect("nvvm.bar.warp.sync", &[self.i32(-1)], &[]);
    }

    /// The value of the lane whose number differs in the bits of `mask`; all lanes of the warp take part. Numbers of 64 bits
    /// travel as halves.
    pub fn shuffle_xor(&self, v: V<'c>, mask: i32) -> V<'c> {
        if v.ty == Ty::F64 || v.ty == Ty::I64 {
            let bits = self.bits(v, Ty::I64);
            let low = self.resize(bits, Ty::I32);
            let high = self.resize(self.lshr(bits, 32), Ty::I32);
            let [low, high] = [low, high].map(|w| self.widen(self.shuffle_xor(w, mask), Ty::I64));
            return self.bits(self.or(low, self.shl(high, 32)), v.ty);
        }
        let operands = [self.i32(-1), v, self.i32(mask), self.i32(0x1f)];
        self.op_with("nvvm.shfl.sync", &operands, v.ty, &[("kind", "#nvvm<shfl_kind bfly>")])
    }

    /// A bit (of an i32) for every lane of the warp, set where the lane's condition holds; all lanes take part.
    pub fn ballot(&self, condition: V<'c>) -> V<'c> {
        let kind = [("kind", "#nvvm<vote_sync_kind ballot>")];
        self.op_with("nvvm.vote.sync", &[self.i32(-1), condition], Ty::I32, &kind)
    }

    /// One value of all lanes, combined in a fixed order that is the same for every lane.
    pub fn reduce_warp(&self, v: V<'c>, combine: &dyn Fn(V<'c>, V<'c>) -> V<'c>) -> V<'c> {
        [16, 8, 4, 2, 1]
            .into_iter()
            .fold(v, |v, mask| combine(v, self.shuffle_xor(v, mask)))
    }
}

impl<'c> Function<'_, 'c> {
    /// Number of this thread's lane in its warp, i32.
    pub fn lane(&self) -> V<'c> {
        self.and(self.thread(), self.i32(WARP as i32 - 1))
    }
    /// Number of this thread's warp in its block, i32.
    pub fn warp(&self) -> V<'c> {
        self.lshr(self.thread(), 5)
    }
}
