//! The micro-kernel generator and the loops over panels and rows.

use super::code::{Code, internal};
use super::{Factors, Tile};
use crate::Shape;
use crate::bf16;
use crate::entry::Unit;
use inkwell::values::{BasicValueEnum, FunctionValue, IntValue, PointerValue, VectorValue};

/// Steps of the summed axis written out in the loop body.
const UNROLL: i64 = 4;
/// Steps after which more of the next panel is asked for.
const AHEAD: i64 = 32;
/// Bytes of a cache line.
const LINE: i64 = 64;
/// Rows of the left operand that share one address register: offsets of 0 to 3 strides need only two more.
const GROUP: usize = 4;

/// How the left operand lies in memory; its `stride` (bytes) is that of the other axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Unit stride along the summed axis.
    Rows,
    /// Unit stride along the rows' axis: a transposed operand.
    Columns,
}

impl Layout {
    fn name(self) -> &'static str {
        match self {
            Layout::Rows => "rows",
            Layout::Columns => "columns",
        }
    }

    /// Bytes from row to row, given the stride.
    fn row_bytes<'c>(self, code: &Code<'_, 'c>, stride: IntValue<'c>) -> IntValue<'c> {
        if self == Layout::Rows { stride } else { code.int(4) }
    }

    /// Bytes from step to step of the summed axis, given the stride.
    fn depth_bytes<'c>(self, code: &Code<'_, 'c>, stride: IntValue<'c>) -> IntValue<'c> {
        if self == Layout::Rows { code.int(4) } else { stride }
    }
}

/// Where a micro-kernel's sums go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sink {
    /// Into c, or to what is there.
    Block,
    /// Times factors to several places in c.
    Targets,
}

/// Bytes of a target: its place in c in bytes (i64) and its factor (f32).
pub(crate) const TARGET_BYTES: i64 = 16;
/// Where in a target its factor lies.
pub(crate) const FACTOR_AT: i64 = 8;

impl Sink {
    fn name(self) -> &'static str {
        match self {
            Sink::Block => "",
            Sink::Targets => "_targets",
        }
    }

    /// The parameters of a function that has `first` of its own.
    fn signature(self, first: &str) -> String {
        match self {
            Sink::Block => first.into(),
            Sink::Targets => format!("{first}p"),
        }
    }
}

fn ints<'c, const N: usize>(params: &[BasicValueEnum<'c>], at: [usize; N]) -> [IntValue<'c>; N] {
    at.map(|i| params[i].into_int_value())
}

fn pointers<'c, const N: usize>(params: &[BasicValueEnum<'c>], at: [usize; N]) -> [PointerValue<'c>; N] {
    at.map(|i| params[i].into_pointer_value())
}

