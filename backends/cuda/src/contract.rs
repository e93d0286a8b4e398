//! Contractions: tiles of results that blocks of threads sum up step by step, on tensor cores where operands are bf16.
//!
//! | module | role |
//! |-|-|
//! | `product` | the contraction in the form that is tiled |
//! | `schedule` | the table of tiles and the choice from it |
//! | `panel` | an operand's way into shared memory |
//! | `pack` | weights laid out anew for that |
//! | `pipeline` | the loop over the summed axis |
//! | `micro` | the product of two panels in registers |
//! | `epilogue` | from sums to results |
//! | `split` | long sums in pieces |
//! | `hopper` | the same on compute capability 9.0, where operands lie so that they are copied in boxes |

mod epilogue;
mod hopper;
mod micro;
mod pack;
mod panel;
mod pipeline;
mod product;
mod schedule;
mod split;

use crate::Error;
use crate::builder::V;
use crate::function::{Finished, Function, Unit, blocks_of};
use crate::module::Emitted;
use epilogue::{Epilogue, Place};
use ir::dim::Dim;
use ir::kernel::{Contract, Strided};
use ir::kernel_values::{needed, store_roots};
use ir::rounding::Rounding;
use ir::scalar::DType;
use melior::Context;
use micro::Micro;
use pack::Packed;
use panel::Panel;
use pipeline::Pipeline;
use product::{Product, coordinates};
use schedule::Schedule;

/// Rows of tiles that blocks next to each other share the right operand of.
const GROUP: i32 = 8;

/// Writes the functions of a contraction.
pub fn emit<'c>(context: &'c Context, unit: &Unit, c: &Contract) -> Result<Emitted<'c>, Error> {
    let mut product = Product::new(c);
    let shared_as = if c.round == Rounding::Bf16 {
        DType::Bf16
    } else {
        DType::F32
    };
    let a = Panel::new(unit, &product.a, (&product.rows, &product.k), shared_as);
    let mut b = Panel::new(unit, &product.b, (&product.n, &product.k), shared_as);
    let mut functions = vec![];
    let packed = Packed::new(&product, &b);
    if let Some(packed) = &packed {
        functions.push(packed.write(context, unit, &product)?);
        b = Panel::packed(&packed.operand, &product.n);
        product.b = packed.operand.clone();
    }
    let values = needed(&c.values, store_roots(&c.store)).len();
    if let Some(plan) = hopper::Plan::new(unit, &product, packed.as_ref(), values) {
        functions.push(hopper::tiles(context, unit, c, &product, &plan, functions.len())?);
        return finish(context, unit, c, (&product, plan.schedule.splits), functions, packed);
    }
    let schedule = Schedule::new(&product, (a.asynchronous, b.asynchronous), values);
    let tile = schedule.tile;
    let panels = (a.sized(tile.m, tile.k), b.sized(tile.n, tile.k));
    functions.push(tiles(
        context,
        unit,
        c,
        (&product, &schedule),
        (functions.len(), &panels),
    )?);
    finish(context, unit, c, (&product, schedule.splits), functions, packed)
}

/// The functions that multiply, with what follows.
fn finish<'c>(
    context: &'c Context,
    unit: &Unit,
    c: &Contract,
    (product, splits): (&Product, i64),
    mut functions: Vec<Finished<'c>>,
    packed: Option<Packed>,
) -> Result<Emitted<'c>, Error> {
    if splits > 1 {
        functions.push(split::add_up(context, unit, c, product, splits)?);
    }
    // A packed operand meets rows of which there are not a constant number, so its sums are not split.
    let workspace = packed.map_or_else(|| split::workspace(product, splits), |packed| packed.bytes);
    Ok(Emitted { functions, workspace })
}

