//! Contractions: matrix products of strided operands with an epilogue.
//!
//! A first entry packs all of the right operand into the workspace, once for all batches that share it; every thread then
//! has it in the micro-kernels' order. The second entry makes one block of the result per item: for each chunk of the
//! summed axis it copies the rows' part of the left operand into its scratch, unless it is best read where it is, and
//! multiplies, summing up in a block that stays in L2; after the last chunk the epilogue passes over the block, vector by
//! vector.
//!
//! Where operands are rounded to bf16, a step of the summed axis is two of its elements; what is f32 in memory is rounded where
//! it is copied or packed. Each outer part has whole steps of its own.
//!
//! Convolutions that have one go by a scheme of fewer multiplications (`bilinear`).
//!
//! The summed axis is treated as one axis of `k_outer * k` steps; only address computations see its two parts.

mod bilinear;
mod canonical;
mod epilogue;
mod fixed;
mod parts;
mod quantised;

use crate::entry::{Emitted, Entry, Unit, unsupported};
use crate::gemm::code::Code;
use crate::gemm::{self, Factors, Layout, Order, Sink, Tile};
use crate::{Error, Schedule, Shape, scheme::scheme};
use inkwell::values::{FunctionValue, IntValue, PointerValue};
use ir::dim::Dim;
use ir::kernel::{Contract, Kernel, SlotDecl, Strided};
use ir::rounding::Rounding;
use ir::scalar::DType;
use parts::{Block, Copies, PackItem, Run, bytes, operand};

/// Columns that one item of the packing entry packs, about.
const PACK_COLUMNS: i64 = 128;
/// Blocks of a product that divide well among threads.
const ENOUGH: i64 = 20;
/// Micro-kernels along the rows of a block, which share what is read of the right operand.
const LEAST_BLOCK_ROWS: i64 = 4;
/// Rows that overlap so many times are read where they are: copies of them would be as many times larger.
const OVERLAP: i64 = 4;
/// Rows whose distance is a multiple of so many bytes meet in the same one or two sets of L1: they are copied unless they
/// overlap.
const SAME_SETS: i64 = 2048;
/// Elements between the rows of a copy: off a power of two, so that rows do not compete for the same cache sets.
const ROW_PADDING: i64 = 16;

/// Writes the entries of a contraction.
///
/// # Errors
/// If an operand is of another type than f32, unless products are of bf16.
pub fn emit(unit: &Unit, name: &str, kernel: &Kernel, body: &Contract) -> Result<Emitted, Error> {
    let slots = &kernel.slots;
    let in_f32 = |operand: &Strided| slots[operand.slot].dtype == DType::F32;
    let factors = match body.round {
        Rounding::Bf16 => Factors::Pairs,
        // To round bf16 changes nothing.
        Rounding::F32 if !in_f32(&body.a) && !in_f32(&body.b) => Factors::Pairs,
        Rounding::F32 => Factors::F32,
        Rounding::Int8(levels) => return quantised::emit(unit, name, kernel, body, levels),
    };
    let body = canonical::form(body.clone());
    if factors == Factors::F32 {
        if !in_f32(&body.a) || !in_f32(&body.b) {
            return unsupported(name, "a product in f32 of which one operand is bf16");
        }
        if let Some(scheme) = scheme(&body).filter(|_| !unit.target.direct) {
            return Ok(bilinear::emit(unit, name, kernel, (body, scheme)));
        }
    }
    let shape = match layout(&body) {
        Layout::Rows => Shape::Rows,
        Layout::Columns => Shape::Columns,
    };
    let schedule = match body.n.as_const() {
        Some(columns) => unit.target.schedule_for(shape, columns),
        None => unit.target.schedule(shape),
    };
    let tile = Tile {
        factors,
        ..Tile::of(unit.target, schedule)
    };
    let plan = Plan::new(tile, schedule, body, slots);
    let scratch = 4 * (plan.c_elements() + plan.a_elements());
    plan.finish(
        (unit, name, slots),
        scratch,
        |e| plan.write_pack(e),
        |e| plan.write_product(e),
    )
}

/// How micro-kernels read the left operand; one that is contiguous along neither axis is copied.
fn layout(body: &Contract) -> Layout {
    if body.a.k.is_one() || !body.a.free.is_one() {
        Layout::Rows
    } else {
        Layout::Columns
    }
}

