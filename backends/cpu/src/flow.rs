//! Control flow of an entry function: positions, counted loops, conditions.

use crate::entry::{BUILT, Entry, V};
use inkwell::IntPredicate;
use inkwell::basic_block::BasicBlock;
use inkwell::values::{IntValue, PhiValue, VectorValue};
use ir::dim::Dim;

/// An open counted loop; see [`Entry::open_loop`].
pub struct Loop<'c> {
    /// The loop's counter, i64.
    pub index: IntValue<'c>,
    /// Values carried from iteration to iteration, as seen at the start of one.
    pub carried: Vec<V<'c>>,
    end: IntValue<'c>,
    from: BasicBlock<'c>,
    init: Vec<V<'c>>,
    body: BasicBlock<'c>,
    exit: BasicBlock<'c>,
    phis: Vec<PhiValue<'c>>,
    index_phi: PhiValue<'c>,
}

/// Arithmetic of positions: i64 scalars.
impl<'c> Entry<'_, 'c> {
    pub fn iadd(&self, x: IntValue<'c>, y: IntValue<'c>) -> IntValue<'c> {
        self.b.build_int_add(x, y, "").expect(BUILT)
    }
    pub fn isub(&self, x: IntValue<'c>, y: IntValue<'c>) -> IntValue<'c> {
        self.b.build_int_sub(x, y, "").expect(BUILT)
    }
    pub fn imul(&self, x: IntValue<'c>, y: IntValue<'c>) -> IntValue<'c> {
        self.b.build_int_mul(x, y, "").expect(BUILT)
    }
    /// Both operands non-negative, `y` > 0.
    pub fn idiv(&self, x: IntValue<'c>, y: IntValue<'c>) -> IntValue<'c> {
        self.b.build_int_unsigned_div(x, y, "").expect(BUILT)
    }
    /// Both operands non-negative, `y` > 0.
    pub fn irem(&self, x: IntValue<'c>, y: IntValue<'c>) -> IntValue<'c> {
        self.b.build_int_unsigned_rem(x, y, "").expect(BUILT)
    }
    pub fn imin(&self, x: IntValue<'c>, y: IntValue<'c>) -> IntValue<'c> {
        let less = self.b.build_int_compare(IntPredicate::SLT, x, y, "").expect(BUILT);
        self.b.build_select(less, x, y, "").expect(BUILT).into_int_value()
    }
    pub fn imax(&self, x: IntValue<'c>, y: IntValue<'c>) -> IntValue<'c> {
        let more = self.b.build_int_compare(IntPredicate::SGT, x, y, "").expect(BUILT);
        self.b.build_select(more, x, y, "").expect(BUILT).into_int_value()
    }
    pub fn ilt(&self, x: IntValue<'c>, y: IntValue<'c>) -> IntValue<'c> {
        self.b.build_int_compare(IntPredicate::SLT, x, y, "").expect(BUILT)
    }

    /// Coordinates of position `flat` in a row-major space of these extents (all > 0 where `flat` is valid).
    pub fn unravel(&self, flat: IntValue<'c>, extents: &[Dim]) -> Vec<IntValue<'c>> {
        let mut rest = flat;
        let mut out = vec![];
        for (i, d) in extents.iter().enumerate().rev() {
            if i == 0 {
                out.push(rest);
            } else if d.is_one() {
                out.push(self.i64(0));
            } else {
                let n = self.dim(d);
                out.push(self.irem(rest, n));
                rest = self.idiv(rest, n);
            }
        }
        out.reverse();
        out
    }

    /// Lanes `first + lane < end`, i1.
    pub fn lane_mask(&self, first: IntValue<'c>, end: IntValue<'c>) -> VectorValue<'c> {
        // In 32 bits after clamping, so that one comparison serves all lanes.
        let left = self.imin(self.isub(end, first), self.i64(self.lanes as i64));
        let left = self.resize(left.into(), 32);
        self.icmp(IntPredicate::SLT, self.iota(false), left).into_vector_value()
    }
}

