//! Contractions by a [`Scheme`]: products of sums of parts.
//!
//! The packing entry brings the sums of the right operand's parts into panels. A block of the result is the same rows of
//! every part; for each chunk of the parts' summed axis and each product, the sum of the left operand's parts is
//! made in the thread's scratch and multiplied, and what comes out is added, times factors, to the parts that it belongs to.

use super::parts::{Copies, Run, bytes, each_run, operand};
use super::{PACK_COLUMNS, ROW_PADDING, block_columns, ceil_div, epilogue, fixed, flat_batch, shared_batch};
use crate::entry::{BUILT, Emitted, Entry, Unit};
use crate::gemm::code::Code;
use crate::gemm::{self, FACTOR_AT, Layout, Sink, TARGET_BYTES, Tile};
use crate::scheme::{Product, Scheme, Term, Time};
use crate::{Schedule, Shape};
use inkwell::values::{BasicMetadataValueEnum, IntValue, PointerValue};
use ir::dim::Dim;
use ir::kernel::{Contract, Kernel};

/// Writes the entries.
pub(super) fn emit(unit: &Unit, name: &str, kernel: &Kernel, (body, scheme): (Contract, Scheme)) -> Emitted {
    let schedule = unit.target.schedule(match scheme.time {
        Time::Rows => Shape::Outputs,
        Time::Depth => Shape::Taps,
    });
    let plan = Plan::new(Tile::of(unit.target, schedule), schedule, body, scheme);
    let pack = format!("{name}_pack");
    plan.write_pack(unit.entry(&pack, &kernel.slots));
    plan.write_product(unit.entry(name, &kernel.slots));
    let copies = plan.shared_batch.iter().map(|axis| plan.body.batch[*axis].clone());
    let panels = copies.product::<Dim>() * Dim::from(plan.scheme.right.len() as i64) * plan.panels();
    Emitted {
        entries: vec![
            (pack, plan.pack_items.iter().cloned().product()),
            (name.into(), plan.items.iter().cloned().product()),
        ],
        prepares: fixed::packed_slot(&plan.body),
        workspace: panels * plan.panel_bytes.clone(),
        scratch: Dim::from(4 * (plan.c_elements() + plan.a_elements())),
        saved: plan.scheme.saved(&plan.body),
    }
}

struct Plan {
    tile: Tile,
    pass: i64,
    body: Contract,
    scheme: Scheme,
    /// Steps of a part of the summed axis.
    depth: Dim,
    /// Batch axes along which the right operand differs.
    shared_batch: Vec<usize>,
    /// Rows of a part in a block of the result, and columns of the block.
    rows: i64,
    columns: i64,
    panel_bytes: Dim,
    pack_columns: i64,
    /// Extents: batch axes of the right operand, chunks of the summed axis, groups of columns, forms: neighbours read the
    /// same.
    pack_items: Vec<Dim>,
    /// Extents: batch axes, blocks of rows, blocks of columns.
    items: Vec<Dim>,
}

/// A block of the result.
struct Block<'c> {
    batch: Vec<IntValue<'c>>,
    /// The first row within a part, and the rows of the longest part.
    row: IntValue<'c>,
    rows: IntValue<'c>,
    column: IntValue<'c>,
    columns: IntValue<'c>,
    /// Where its batch element of the left operand begins.
    from: PointerValue<'c>,
    /// The place of its right operand among those that differ.
    copy: IntValue<'c>,
}

impl Plan {
    fn new(tile: Tile, schedule: Schedule, body: Contract, scheme: Scheme) -> Plan {
        let depth = match scheme.time {
            Time::Rows => body.k.floor_div(scheme.depth as i64),
            Time::Depth => body.k_outer.clone() * ceil_div(&body.k, scheme.depth as i64),
        };
        let part_rows = match scheme.time {
            Time::Rows => ceil_div(&body.m, scheme.rows as i64),
            Time::Depth => body.m.floor_div(scheme.rows as i64),
        };
        let shared_batch = shared_batch(&body);
        let columns = block_columns(&body, tile, schedule.block_columns);
        let rows = tile.rows as i64 * schedule.block_rows;
        let pack_columns = (PACK_COLUMNS / tile.columns()).max(1) * tile.columns();
        let pack_batch = shared_batch.iter().map(|axis| body.batch[*axis].clone());
        let forms = Dim::from(scheme.right.len() as i64);
        let chunks = [ceil_div(&depth, schedule.depth), ceil_div(&body.n, pack_columns), forms];
        let blocks = [ceil_div(&part_rows, rows), ceil_div(&body.n, columns)];
        Plan {
            tile,
            pass: schedule.depth,
            panel_bytes: depth.clone() * Dim::from(tile.step_bytes()),
            pack_items: pack_batch.chain(chunks).collect(),
            items: body.batch.iter().cloned().chain(blocks).collect(),
            body,
            scheme,
            depth,
            shared_batch,
            rows,
            columns,
            pack_columns,
        }
    }

