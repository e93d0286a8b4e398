//! Reductions: what one thread accumulates, and how the states of threads are combined.

use crate::arith::{Cmp, ty};
use crate::builder::{Builder, Ty, V};
use crate::values::Lanes;
use ir::kernel::{Reduction, Store};
use ir::kernel_verify::store_roots;
use ir::scalar::DType;

/// Most f32 values that one thread adds up in f32; sums of more, and those of unknown length, are taken in f64.
const SHORT: i64 = 64;

/// How one reduction is accumulated. Its state is one value, or the largest value and its position.
#[derive(Clone, Copy)]
pub struct Accumulator {
    kind: Reduction,
    dtype: DType,
    inner: DType,
}

impl Accumulator {
    /// Of values of `dtype`, of which a thread takes `terms`, if that is known.
    pub fn new(kind: Reduction, dtype: DType, terms: Option<i64>) -> Accumulator {
        let wide = kind == Reduction::Sum && dtype == DType::F32 && terms.is_none_or(|n| n > SHORT);
        Accumulator {
            kind,
            dtype,
            inner: if wide { DType::F64 } else { dtype },
        }
    }

    /// Types of the state.
    pub fn types(&self) -> Vec<Ty> {
        match self.kind {
            Reduction::ArgMax => vec![ty(self.inner), Ty::I32],
            _ => vec![ty(self.inner)],
        }
    }

    /// The state before the first value, which changes no other state: the maximum of nothing is at column 0.
    pub fn start<'c>(&self, b: &Builder<'c>) -> Vec<V<'c>> {
        let least = match (self.kind, self.dtype) {
            (Reduction::Sum, _) => b.of(self.inner, 0.0),
            (_, DType::I32) => b.i32(i32::MIN),
            (_, t) => b.of(t, f64::NEG_INFINITY),
        };
        match self.kind {
            Reduction::ArgMax => vec![least, b.i32(0)],
            _ => vec![least],
        }
    }

    /// Takes the values of `lanes` columns, the first of which is column `first` (i32).
    pub fn add_lanes<'c>(
        &self,
        b: &Builder<'c>,
        state: &[V<'c>],
        x: &Lanes<'c>,
        lanes: usize,
        first: V<'c>,
    ) -> Vec<V<'c>> {
        let x: Vec<V> = (0..lanes).map(|i| b.cast(x.get(i), self.inner)).collect();
        match self.kind {
            Reduction::ArgMax => x.iter().enumerate().fold(state.to_vec(), |s, (i, x)| {
                // NaN is never larger.
                let larger = b.cmp(Cmp::Gt, *x, s[0]);
                let at = b.add(first, b.i32(i as i32));
                vec![b.select(larger, *x, s[0]), b.select(larger, at, s[1])]
            }),
            _ => {
                // By pairs, so that additions do not all wait for each other.
                let mut x = x;
                while x.len() > 1 {
                    x = x
                        .chunks(2)
                        .map(|p| p.iter().copied().reduce(|a, c| self.join(b, a, c)).expect("not empty"))
                        .collect();
                }
                vec![self.join(b, state[0], x[0])]
            }
        }
    }

    /// The sum or larger of two.
    fn join<'c>(&self, b: &Builder<'c>, x: V<'c>, y: V<'c>) -> V<'c> {
        if self.kind == Reduction::Sum {
            b.add(x, y)
        } else {
            b.max(x, y)
        }
    }

    /// The state of two threads; the same whichever comes first.
    pub fn merge<'c>(&self, b: &Builder<'c>, x: &[V<'c>], y: &[V<'c>]) -> Vec<V<'c>> {
        if self.kind != Reduction::ArgMax {
            return vec![self.join(b, x[0], y[0])];
        }
        let tie = b.and(b.cmp(Cmp::Eq, y[0], x[0]), b.cmp(Cmp::Lt, y[1], x[1]));
        let take = b.or(b.cmp(Cmp::Gt, y[0], x[0]), tie);
        vec![b.select(take, y[0], x[0]), b.select(take, y[1], x[1])]
    }

    /// The state of `width` (a power of two up to 32) neighbouring lanes, known to all of them.
    pub fn merge_lanes<'c>(&self, b: &Builder<'c>, state: &[V<'c>], width: u32) -> Vec<V<'c>> {
        let masks = (0..width.trailing_zeros()).rev().map(|bit| 1 << bit);
        masks.fold(state.to_vec(), |state, mask| {
            let other: Vec<V> = state.iter().map(|v| b.shuffle_xor(*v, mask)).collect();
            self.merge(b, &state, &other)
        })
    }

    /// The result, of the dtype of `Value::Reduced`.
    pub fn finish<'c>(&self, b: &Builder<'c>, state: &[V<'c>]) -> V<'c> {
        match self.kind {
            Reduction::ArgMax => state[1],
            _ => b.cast(state[0], self.dtype),
        }
    }
}

/// Cuts what several accumulators hold into the states of each.
pub fn states<'s, 'c>(accumulators: &[Accumulator], mut all: &'s [V<'c>]) -> Vec<&'s [V<'c>]> {
    let cut = |a: &Accumulator| {
        let (head, rest) = all.split_at(a.types().len());
        all = rest;
        head
    };
    accumulators.iter().map(cut).collect()
}

/// Values that reductions and stores are computed from.
pub fn roots(reduce: &[(Reduction, usize)], store: &[Store]) -> Vec<usize> {
    reduce.iter().map(|(_, v)| *v).chain(store_roots(store)).collect()
}