/// Loops and conditions.
impl<'c> Entry<'_, 'c> {
    /// Opens `for index in (begin..end).step_by(step)`, carrying values that start as `init`; the builder is then in the
    /// loop's body. Close it with [`Entry::close_loop`].
    pub fn open_loop(&self, begin: IntValue<'c>, end: IntValue<'c>, init: &[V<'c>]) -> Loop<'c> {
        let from = self.b.get_insert_block().expect("the builder is positioned");
        let body = self.ctx.append_basic_block(self.function, "loop");
        let exit = self.ctx.append_basic_block(self.function, "done");
        let some = self.ilt(begin, end);
        self.b.build_conditional_branch(some, body, exit).expect(BUILT);
        self.b.position_at_end(body);
        let index_phi = self.b.build_phi(self.ctx.i64_type(), "i").expect(BUILT);
        index_phi.add_incoming(&[(&begin, from)]);
        let phis: Vec<_> = init
            .iter()
            .map(|v| {
                let phi = self.b.build_phi(v.get_type(), "").expect(BUILT);
                phi.add_incoming(&[(v, from)]);
                phi
            })
            .collect();
        Loop {
            index: index_phi.as_basic_value().into_int_value(),
            carried: phis.iter().map(|p| p.as_basic_value()).collect(),
            end,
            from,
            init: init.to_vec(),
            body,
            exit,
            phis,
            index_phi,
        }
    }

    /// Closes a loop with the carried values' next values; gives their values after the loop.
    pub fn close_loop(&self, l: Loop<'c>, step: IntValue<'c>, next: &[V<'c>]) -> Vec<V<'c>> {
        assert_eq!(next.len(), l.phis.len(), "every carried value has a next value");
        let latch = self.b.get_insert_block().expect("the builder is positioned");
        let index = self.iadd(l.index, step);
        let more = self.ilt(index, l.end);
        self.b.build_conditional_branch(more, l.body, l.exit).expect(BUILT);
        l.index_phi.add_incoming(&[(&index, latch)]);
        for (phi, v) in l.phis.iter().zip(next) {
            phi.add_incoming(&[(v, latch)]);
        }
        self.b.position_at_end(l.exit);
        let outs = l.init.iter().zip(next).map(|(init, next)| {
            let phi = self.b.build_phi(init.get_type(), "").expect(BUILT);
            phi.add_incoming(&[(init, l.from), (next, latch)]);
            phi.as_basic_value()
        });
        outs.collect()
    }

    /// Runs `body` for every vector of positions in `first..last`: whole ones without a mask, then what is left with one.
    pub fn for_vectors(
        &self,
        first: IntValue<'c>,
        last: IntValue<'c>,
        body: impl Fn(IntValue<'c>, Option<VectorValue<'c>>),
    ) {
        let lanes = self.i64(self.lanes as i64);
        let count = self.imax(self.isub(last, first), self.i64(0));
        let whole = self.isub(count, self.irem(count, lanes));
        let middle = self.iadd(first, whole);
        let l = self.open_loop(first, middle, &[]);
        body(l.index, None);
        self.close_loop(l, lanes, &[]);
        self.when(self.ilt(middle, last), || {
            body(middle, Some(self.lane_mask(middle, last)))
        });
    }

    /// Runs `body` where `cond` (i1) holds.
    pub fn when<T>(&self, cond: IntValue<'c>, body: impl FnOnce() -> T) -> T {
        let then = self.ctx.append_basic_block(self.function, "then");
        let after = self.ctx.append_basic_block(self.function, "after");
        self.b.build_conditional_branch(cond, then, after).expect(BUILT);
        self.b.position_at_end(then);
        let out = body();
        self.b.build_unconditional_branch(after).expect(BUILT);
        self.b.position_at_end(after);
        out
    }
}