/// The function that multiplies.
fn tiles<'c>(
    context: &'c Context,
    unit: &Unit,
    c: &Contract,
    (p, s): (&Product, &Schedule),
    (number, (a, b)): (usize, &(Panel, Panel)),
) -> Result<Finished<'c>, Error> {
    let tile = s.tile;
    let f = Function::new(context, unit, number, s.threads());
    f.scheduled(s);
    let epilogue = Epilogue::new(&f, c, p);
    let tiles = (blocks_of(&p.rows, tile.m as i64), blocks_of(&p.n, tile.n as i64));
    let (place, split) = place(&f, p, s, &tiles);
    let rounds = s.rounds();
    let bytes = Pipeline::shared_bytes(s, a, b).max(epilogue::shared_bytes(&rounds[0].1));
    let shared = f.shared(bytes, 128);
    let pipeline = Pipeline {
        product: p,
        schedule: s,
        parts_a: a.parts(&f, start(&f, p, &p.a, place.batch), place.row),
        parts_b: b.parts(&f, start(&f, p, &p.b, place.batch), place.column),
        a,
        b,
        shared,
    };
    let micro = Micro::new(&f, s, a, b);
    let (first, count) = split_steps(&f, s, &Pipeline::steps(p, s), split);
    let sums = pipeline.run(&f, &micro, (s.splits > 1).then_some(first), count);
    for (n, (first, part)) in rounds.iter().enumerate() {
        if n > 0 {
            // What is read of one round makes room for the next.
            f.barrier();
        }
        micro.spill(&f, &sums, shared, (*first, part));
        f.barrier();
        let row = f.add(place.row, f.i32(*first as i32));
        store_tile(&f, &epilogue, (p, part), (Place { row, ..place }, split), shared);
    }
    drop(epilogue);
    f.finish([
        p.batches() * tiles.0 * tiles.1 * Dim::from(s.splits),
        Dim::from(1),
        Dim::from(1),
    ])
}

/// The first step of a piece of the sum, and how many there are (i32).
fn split_steps<'c>(f: &Function<'_, 'c>, s: &Schedule, steps: &Dim, split: V<'c>) -> (V<'c>, V<'c>) {
    if s.splits == 1 {
        return (f.i32(0), f.dim32(steps));
    }
    let chunk = f.dim32(&blocks_of(steps, s.splits));
    let first = f.mul(split, chunk);
    let count = f.least(f.sub(f.dim32(steps), first), chunk);
    (first, f.most(count, f.i32(0)))
}

/// Writes the results of a tile, or of a piece of their sums, from the sums in shared memory.
fn store_tile<'c>(
    f: &Function<'_, 'c>,
    epilogue: &Epilogue<'_, '_, 'c>,
    (p, s): (&Product, &Schedule),
    (place, split): (Place<'c>, V<'c>),
    sums: V<'c>,
) {
    if s.splits == 1 {
        return epilogue.write_tile(p, s, place, sums);
    }
    let keep = |column: &V<'c>, rows: &[epilogue::Row<'c>]| {
        for row in rows {
            split::store(f, p, (split, place.batch, row.number), *column, &row.sums);
        }
    };
    epilogue::each_rows(f, (s, p), (place, 1), sums, |column| column, keep);
}

/// This block's tile and its piece of the sum (i32). Blocks next to each other take tiles of a few rows, column by column,
/// so that what runs at a time shares both operands in the cache.
fn place<'c>(f: &Function<'_, 'c>, p: &Product, s: &Schedule, tiles: &(Dim, Dim)) -> (Place<'c>, V<'c>) {
    let (rows, columns) = (f.dim32(&tiles.0), f.dim32(&tiles.1));
    let divide = |a, b| (f.udiv(a, b), f.urem(a, b));
    let (rest, number) = divide(f.block(0), f.mul(rows, columns));
    let (split, batch) = match (s.splits, p.batch.is_empty()) {
        (1, _) => (f.i32(0), rest),
        (_, true) => (rest, f.i32(0)),
        _ => divide(rest, f.dim32(&p.batches())),
    };
    let (group, within) = divide(number, f.mul(columns, f.i32(GROUP)));
    let first = f.mul(group, f.i32(GROUP));
    let height = f.least(f.sub(rows, first), f.i32(GROUP));
    let (column, row) = divide(within, height);
    let row = f.mul(f.add(first, row), f.i32(s.tile.m as i32));
    let column = f.mul(column, f.i32(s.tile.n as i32));
    (Place { batch, row, column }, split)
}

/// The first element of an operand at a batch position, i64.
fn start<'c>(f: &Function<'_, 'c>, p: &Product, operand: &Strided, batch: V<'c>) -> V<'c> {
    let at = coordinates(f, batch, &p.batch).into_iter().rev();
    at.zip(&operand.batch)
        .fold(f.dim(&operand.base), |start, ((_, at), stride)| {
            if stride.is_zero() {
                start
            } else {
                f.add(start, f.mul(at, f.dim(stride)))
            }
        })
}