    fn layout(&self) -> Layout {
        match self.scheme.time {
            Time::Rows => Layout::Rows,
            Time::Depth => Layout::Columns,
        }
    }

    fn c_stride(&self) -> i64 {
        self.columns + ROW_PADDING
    }

    /// Elements between parts in the block of the result.
    fn c_part(&self) -> i64 {
        self.rows * self.c_stride()
    }

    fn c_elements(&self) -> i64 {
        self.c_part() * self.scheme.rows as i64
    }

    fn copies(&self) -> Copies {
        Copies {
            layout: self.layout(),
            tile: self.tile,
            pass: self.pass,
        }
    }

    fn a_elements(&self) -> i64 {
        self.copies().elements(self.rows)
    }

    /// Panels of one form.
    fn panels(&self) -> Dim {
        ceil_div(&self.body.n, self.tile.columns())
    }

    /// The address of a packed panel of a form.
    fn panel<'c>(
        &self,
        e: &Entry<'_, 'c>,
        code: &Code<'_, 'c>,
        (copy, form, panel): (IntValue<'c>, i64, IntValue<'c>),
    ) -> PointerValue<'c> {
        let forms = self.scheme.right.len() as i64;
        let form = code.add(code.scale(copy, forms), code.int(form));
        let at = code.add(code.mul(form, e.dim(&self.panels())), panel);
        code.at(e.workspace, code.mul(at, e.dim(&self.panel_bytes)))
    }

    /// Steps within one outer step, where there are several.
    fn inner<'c>(&self, e: &Entry<'_, 'c>) -> Option<IntValue<'c>> {
        (!self.body.k_outer.is_one()).then(|| e.dim(&ceil_div(&self.body.k, self.scheme.depth as i64)))
    }

    /// Where step `run.inner` of a part of the summed axis lies after an operand's start, in elements, and how many steps
    /// of the run are there.
    fn steps<'c>(
        &self,
        e: &Entry<'_, 'c>,
        code: &Code<'_, 'c>,
        (strides, part): ([&Dim; 2], usize),
        run: &Run<'c>,
    ) -> (IntValue<'c>, IntValue<'c>) {
        let [outer, k] = strides.map(|stride| e.dim(stride));
        let parts = self.scheme.depth as i64;
        let (step, there) = match self.scheme.time {
            Time::Rows => {
                let first = e.dim(&(self.depth.clone() * Dim::from(part as i64)));
                (code.add(first, run.inner), run.count)
            }
            Time::Depth => {
                let step = code.add(code.scale(run.inner, parts), code.int(part as i64));
                let left = code.max(code.sub(e.dim(&self.body.k), step), code.int(0));
                (step, code.min(run.count, code.ceil_div(left, parts)))
            }
        };
        (code.add(code.mul(run.outer, outer), code.mul(step, k)), there)
    }

    /// The stride from step to step of a part, given that of the summed axis.
    fn part_step(&self, k: &Dim) -> Dim {
        match self.scheme.time {
            Time::Rows => k.clone(),
            Time::Depth => k.clone() * Dim::from(self.scheme.depth as i64),
        }
    }

    fn write_pack(&self, e: Entry) {
        let code = Code::of(&e);
        let b = &self.body.b;
        code.each(e.begin, e.end, 1, |item| {
            let mut at = e.unravel(item, &self.pack_items);
            let tail = at.split_off(self.shared_batch.len());
            let [first, column, form] = tail[..] else {
                unreachable!("three extents follow the batch axes")
            };
            let (first, column) = (code.scale(first, self.pass), code.scale(column, self.pack_columns));
            let count = code.min(code.sub(e.dim(&self.depth), first), code.int(self.pass));
            let columns = code.min(code.sub(e.dim(&self.body.n), column), code.int(self.pack_columns));
            let from = operand(&e, b, self.shared_batch.iter().copied().zip(at.iter().copied()), column);
            let copy = flat_batch(&e, &self.body, &self.shared_batch, &at);
            let panel = code.div_rem(column, code.int(self.tile.columns())).0;
            for (number, terms) in (0..).zip(&self.scheme.right) {
                code.when(code.equal(form, code.int(number)), || {
                    let to = self.panel(&e, &code, (copy, number, panel));
                    each_run(&code, self.inner(&e), (first, count), |run| {
                        let done = code.scale(code.add(first, run.done), self.tile.step_bytes());
                        let mut args: Vec<BasicMetadataValueEnum> = vec![
                            code.at(to, done).into(),
                            e.dim(&self.panel_bytes).into(),
                            bytes(&e, b, &self.part_step(&b.k)).into(),
                            columns.into(),
                            run.count.into(),
                        ];
                        for (part, _) in terms {
                            let (place, there) = self.steps(&e, &code, ([&b.k_outer, &b.k], *part), &run);
                            let from = code.at(from, code.scale(place, 4));
                            args.extend::<[BasicMetadataValueEnum; 2]>([from.into(), there.into()]);
                        }
                        code.call(gemm::pack_form(e.unit, self.tile, &factors(terms)), &args);
                    });
                });
            }
        });
        e.finish();
    }

    fn block<'c>(&self, e: &Entry<'_, 'c>, code: &Code<'_, 'c>, item: IntValue<'c>) -> Block<'c> {
        let mut at = e.unravel(item, &self.items);
        let (row, column) = (at[at.len() - 2], at[at.len() - 1]);
        at.truncate(self.body.batch.len());
        let (row, column) = (code.scale(row, self.rows), code.scale(column, self.columns));
        let shared: Vec<_> = self.shared_batch.iter().map(|axis| at[*axis]).collect();
        Block {
            row,
            rows: self.rows_of(e, code, row, 0),
            column,
            columns: code.min(code.sub(e.dim(&self.body.n), column), code.int(self.columns)),
            from: operand(e, &self.body.a, at.iter().copied().enumerate(), code.int(0)),
            copy: flat_batch(e, &self.body, &self.shared_batch, &shared),
            batch: at,
        }
    }

    /// Rows of a part in the block that begins at its row `row`.
    fn rows_of<'c>(&self, e: &Entry<'_, 'c>, code: &Code<'_, 'c>, row: IntValue<'c>, part: i64) -> IntValue<'c> {
        let parts = self.scheme.rows as i64;
        let all = match self.scheme.time {
            Time::Rows => {
                let after = code.sub(e.dim(&self.body.m), code.int(part));
                code.ceil_div(code.max(after, code.int(0)), parts)
            }
            Time::Depth => e.dim(&self.body.m.floor_div(parts)),
        };
        code.min(code.max(code.sub(all, row), code.int(0)), code.int(self.rows))
    }

    /// A row of the operand or the result, given a part and the row within it.
    fn row<'c>(&self, e: &Entry<'_, 'c>, code: &Code<'_, 'c>, part: IntValue<'c>, row: IntValue<'c>) -> IntValue<'c> {
        let parts = self.scheme.rows as i64;
        match self.scheme.time {
            Time::Rows => code.add(code.scale(row, parts), part),
            Time::Depth => code.add(code.mul(part, e.dim(&self.body.m.floor_div(parts))), row),
        }
    }

    /// The targets of all products, one after the other, in this thread's memory; and where those of each begin.
    fn targets<'c>(&self, e: &Entry<'_, 'c>, code: &Code<'_, 'c>) -> Vec<PointerValue<'c>> {
        let all: usize = self.scheme.products.iter().map(|p| p.targets.len()).sum();
        e.in_head(|| {
            let (i64t, f32t) = (e.ctx.i64_type(), e.ctx.f32_type());
            let kind = i64t.array_type((all as i64 * TARGET_BYTES / 8) as u32);
            let table = e.b.build_alloca(kind, "targets").expect(BUILT);
            let mut at = 0;
            let mut begin = |product: &Product| {
                let first = code.at_const(table, at);
                for (row, factor) in &product.targets {
                    let place = code.int(4 * self.c_part() * *row as i64);
                    e.b.build_store(code.at_const(table, at), place).expect(BUILT);
                    let factor = f32t.const_float(*factor as f64);
                    e.b.build_store(code.at_const(table, at + FACTOR_AT), factor)
                        .expect(BUILT);
                    at += TARGET_BYTES;
                }
                first
            };
            self.scheme.products.iter().map(&mut begin).collect()
        })
    }

    fn write_product(&self, e: Entry) {
        let code = Code::of(&e);
        let multiply = gemm::multiply_block(e.unit, self.tile, self.layout(), Sink::Targets);
        let (c, a) = (e.scratch, code.at_const(e.scratch, 4 * self.c_elements()));
        let targets = self.targets(&e, &code);
        let depth = e.dim(&self.depth);
        code.each(e.begin, e.end, 1, |item| {
            let block = self.block(&e, &code, item);
            self.clear(&code, c, block.rows);
            let panel = code.div_rem(block.column, code.int(self.tile.columns())).0;
            code.each(code.int(0), depth, self.pass, |first| {
                let count = code.min(code.sub(depth, first), code.int(self.pass));
                let panels = |product: &Product, first| {
                    let panels = self.panel(&e, &code, (block.copy, product.right as i64, panel));
                    code.at(panels, code.scale(first, self.tile.step_bytes()))
                };
                let products = &self.scheme.products;
                let last = panels(&products[0], code.add(first, count));
                let nexts = products[1..].iter().map(|product| panels(product, first)).chain([last]);
                for ((product, targets), next) in products.iter().zip(&targets).zip(nexts) {
                    self.add_left(&e, &code, &block, (product, (first, count), a));
                    code.call(
                        multiply,
                        &[
                            a.into(),
                            code.int(4 * self.copies().stride()).into(),
                            code.int(4 * self.copies().group()).into(),
                            block.rows.into(),
                            panels(product, first).into(),
                            e.dim(&self.panel_bytes).into(),
                            code.ceil_div(block.columns, self.tile.columns()).into(),
                            count.into(),
                            c.into(),
                            code.int(4 * self.c_stride()).into(),
                            code.int(product.targets.len() as i64).into(),
                            (*targets).into(),
                            next.into(),
                        ],
                    );
                }
            });
            self.write_epilogue(&e, &code, &block);
        });
        e.finish();
    }

    /// Zeros in the used rows of all parts.
    fn clear<'c>(&self, code: &Code<'_, 'c>, c: PointerValue<'c>, rows: IntValue<'c>) {
        let lanes = code.lanes as i64;
        for part in 0..self.scheme.rows as i64 {
            let c = code.at_const(c, 4 * self.c_part() * part);
            code.each(code.int(0), code.scale(rows, self.c_stride()), lanes, |at| {
                code.store(code.at(c, code.scale(at, 4)), code.zero())
            });
        }
    }

    /// Makes a product's sum of parts of the left operand at `to`, for the block's rows and some steps.
    fn add_left<'c>(
        &self,
        e: &Entry<'_, 'c>,
        code: &Code<'_, 'c>,
        block: &Block<'c>,
        (product, steps, to): (&Product, (IntValue<'c>, IntValue<'c>), PointerValue<'c>),
    ) {
        let (a, terms) = (&self.body.a, &self.scheme.left[product.left]);
        each_run(code, self.inner(e), steps, |run| {
            let (function, step, stride, to_stride) = match self.scheme.time {
                Time::Rows => (
                    gemm::form_along_depth(e.unit, &factors(terms)),
                    4,
                    a.free.clone() * Dim::from(self.scheme.rows as i64),
                    self.copies().stride(),
                ),
                Time::Depth => (
                    gemm::form_along_rows(e.unit, self.tile, &factors(terms)),
                    4 * self.copies().stride(),
                    self.part_step(&a.k),
                    self.copies().group(),
                ),
            };
            let mut args: Vec<BasicMetadataValueEnum> = vec![
                code.at(to, code.scale(run.done, step)).into(),
                code.int(4 * to_stride).into(),
                bytes(e, a, &stride).into(),
                block.rows.into(),
                run.count.into(),
            ];
            for ((row_part, part), _) in terms {
                let (place, steps) = self.steps(e, code, ([&a.k_outer, &a.k], *part), &run);
                let row = self.row(e, code, code.int(*row_part as i64), block.row);
                let place = code.add(place, code.mul(row, e.dim(&a.free)));
                let there = match self.scheme.time {
                    Time::Rows => self.rows_of(e, code, block.row, *row_part as i64),
                    Time::Depth => steps,
                };
                let from = code.at(block.from, code.scale(place, 4));
                args.extend::<[BasicMetadataValueEnum; 2]>([from.into(), there.into()]);
            }
            code.call(function, &args);
        });
    }

    fn write_epilogue<'c>(&self, e: &Entry<'_, 'c>, code: &Code<'_, 'c>, block: &Block<'c>) {
        let body = &self.body;
        let part = (block.batch.as_slice(), block.column, block.columns);
        epilogue::write((e, code), body, part, |write_row| {
            code.each(code.int(0), block.rows, 1, |i| {
                let within = code.add(block.row, i);
                code.each(code.int(0), code.int(self.scheme.rows as i64), 1, |part| {
                    let row = self.row(e, code, part, within);
                    code.when(code.less(row, e.dim(&body.m)), || {
                        let at = code.add(code.scale(part, self.c_part()), code.scale(i, self.c_stride()));
                        write_row(row, code.at(e.scratch, code.scale(at, 4)));
                    });
                });
            });
        });
    }
}

fn factors<P>(terms: &[Term<P>]) -> Vec<f32> {
    terms.iter().map(|(_, factor)| *factor).collect()
}

#[cfg(test)]
mod tests;
