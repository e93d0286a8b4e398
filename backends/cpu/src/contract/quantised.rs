//! Contractions of operands that are divided into levels.
//!
//! As other contractions, with passes of whole blocks of levels: the packing entry brings the right operand into panels of
//! f32 and divides these, the product entry divides rows of the left operand as it copies them.

use super::parts::PackItem;
use super::{Plan, canonical};
use crate::Error;
use crate::Schedule;
use crate::entry::{Emitted, Entry, Unit, unsupported};
use crate::gemm::bytes::{self, Bytes, ROW_SCALES};
use crate::gemm::code::Code;
use crate::gemm::{Layout, Tile};
use inkwell::values::{IntValue, PointerValue};
use ir::dim::Dim;
use ir::kernel::{Contract, Kernel};
use ir::rounding::Levels;
use ir::scalar::DType;

/// Columns of a product whose passes are of one block of levels.
const NARROW: i64 = 64;

/// Writes the entries.
///
/// # Errors
/// Where this processor multiplies fewer levels, and where the right operand is not f32: weights are.
pub fn emit(unit: &Unit, name: &str, kernel: &Kernel, body: &Contract, levels: Levels) -> Result<Emitted, Error> {
    let target = unit.target;
    if kernel.slots[body.b.slot].dtype != DType::F32 {
        return unsupported(name, "a product of levels whose right operand is not f32");
    }
    let schedule = target.schedule_of_bytes();
    let tile = Tile::of(target, schedule);
    // Few columns do not pay for reading rows from L2 again: a pass of them shall fit L1.
    let narrow = body.n.as_const().is_some_and(|n| n <= NARROW);
    let depth = if narrow { 0 } else { schedule.depth };
    let Some(bytes) = Bytes::new(target, tile, levels, depth) else {
        return unsupported(
            name,
            format!("a product of {levels}, more than this processor adds up exactly,"),
        );
    };
    let schedule = Schedule {
        depth: bytes.pass,
        ..schedule
    };
    let in_bf16 = kernel.slots[body.a.slot].dtype == DType::Bf16;
    let mut plan = Plan::new(tile, schedule, canonical::with_long_steps(body.clone()), &kernel.slots);
    // Rows are brought into this order on the way, and divided into levels.
    plan.layout = Layout::Rows;
    plan.in_place = false;
    plan.panel_bytes = super::ceil_div(&plan.depth, bytes.block()) * Dim::from(bytes.block_bytes());
    let product = Quantised { plan, bytes, in_bf16 };
    let of_product = product.scales_at() + product.scales_bytes() * (bytes.pass / bytes.block());
    // Packing has a panel of f32 there.
    let scratch = of_product.max(bytes.pass * tile.step_bytes());
    product.plan.finish(
        (unit, name, &kernel.slots),
        scratch,
        |e| product.write_pack(e),
        |e| product.write_product(e),
    )
}

struct Quantised {
    plan: Plan,
    bytes: Bytes,
    /// Whether the left operand is.
    in_bf16: bool,
}

impl Quantised {
    /// Places in a thread's memory: the block of the result, copied rows, rows of levels, their scales.
    fn copies_at(&self) -> i64 {
        4 * self.plan.c_elements()
    }

    fn levels_at(&self) -> i64 {
        let copies = if self.copies() { self.plan.a_elements() } else { 0 };
        self.copies_at() + 4 * copies
    }

    fn scales_at(&self) -> i64 {
        self.levels_at() + self.plan.rows * self.bytes.row_bytes()
    }

    /// Bytes of the scales of one block of levels.
    fn scales_bytes(&self) -> i64 {
        self.plan.rows * ROW_SCALES
    }

    /// Whether the rows of a block are not contiguous f32 in memory.
    fn copies(&self) -> bool {
        self.in_bf16 || !(self.plan.body.k_outer.is_one() && self.plan.body.a.k.is_one())
    }