/// `micro(a, a_stride, panel, depth, c, c_stride, accumulate, next)`: c[rows, columns] (+)= a[rows, depth] panel[depth,
/// columns] as straight-line vector code over steps of the summed axis. Meanwhile, where rows have unit stride, cache lines
/// from `next` on are brought to L2: one for `UNROLL` steps, those of `AHEAD` steps together.
///
/// With [`Sink::Targets`] `(.., c, c_stride, count, next, targets)`: so many targets get the product times their factors.
fn micro<'c>(unit: &Unit<'c>, tile: Tile, layout: Layout, sink: Sink, rows: u32) -> FunctionValue<'c> {
    let of = Tile { rows, ..tile }.name();
    let name = format!("gemm_micro{}_{}_{of}", sink.name(), layout.name());
    internal(unit, &name, &sink.signature("pipipiip"), |code, params| {
        let [a, panel, c, next] = pointers(params, [0, 2, 4, 7]);
        let [stride, depth, c_stride, accumulate] = ints(params, [1, 3, 5, 6]);
        let rows = rows as i64;
        let vector_bytes = 4 * tile.lanes as i64;
        let (row_bytes, depth_bytes) = (layout.row_bytes(code, stride), layout.depth_bytes(code, stride));
        let groups: Vec<_> = (0..rows)
            .step_by(GROUP)
            .map(|i| code.at(a, code.scale(row_bytes, i)).into())
            .collect();
        let vectors = tile.vectors as i64;
        let tiles = |c: PointerValue<'c>| -> Vec<_> {
            let rows = (0..rows).map(|i| code.at(c, code.scale(c_stride, i)));
            rows.flat_map(|row| (0..vectors).map(move |v| code.at_const(row, v * vector_bytes)))
                .collect()
        };
        let c_tiles = tiles(c);
        let zeros = vec![code.zero().into(); c_tiles.len()];
        let start = match sink {
            Sink::Targets => zeros,
            Sink::Block => code.either(
                code.less(code.int(0), accumulate),
                || c_tiles.iter().map(|p| code.load(*p).into()).collect(),
                || zeros,
            ),
        };
        // One step of the summed axis, `at` bytes after the groups' addresses and at `b` in the panel.
        let step =
            |acc: &mut [BasicValueEnum<'c>], groups: &[BasicValueEnum<'c>], at: IntValue<'c>, b: PointerValue<'c>| {
                let b: Vec<VectorValue> = (0..vectors)
                    .map(|v| code.load(code.at_const(b, v * vector_bytes)))
                    .collect();
                for (row, acc) in acc.chunks_mut(vectors as usize).enumerate() {
                    let a = code.at(groups[row / GROUP].into_pointer_value(), at);
                    let a = code.at(a, code.scale(row_bytes, (row % GROUP) as i64));
                    let a = match tile.factors {
                        Factors::F32 => code.broadcast(a),
                        Factors::Pairs => code.broadcast_pair(a),
                    };
                    for (acc, b) in acc.iter_mut().zip(&b) {
                        let sum = acc.into_vector_value();
                        *acc = match tile.factors {
                            Factors::F32 => code.fma(a, *b, sum),
                            Factors::Pairs => bf16::dot(code.unit, code.builder, sum, [*b, a]),
                        }
                        .into();
                    }
                }
            };
        let run = |range, start: &[BasicValueEnum<'c>], unroll: i64| {
            code.fold(range, start, |k, carried| {
                let (groups, acc) = carried.split_at(groups.len());
                let mut acc = acc.to_vec();
                for u in 0..unroll {
                    let panel = code.at(panel, code.scale(code.add(k, code.int(u)), tile.step_bytes()));
                    step(&mut acc, groups, code.scale(depth_bytes, u), panel);
                }
                let next = code.scale(depth_bytes, unroll);
                let groups = groups.iter().map(|p| code.at(p.into_pointer_value(), next).into());
                groups.chain(acc).collect()
            })
        };
        let whole = code.sub(depth, code.div_rem(depth, code.int(UNROLL)).1);
        let start: Vec<_> = groups.iter().copied().chain(start).collect();
        let carried = if layout == Layout::Rows {
            // Prefetches stand outside of the straight-line code: inside, LLVM has accumulators leave their registers.
            code.fold((code.int(0), whole, AHEAD), &start, |k, carried| {
                let lines = code.at(next, code.scale(k, LINE / UNROLL));
                (0..AHEAD / UNROLL).for_each(|line| code.prefetch(code.at_const(lines, line * LINE)));
                let end = code.min(code.add(k, code.int(AHEAD)), whole);
                run((k, end, UNROLL), carried, UNROLL)
            })
        } else {
            // Panels beside a transposed operand are mostly activations, packed just now.
            run((code.int(0), whole, UNROLL), &start, UNROLL)
        };
        let acc = run((whole, depth, 1), &carried, 1).split_off(groups.len());
        let acc: Vec<_> = acc.into_iter().map(|v| v.into_vector_value()).collect();
        match sink {
            Sink::Block => c_tiles.iter().zip(acc).for_each(|(p, v)| code.store(*p, v)),
            Sink::Targets => {
                let targets = (params[8].into_pointer_value(), accumulate);
                add_to_targets(code, targets, &acc, |offset| tiles(code.at(c, offset)));
            }
        }
    })
}

