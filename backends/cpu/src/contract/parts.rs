//! Parts of a contraction's operands and result, and where they begin.

use super::ROW_PADDING;
use crate::entry::Entry;
use crate::gemm::code::Code;
use crate::gemm::{Factors, Layout, Tile};
use inkwell::values::{IntValue, PointerValue};
use ir::dim::Dim;
use ir::kernel::Strided;

/// A part of the right operand.
pub(super) struct PackItem<'c> {
    /// Position along the shared batch axes.
    pub(super) batch: Vec<IntValue<'c>>,
    pub(super) first: IntValue<'c>,
    /// Steps of the summed axis.
    pub(super) count: IntValue<'c>,
    pub(super) column: IntValue<'c>,
    pub(super) columns: IntValue<'c>,
}

/// A part of the result.
pub(super) struct Block<'c> {
    pub(super) batch: Vec<IntValue<'c>>,
    pub(super) row: IntValue<'c>,
    pub(super) rows: IntValue<'c>,
    pub(super) column: IntValue<'c>,
    pub(super) columns: IntValue<'c>,
    /// Its first row of the left operand, its first panel of the right one.
    pub(super) from: PointerValue<'c>,
    pub(super) panels: PointerValue<'c>,
}

/// How copied rows of the left operand lie in a thread's scratch.
pub(super) struct Copies {
    pub(super) layout: Layout,
    pub(super) tile: Tile,
    /// Steps of the summed axis.
    pub(super) pass: i64,
}

impl Copies {
    /// Elements between rows; between steps where rows lie side by side.
    pub(super) fn stride(&self) -> i64 {
        match self.layout {
            Layout::Rows => self.pass + ROW_PADDING,
            Layout::Columns => self.tile.rows as i64,
        }
    }

    /// Elements between groups of rows of a tile.
    pub(super) fn group(&self) -> i64 {
        let height = self.tile.rows as i64;
        match self.layout {
            Layout::Rows => self.stride() * height,
            Layout::Columns => self.pass * height + ROW_PADDING,
        }
    }

    /// Elements of so many rows, which are whole groups.
    pub(super) fn elements(&self, rows: i64) -> i64 {
        self.group() * rows / self.tile.rows as i64
    }
}

/// Steps of the summed axis with one stride: `count` from (`outer`, `inner`) on, `done` after the first asked for.
pub(super) struct Run<'c> {
    pub(super) outer: IntValue<'c>,
    pub(super) inner: IntValue<'c>,
    pub(super) count: IntValue<'c>,
    pub(super) done: IntValue<'c>,
}

impl<'c> Run<'c> {
    /// Where the run begins in an operand that starts at `from`.
    pub(super) fn address(
        &self,
        e: &Entry<'_, 'c>,
        operand: &Strided,
        factors: Factors,
        from: PointerValue<'c>,
    ) -> PointerValue<'c> {
        let outer = e.imul(self.outer, e.dim(&operand.k_outer));
        let inner = e.imul(self.inner, e.i64(factors.count()));
        let at = e.iadd(outer, e.imul(inner, e.dim(&operand.k)));
        e.at(e.slots[operand.slot].dtype, from, at)
    }
}

/// A stride of an operand in bytes.
pub(super) fn bytes<'c>(e: &Entry<'_, 'c>, operand: &Strided, stride: &Dim) -> IntValue<'c> {
    let element = e.slots[operand.slot].dtype.bytes() as i64;
    e.dim(&(stride.clone() * Dim::from(element)))
}

/// The address of row (or column) `free` of an operand at a position along its batch axes.
pub(super) fn operand<'c>(
    e: &Entry<'_, 'c>,
    operand: &Strided,
    batch: impl Iterator<Item = (usize, IntValue<'c>)>,
    free: IntValue<'c>,
) -> PointerValue<'c> {
    let start = e.iadd(e.dim(&operand.base), e.imul(free, e.dim(&operand.free)));
    let at = batch.fold(start, |at, (axis, i)| {
        e.iadd(at, e.imul(i, e.dim(&operand.batch[axis])))
    });
    e.at(e.slots[operand.slot].dtype, e.slot(operand.slot), at)
}

/// Divides `count` steps from step `first` on into runs within one outer step, which has `inner` steps; `None` where there is
/// one outer step alone.
pub(super) fn each_run<'c>(
    code: &Code<'_, 'c>,
    inner: Option<IntValue<'c>>,
    (first, count): (IntValue<'c>, IntValue<'c>),
    body: impl FnOnce(Run<'c>),
) {
    let Some(k) = inner else {
        return body(Run {
            outer: code.int(0),
            inner: first,
            count,
            done: code.int(0),
        });
    };
    code.when(code.less(code.int(0), count), || {
        let end = code.add(first, count);
        let (from, (last, _)) = (code.div_rem(first, k).0, code.div_rem(code.sub(end, code.int(1)), k));
        code.each(from, code.add(last, code.int(1)), 1, |outer| {
            let start = code.mul(outer, k);
            let begin = code.max(first, start);
            let count = code.sub(code.min(end, code.add(start, k)), begin);
            body(Run {
                outer,
                inner: code.sub(begin, start),
                count,
                done: code.sub(begin, first),
            });
        });
    });
}