    fn write_pack(&self, e: Entry) {
        let code = Code::of(&e);
        let (plan, bytes) = (&self.plan, self.bytes);
        let divide = bytes::quantise_panel(e.unit, bytes);
        let width = plan.tile.columns();
        code.each(e.begin, e.end, 1, |item| {
            let PackItem {
                batch,
                first,
                count,
                column,
                columns,
            } = plan.pack_item(&e, &code, item);
            let end = code.add(column, columns);
            code.each(column, end, width, |column| {
                let columns = code.min(code.sub(end, column), code.int(width));
                let from = plan.right(&e, &batch, column);
                plan.each_run(&e, &code, (first, count), |run| {
                    let to = code.at(e.scratch, code.scale(run.done, plan.tile.step_bytes()));
                    plan.call_pack(&e, &code, (&run, from, columns), (to, code.int(0)));
                });
                let panel = plan.panel(&e, &batch, code.div_rem(column, code.int(width)).0);
                code.each(code.int(0), count, bytes.block(), |k| {
                    let from = code.at(e.scratch, code.scale(k, plan.tile.step_bytes()));
                    let steps = code.min(code.sub(count, k), code.int(bytes.block()));
                    let to = self.part(&code, panel, code.add(first, k));
                    code.call(divide, &[from.into(), steps.into(), to.into()]);
                });
            });
        });
        e.finish();
    }

    /// A panel's block that begins with step `first`.
    fn part<'c>(&self, code: &Code<'_, 'c>, panel: PointerValue<'c>, first: IntValue<'c>) -> PointerValue<'c> {
        let number = code.div_rem(first, code.int(self.bytes.block())).0;
        code.at(panel, code.scale(number, self.bytes.block_bytes()))
    }

    /// Writes zeros where the sums of a block would be.
    fn clear<'c>(&self, e: &Entry<'_, 'c>, code: &Code<'_, 'c>, rows: IntValue<'c>) {
        let end = code.scale(rows, self.plan.c_stride());
        code.each(code.int(0), end, code.lanes as i64, |i| {
            code.store(code.at(e.scratch, code.scale(i, 4)), code.zero())
        });
    }

    /// Divides `count` steps of rows into levels, block by block.
    fn divide_rows<'c>(
        &self,
        code: &Code<'_, 'c>,
        (from, row_bytes, rows): (PointerValue<'c>, IntValue<'c>, IntValue<'c>),
        count: IntValue<'c>,
        (levels, scales): (PointerValue<'c>, PointerValue<'c>),
    ) {
        let divide = bytes::quantise_rows(code.unit, self.bytes);
        let block = self.bytes.block();
        code.each(code.int(0), count, block, |k| {
            let number = code.div_rem(k, code.int(block)).0;
            let from = code.at(from, code.scale(k, 4));
            let steps = code.min(code.sub(count, k), code.int(block));
            let (levels, scales) = (
                code.at(levels, k),
                code.at(scales, code.scale(number, self.scales_bytes())),
            );
            let (from, row_bytes, rows) = (from.into(), row_bytes.into(), rows.into());
            code.call(
                divide,
                &[from, row_bytes, rows, steps.into(), levels.into(), scales.into()],
            );
        });
    }

    fn write_product(&self, e: Entry) {
        let code = Code::of(&e);
        let plan = &self.plan;
        let multiply = bytes::multiply_bytes(e.unit, self.bytes);
        let [copies, levels, scales] =
            [self.copies_at(), self.levels_at(), self.scales_at()].map(|at| code.at_const(e.scratch, at));
        let depth = e.dim(&plan.depth);
        code.each(e.begin, e.end, 1, |item| {
            let block = plan.block(&e, &code, item);
            code.when(code.equal(depth, code.int(0)), || self.clear(&e, &code, block.rows));
            code.each(code.int(0), depth, plan.pass, |first| {
                let count = code.min(code.sub(depth, first), code.int(plan.pass));
                let (from, row_bytes) = if self.copies() {
                    plan.copy_rows(&e, &code, (block.from, block.rows), (first, count), copies);
                    (copies, code.int(4 * plan.copies().stride()))
                } else {
                    (
                        code.at(block.from, code.scale(first, 4)),
                        super::bytes(&e, &plan.body.a, &plan.body.a.free),
                    )
                };
                self.divide_rows(&code, (from, row_bytes, block.rows), count, (levels, scales));
                let later = code.select(code.less(code.int(0), first), code.int(1), code.int(0));
                code.call(
                    multiply,
                    &[
                        levels.into(),
                        scales.into(),
                        code.int(self.scales_bytes()).into(),
                        block.rows.into(),
                        self.part(&code, block.panels, first).into(),
                        plan.panel_bytes(&e).into(),
                        code.ceil_div(block.columns, plan.tile.columns()).into(),
                        count.into(),
                        e.scratch.into(),
                        code.int(4 * plan.c_stride()).into(),
                        later.into(),
                    ],
                );
            });
            plan.write_epilogue(&e, &code, &block);
        });
        e.finish();
    }
}