/// Adds sums times factors to `count` targets; `tiles` are their places in a target.
fn add_to_targets<'c>(
    code: &Code<'_, 'c>,
    (targets, count): (PointerValue<'c>, IntValue<'c>),
    sums: &[VectorValue<'c>],
    tiles: impl Fn(IntValue<'c>) -> Vec<PointerValue<'c>>,
) {
    code.each(code.int(0), count, 1, |t| {
        let target = code.at(targets, code.scale(t, TARGET_BYTES));
        let factor = code.broadcast(code.at_const(target, FACTOR_AT));
        for (p, v) in tiles(code.load_int(target)).into_iter().zip(sums) {
            code.store(p, code.fma(*v, factor, code.load(p)));
        }
    });
}

/// `block(a, a_stride, a_group, rows, panels, panel_bytes, panel_count, depth, c, c_stride, accumulate)`: one pass of at
/// most `Schedule::depth` steps over all panels. Groups of `Tile::rows` rows of a are `a_group` apart. Strides are in
/// bytes; c has room for `panel_count` whole panels in each row.
///
/// With [`Sink::Targets`] `(.., c, c_stride, count, targets, next)`: so many targets get the product times their factors; what
/// is multiplied after the last panel is at `next`.
pub(crate) fn multiply_block<'c>(unit: &Unit<'c>, tile: Tile, layout: Layout, sink: Sink) -> FunctionValue<'c> {
    let name = format!("gemm_block{}_{}_{}", sink.name(), layout.name(), tile.name());
    let after = if sink == Sink::Targets { "p" } else { "" };
    let signature = sink.signature("piiipiiipii") + after;
    internal(unit, &name, &signature, |code, params| {
        let [a, panels, c] = pointers(params, [0, 4, 8]);
        let [stride, group, rows, panel_bytes] = ints(params, [1, 2, 3, 5]);
        let [count, depth, c_stride, accumulate] = ints(params, [6, 7, 9, 10]);
        let height = tile.rows as i64;
        let (whole, rest) = code.div_rem(rows, code.int(height));
        // Bytes of a panel that are brought nearer while one group of rows is multiplied.
        let slice = code.scale(depth, LINE / UNROLL);
        let steps = code.scale(depth, tile.step_bytes());
        code.each(code.int(0), count, 1, |j| {
            let panel = code.at(panels, code.mul(j, panel_bytes));
            // After the last panel come the next steps of the first, or what the caller says.
            let later = code.add(j, code.int(1));
            let after = match sink {
                Sink::Block => code.at(panels, steps),
                Sink::Targets => params[12].into_pointer_value(),
            };
            let next = code.at(panels, code.mul(later, panel_bytes));
            let next = code.select(code.less(later, count), next, after).into_pointer_value();
            let c = code.at(c, code.scale(j, tile.step_bytes()));
            let call = |i: IntValue<'c>, rows: u32| {
                let a = code.at(a, code.mul(i, group));
                let c = code.at(c, code.mul(i, code.scale(c_stride, height)));
                let (a, stride, panel, depth) = (a.into(), stride.into(), panel.into(), depth.into());
                let (c, c_stride, accumulate) = (c.into(), c_stride.into(), accumulate.into());
                let next = code.at(next, code.min(code.mul(i, slice), code.sub(steps, slice)));
                let args = [a, stride, panel, depth, c, c_stride, accumulate, next.into()];
                let targets = params[11..].iter().take(1).map(|p| (*p).into());
                let args: Vec<_> = args.into_iter().chain(targets).collect();
                code.call(micro(unit, tile, layout, sink, rows), &args);
            };
            code.each(code.int(0), whole, 1, |i| call(i, tile.rows));
            for rows in 1..tile.rows {
                code.when(code.equal(rest, code.int(rows as i64)), || call(whole, rows));
            }
        });
    })
}

/// `product(a, a_stride, rows, panels, panel_bytes, panel_count, depth, c, c_stride, accumulate)`: like `multiply_block`
/// for any depth, with an `a` that stays where it is.
pub(crate) fn product<'c>(unit: &Unit<'c>, tile: Tile, layout: Layout) -> FunctionValue<'c> {
    let name = format!("gemm_product_{}_{}", layout.name(), tile.name());
    internal(unit, &name, "piipiiipii", |code, params| {
        let [a, panels, c] = pointers(params, [0, 3, 7]);
        let [stride, rows, panel_bytes, count, depth, c_stride, accumulate] = ints(params, [1, 2, 4, 5, 6, 8, 9]);
        let block = multiply_block(unit, tile, layout, Sink::Block);
        let pass = unit.target.schedule(Shape::Rows).depth;
        // A depth of 0 still takes one pass, which writes the zeros.
        code.each(code.int(0), code.max(depth, code.int(1)), pass, |k| {
            let a = code.at(a, code.mul(k, layout.depth_bytes(code, stride)));
            let panels = code.at(panels, code.scale(k, tile.step_bytes()));
            let part = code.min(code.sub(depth, k), code.int(pass));
            let later = code.select(code.less(code.int(0), k), code.int(1), accumulate);
            let group = code.scale(layout.row_bytes(code, stride), tile.rows as i64);
            let (stride, group, rows) = (stride.into(), group.into(), rows.into());
            let (panel_bytes, count, c, c_stride) = (panel_bytes.into(), count.into(), c.into(), c_stride.into());
            code.call(
                block,
                &[
                    a.into(),
                    stride,
                    group,
                    rows,
                    panels.into(),
                    panel_bytes,
                    count,
                    part.into(),
                    c,
                    c_stride,
                    later.into(),
                ],
            );
        });
    })
}