/// The batch axes along which the right operand differs.
fn shared_batch(body: &Contract) -> Vec<usize> {
    let differs = |axis: &usize| !body.b.batch[*axis].is_zero();
    (0..body.batch.len()).filter(differs).collect()
}

/// The place of a position along these axes among all of them.
fn flat_batch<'c>(e: &Entry<'_, 'c>, body: &Contract, axes: &[usize], at: &[IntValue<'c>]) -> IntValue<'c> {
    axes.iter().zip(at).fold(e.i64(0), |flat, (axis, at)| {
        e.iadd(e.imul(flat, e.dim(&body.batch[*axis])), *at)
    })
}

/// Columns of a block: whole panels, at most `widest` columns, and the same for all blocks where their number is known.
fn block_columns(body: &Contract, tile: Tile, widest: i64) -> i64 {
    let columns = body.n.as_const().map_or(widest, |n| {
        let blocks = (n + widest - 1) / widest;
        let even = (n + blocks - 1) / blocks.max(1);
        (even + tile.columns() - 1) / tile.columns() * tile.columns()
    });
    columns.max(tile.columns())
}

fn ceil_div(d: &Dim, by: i64) -> Dim {
    (d.clone() + Dim::from(by - 1)).floor_div(by)
}

/// Sizes of blocks and the items of both entries.
struct Plan {
    tile: Tile,
    /// Steps of the summed axis per pass.
    pass: i64,
    body: Contract,
    /// Steps of the summed axis, and those of one outer part.
    depth: Dim,
    inner: Dim,
    /// Batch axes along which the right operand differs.
    shared_batch: Vec<usize>,
    /// Rows and columns of a block of the result.
    rows: i64,
    columns: i64,
    layout: Layout,
    /// Whether rows of the left operand are read where they are.
    in_place: bool,
    /// Bytes of one panel of the right operand.
    panel_bytes: Dim,
    /// Columns that one item of the packing entry packs: whole panels.
    pack_columns: i64,
    /// Extents: batch axes of the right operand, chunks of the summed axis, groups of columns.
    pack_items: Vec<Dim>,
    /// Extents: batch axes, blocks of rows, blocks of columns: neighbours share the left operand, which is not packed yet.
    items: Vec<Dim>,
}

impl Plan {
    fn new(tile: Tile, schedule: Schedule, body: Contract, slots: &[SlotDecl]) -> Plan {
        let inner = ceil_div(&body.k, tile.factors.count());
        let depth = body.k_outer.clone() * inner.clone();
        let shared_batch = shared_batch(&body);
        let columns = block_columns(&body, tile, schedule.block_columns);
        let rows = tile.rows as i64 * Plan::block_rows(&body, &schedule, columns);
        let layout = layout(&body);
        let in_place = Plan::reads_in_place(&body, tile.factors, slots[body.a.slot].dtype);
        let pack_columns = (PACK_COLUMNS / tile.columns()).max(1) * tile.columns();
        let pack_batch = shared_batch.iter().map(|axis| body.batch[*axis].clone());
        let pack_items = pack_batch
            .chain([ceil_div(&depth, schedule.depth), ceil_div(&body.n, pack_columns)])
            .collect();
        let blocks = [ceil_div(&body.m, rows), ceil_div(&body.n, columns)];
        let items = body.batch.iter().cloned().chain(blocks).collect();
        Plan {
            tile,
            panel_bytes: depth.clone() * Dim::from(tile.step_bytes()),
            pass: schedule.depth,
            body,
            depth,
            inner,
            shared_batch,
            rows,
            columns,
            layout,
            in_place,
            pack_columns,
            pack_items,
            items,
        }
    }

    /// Whether rows are read where they are: contiguous ones of whole steps that spread over the cache or share most of what
    /// they hold.
    fn reads_in_place(body: &Contract, factors: Factors, dtype: DType) -> bool {
        let Some(from_row_to_row) = body.a.free.as_const() else {
            return false;
        };
        let whole = match factors {
            Factors::F32 => true,
            Factors::Pairs => dtype == DType::Bf16 && body.k.as_const().is_some_and(|k| k % 2 == 0),
        };
        let overlap = body
            .k
            .as_const()
            .is_some_and(|row| row >= OVERLAP * from_row_to_row.abs());
        let spread = from_row_to_row * dtype.bytes() as i64 % SAME_SETS != 0;
        whole && (overlap || spread) && body.a.k.is_one() && body.k_outer.is_one()
    }

