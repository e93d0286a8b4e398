//! Reductions: vector accumulators, combined lane by lane in an order that only the number of lanes decides.

use crate::entry::{Entry, V};
use inkwell::values::VectorValue;
use inkwell::{FloatPredicate, IntPredicate};
use ir::kernel::Reduction;
use ir::scalar::DType;

/// How one reduction is accumulated. Its state is one or two vectors.
#[derive(Clone, Copy)]
pub struct Accumulator {
    kind: Reduction,
    dtype: DType,
    /// What sums are accumulated in.
    inner: DType,
}

impl Accumulator {
    /// Of values of `dtype`. With `long`, f32 values are summed in f64.
    pub fn new(kind: Reduction, dtype: DType, long: bool) -> Accumulator {
        let wide = long && kind == Reduction::Sum && dtype == DType::F32;
        Accumulator {
            kind,
            dtype,
            inner: if wide { DType::F64 } else { dtype },
        }
    }

    /// What changes no result.
    fn identity<'c>(&self, e: &Entry<'_, 'c>) -> V<'c> {
        match self.kind {
            Reduction::Sum => e.constant(self.inner, 0.0),
            _ if self.dtype.is_float() => e.constant(self.dtype, f64::NEG_INFINITY),
            _ => e.i32(i32::MIN),
        }
    }

    /// The type of the result.
    pub fn dtype(&self) -> DType {
        if self.kind == Reduction::ArgMax {
            DType::I32
        } else {
            self.dtype
        }
    }

    /// Vectors of state.
    pub fn len(&self) -> usize {
        if self.kind == Reduction::ArgMax { 2 } else { 1 }
    }

    /// The state before the first value. Lane i of an arg-max starts at column i, its first one.
    pub fn start<'c>(&self, e: &Entry<'_, 'c>) -> Vec<V<'c>> {
        let first = e.splat(self.identity(e), e.lanes);
        if self.kind == Reduction::ArgMax {
            vec![first, e.iota(false)]
        } else {
            vec![first]
        }
    }

    /// Takes one value per lane; `position` is its column.
    pub fn add<'c>(
        &self,
        e: &Entry<'_, 'c>,
        state: &[V<'c>],
        x: V<'c>,
        position: impl FnOnce() -> V<'c>,
        mask: Option<VectorValue<'c>>,
    ) -> Vec<V<'c>> {
        let x = e.splat(e.cast(x, self.inner), e.lanes);
        let x = mask.map_or(x, |m| e.select(m.into(), x, self.identity(e)));
        match self.kind {
            Reduction::Sum => vec![self.sum(e, state[0], x)],
            Reduction::Max => vec![e.max(x, state[0])],
            Reduction::ArgMax => {
                let take = self.beats(e, x, state[0]);
                vec![e.select(take, x, state[0]), e.select(take, position(), state[1])]
            }
        }
    }

    fn sum<'c>(&self, e: &Entry<'_, 'c>, x: V<'c>, y: V<'c>) -> V<'c> {
        if self.inner.is_float() {
            e.fadd(x, y)
        } else {
            e.add(x, y)
        }
    }

    /// Whether `x` replaces `y` as a maximum whose position is wanted; NaN never does.
    fn beats<'c>(&self, e: &Entry<'_, 'c>, x: V<'c>, y: V<'c>) -> V<'c> {
        if self.dtype.is_float() {
            e.fcmp(FloatPredicate::OGT, x, y)
        } else {
            e.icmp(IntPredicate::SGT, x, y)
        }
    }

    /// The result over all lanes, a scalar.
    pub fn finish<'c>(&self, e: &Entry<'_, 'c>, state: &[V<'c>]) -> V<'c> {
        let folded = e.fold_lanes_of(state, |x, y| match self.kind {
            Reduction::Sum => vec![self.sum(e, x[0], y[0])],
            Reduction::Max => vec![e.max(x[0], y[0])],
            Reduction::ArgMax => {
                // Of equal maxima the one further left.
                let (better, worse) = (self.beats(e, y[0], x[0]), self.beats(e, x[0], y[0]));
                let tie = e.xor(e.or(better, worse), e.ctx.bool_type().const_int(1, false).into());
                let left = e.and(tie, e.icmp(IntPredicate::SLT, y[1], x[1]));
                let take = e.or(better, left);
                vec![e.select(take, y[0], x[0]), e.select(take, y[1], x[1])]
            }
        });
        let result = folded[self.len() - 1];
        e.cast(result, self.dtype())
    }
}