    /// Micro-kernels along the rows of a block: fewer where there would be so few blocks that threads wait for the last one,
    /// as far as sizes are known when compiling.
    fn block_rows(body: &Contract, schedule: &Schedule, columns: i64) -> i64 {
        let blocks = |rows: i64| {
            let batch = body.batch.iter().cloned().product::<Dim>();
            let all = batch * ceil_div(&body.m, schedule.rows as i64 * rows) * ceil_div(&body.n, columns);
            all.as_const()
        };
        let halved = std::iter::successors(Some(schedule.block_rows), |rows| Some(rows / 2));
        let enough = |rows: &i64| blocks(*rows).is_none_or(|n| n >= ENOUGH);
        let possible = halved.take_while(|rows| *rows >= LEAST_BLOCK_ROWS);
        possible
            .clone()
            .find(enough)
            .or(possible.last())
            .unwrap_or(schedule.block_rows)
    }

    /// Elements between rows of the block of the result.
    fn c_stride(&self) -> i64 {
        self.columns + ROW_PADDING
    }

    fn c_elements(&self) -> i64 {
        self.rows * self.c_stride()
    }

    fn copies(&self) -> Copies {
        Copies {
            layout: self.layout,
            tile: self.tile,
            pass: self.pass,
        }
    }

    fn a_elements(&self) -> i64 {
        if self.in_place {
            return 0;
        }
        self.copies().elements(self.rows)
    }

    /// Writes both entries, for a product whose threads need `scratch` bytes each.
    fn finish(
        &self,
        (unit, name, slots): (&Unit, &str, &[SlotDecl]),
        scratch: i64,
        pack: impl FnOnce(Entry),
        product: impl FnOnce(Entry),
    ) -> Result<Emitted, Error> {
        let pack_name = format!("{name}_pack");
        pack(unit.entry(&pack_name, slots));
        product(unit.entry(name, slots));
        let copies = self.shared_batch.iter().map(|axis| self.body.batch[*axis].clone());
        Ok(Emitted {
            entries: vec![
                (pack_name, self.pack_items.iter().cloned().product()),
                (name.into(), self.items.iter().cloned().product()),
            ],
            prepares: fixed::packed_slot(&self.body),
            workspace: copies.product::<Dim>() * ceil_div(&self.body.n, self.tile.columns()) * self.panel_bytes.clone(),
            scratch: Dim::from(scratch),
            saved: Dim::default(),
        })
    }

    fn panel_bytes<'c>(&self, e: &Entry<'_, 'c>) -> IntValue<'c> {
        e.dim(&self.panel_bytes)
    }

    /// The address of a packed panel, given the position along the shared batch axes.
    fn panel<'c>(&self, e: &Entry<'_, 'c>, batch: &[IntValue<'c>], panel: IntValue<'c>) -> PointerValue<'c> {
        let flat = flat_batch(e, &self.body, &self.shared_batch, batch);
        let panels = e.dim(&ceil_div(&self.body.n, self.tile.columns()));
        let panel = e.iadd(e.imul(flat, panels), panel);
        e.byte_at(e.workspace, e.imul(panel, self.panel_bytes(e)))
    }

    /// Brings a part of the right operand into panels.
    fn pack_function<'c>(&self, e: &Entry<'_, 'c>) -> FunctionValue<'c> {
        let (unit, b) = (e.unit, &self.body.b);
        let order = if b.free.is_one() {
            Order::Free
        } else if b.k.is_one() {
            Order::Depth
        } else {
            Order::Strided
        };
        match (self.tile.factors, order) {
            (Factors::Pairs, order) => gemm::pack_pairs(unit, self.tile, order, e.slots[b.slot].dtype),
            (Factors::F32, Order::Free) => gemm::pack_along_columns(unit, self.tile),
            (Factors::F32, Order::Depth) => gemm::pack_along_depth(unit, self.tile),
            (Factors::F32, Order::Strided) => gemm::pack_strided(unit, self.tile),
        }
    }

    /// Elements of a run of steps.
    fn elements<'c>(&self, e: &Entry<'_, 'c>, code: &Code<'_, 'c>, run: &Run<'c>) -> IntValue<'c> {
        match self.tile.factors {
            Factors::F32 => run.count,
            Factors::Pairs => {
                let left = code.sub(e.dim(&self.body.k), code.scale(run.inner, 2));
                code.min(code.scale(run.count, 2), left)
            }
        }
    }

    /// Packs a run of the steps of `columns` columns at `from` into panels, the first of them at `to`.
    fn call_pack<'c>(
        &self,
        e: &Entry<'_, 'c>,
        code: &Code<'_, 'c>,
        (run, from, columns): (&Run<'c>, PointerValue<'c>, IntValue<'c>),
        (to, panel_bytes): (PointerValue<'c>, IntValue<'c>),
    ) {
        let b = &self.body.b;
        let from = run.address(e, b, self.tile.factors, from).into();
        let count = self.elements(e, code, run).into();
        let [free, k] = [&b.free, &b.k].map(|stride| bytes(e, b, stride).into());
        let args = [from, free, k, columns.into(), count, to.into(), panel_bytes.into()];
        code.call(self.pack_function(e), &args);
    }

    /// What an item of the packing entry packs: a position along the shared batch axes, the first step and how many, the
    /// first column and how many.
    fn pack_item<'c>(&self, e: &Entry<'_, 'c>, code: &Code<'_, 'c>, item: IntValue<'c>) -> PackItem<'c> {
        let mut at = e.unravel(item, &self.pack_items);
        let (first, column) = (at[at.len() - 2], at[at.len() - 1]);
        at.truncate(self.shared_batch.len());
        let (first, column) = (code.scale(first, self.pass), code.scale(column, self.pack_columns));
        PackItem {
            batch: at,
            first,
            count: code.min(code.sub(e.dim(&self.depth), first), code.int(self.pass)),
            column,
            columns: code.min(code.sub(e.dim(&self.body.n), column), code.int(self.pack_columns)),
        }
    }

    fn write_pack(&self, e: Entry) {
        let code = Code::of(&e);
        code.each(e.begin, e.end, 1, |item| {
            let PackItem {
                batch,
                first,
                count,
                column,
                columns,
            } = self.pack_item(&e, &code, item);
            let from = self.right(&e, &batch, column);
            let to = self.panel(&e, &batch, code.div_rem(column, code.int(self.tile.columns())).0);
            self.each_run(&e, &code, (first, count), |run| {
                let to = code.at(to, code.scale(code.add(first, run.done), self.tile.step_bytes()));
                self.call_pack(&e, &code, (&run, from, columns), (to, self.panel_bytes(&e)));
            });
        });
        e.finish();
    }

    /// The address of a column of the right operand, given the position along the shared batch axes.
    fn right<'c>(&self, e: &Entry<'_, 'c>, batch: &[IntValue<'c>], column: IntValue<'c>) -> PointerValue<'c> {
        let place = self.shared_batch.iter().copied().zip(batch.iter().copied());
        operand(e, &self.body.b, place, column)
    }

    /// What an item of the product's entry computes.
    fn block<'c>(&self, e: &Entry<'_, 'c>, code: &Code<'_, 'c>, item: IntValue<'c>) -> Block<'c> {
        let mut at = e.unravel(item, &self.items);
        let (row, column) = (at[at.len() - 2], at[at.len() - 1]);
        at.truncate(self.body.batch.len());
        let (row, column) = (code.scale(row, self.rows), code.scale(column, self.columns));
        let shared: Vec<_> = self.shared_batch.iter().map(|axis| at[*axis]).collect();
        Block {
            from: operand(e, &self.body.a, at.iter().copied().enumerate(), row),
            panels: self.panel(e, &shared, code.div_rem(column, code.int(self.tile.columns())).0),
            batch: at,
            row,
            rows: code.min(code.sub(e.dim(&self.body.m), row), code.int(self.rows)),
            column,
            columns: code.min(code.sub(e.dim(&self.body.n), column), code.int(self.columns)),
        }
    }

    fn write_product(&self, e: Entry) {
        let code = Code::of(&e);
        let multiply = gemm::multiply_block(e.unit, self.tile, self.layout, Sink::Block);
        let c = e.scratch;
        let a = code.at_const(c, 4 * self.c_elements());
        let depth = e.dim(&self.depth);
        code.each(e.begin, e.end, 1, |item| {
            let block = self.block(&e, &code, item);
            // A depth of 0 still takes one round, which writes the zeros.
            code.each(code.int(0), code.max(depth, code.int(1)), self.pass, |first| {
                let count = code.min(code.sub(depth, first), code.int(self.pass));
                let (a, stride, group) = if self.in_place {
                    let stride = bytes(&e, &self.body.a, &self.body.a.free);
                    let group = code.scale(stride, self.tile.rows as i64);
                    (code.at(block.from, code.scale(first, 4)), stride, group)
                } else {
                    self.copy_rows(&e, &code, (block.from, block.rows), (first, count), a);
                    (
                        a,
                        code.int(4 * self.copies().stride()),
                        code.int(4 * self.copies().group()),
                    )
                };
                let later = code.select(code.less(code.int(0), first), code.int(1), code.int(0));
                code.call(
                    multiply,
                    &[
                        a.into(),
                        stride.into(),
                        group.into(),
                        block.rows.into(),
                        code.at(block.panels, code.scale(first, self.tile.step_bytes())).into(),
                        self.panel_bytes(&e).into(),
                        code.ceil_div(block.columns, self.tile.columns()).into(),
                        count.into(),
                        c.into(),
                        code.int(4 * self.c_stride()).into(),
                        later.into(),
                    ],
                );
            });
            self.write_epilogue(&e, &code, &block);
        });
        e.finish();
    }

    /// Copies `count` steps from step `first` on of the rows at `from` to `to`.
    fn copy_rows<'c>(
        &self,
        e: &Entry<'_, 'c>,
        code: &Code<'_, 'c>,
        (from, rows): (PointerValue<'c>, IntValue<'c>),
        (first, count): (IntValue<'c>, IntValue<'c>),
        to: PointerValue<'c>,
    ) {
        let operand = &self.body.a;
        let order = match self.layout {
            Layout::Rows if operand.k.is_one() => Order::Depth,
            Layout::Rows => Order::Strided,
            Layout::Columns => Order::Free,
        };
        let dtype = e.slots[operand.slot].dtype;
        let copy = match (self.tile.factors, order) {
            (Factors::Pairs, order) => gemm::copy_pairs(e.unit, self.tile, order, dtype),
            (Factors::F32, order) if dtype == DType::Bf16 => gemm::copy_widened(e.unit, order),
            (Factors::F32, Order::Depth) => gemm::copy_along_depth(e.unit),
            (Factors::F32, Order::Strided) => gemm::copy_strided(e.unit),
            (Factors::F32, Order::Free) => gemm::copy_along_rows(e.unit, self.tile),
        };
        let (step, stride) = match self.layout {
            Layout::Rows => (4, 4 * self.copies().stride()),
            Layout::Columns => (4 * self.copies().stride(), 4 * self.copies().group()),
        };
        self.each_run(e, code, (first, count), |run| {
            code.call(
                copy,
                &[
                    run.address(e, operand, self.tile.factors, from).into(),
                    bytes(e, operand, &operand.free).into(),
                    bytes(e, operand, &operand.k).into(),
                    rows.into(),
                    self.elements(e, code, &run).into(),
                    code.at(to, code.scale(run.done, step)).into(),
                    code.int(stride).into(),
                ],
            );
        });
    }

    fn write_epilogue<'c>(&self, e: &Entry<'_, 'c>, code: &Code<'_, 'c>, block: &Block<'c>) {
        let part = (block.batch.as_slice(), block.column, block.columns);
        epilogue::write((e, code), &self.body, part, |write_row| {
            code.each(code.int(0), block.rows, 1, |i| {
                let sums = code.at(e.scratch, code.scale(i, 4 * self.c_stride()));
                write_row(code.add(block.row, i), sums);
            });
        });
    }

    /// Divides `count` steps from step `first` on into runs within one outer step.
    fn each_run<'c>(
        &self,
        e: &Entry<'_, 'c>,
        code: &Code<'_, 'c>,
        (first, count): (IntValue<'c>, IntValue<'c>),
        body: impl FnOnce(Run<'c>),
    ) {
        let inner = (!self.body.k_outer.is_one()).then(|| e.dim(&self.inner));
        parts::each_run(code, inner, (first, count), body);
    }
}

#[cfg(test)]
mod tests;
