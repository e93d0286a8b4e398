//! Column kernels.
//!
//! A block has some columns of one outer position; its threads stand in groups, each of which takes every so many-th reduced
//! position. The groups' results are combined through shared memory in a fixed order. Where few columns are reduced over
//! many positions, positions are divided into chunks too: partial results go through the workspace to a second function.

use crate::Error;
use crate::arith::Cmp;
use crate::builder::{Ty, V};
use crate::function::{Finished, Function, Unit, blocks_of};
use crate::module::Emitted;
use crate::reduce::{Accumulator, roots, states};
use crate::values::{Lanes, Point, Values, lanes_of};
use ir::dim::{Dim, numel};
use ir::kernel::{ColumnKernel, ValId, Value};
use ir::kernel_needs::shares_elements;
use ir::kernel_verify::needed;
use melior::Context;

/// Threads of a block.
const THREADS: u32 = 256;
/// Most threads side by side along the columns.
const SIDE: i64 = 32;
/// Loads of a thread that are under way at a time.
const LOADS: i64 = 8;
/// Partial results that a thread loads at a time.
const PIECES: i64 = 16;
/// Blocks that keep a GPU busy.
const BLOCKS: i64 = 528;
/// Most chunks, and least positions of a chunk where their number is known.
const CHUNKS: i64 = 64;
const CHUNK: i64 = 128;

/// How the work is divided.
struct Division<'a> {
    k: &'a ColumnKernel,
    /// Consecutive columns of a thread.
    lanes: i64,
    /// Threads side by side along the columns, a power of two; the others of a block stand behind them in groups.
    side: i64,
    /// Parts of the reduced positions; 1: there is no second function.
    chunks: i64,
    accumulators: Vec<Accumulator>,
}

pub fn emit<'c>(context: &'c Context, unit: &Unit, k: &ColumnKernel) -> Result<Emitted<'c>, Error> {
    let shares = |s: &ir::kernel::Store| shares_elements(&k.values, k.outer.len() + k.reduced.len(), &s.index);
    // Then one thread stores the columns in order.
    let ordered = !k.columns.is_one() && k.store.iter().any(shares);
    let division = Division::new(unit, k);
    if division.chunks == 1 && !ordered {
        return Ok(Emitted {
            functions: vec![division.reduce(context, unit, false)?],
            workspace: Dim::from(0),
        });
    }
    Ok(Emitted {
        functions: vec![
            division.reduce(context, unit, true)?,
            division.store(context, unit, ordered)?,
        ],
        workspace: division.partial(division.accumulators.len()),
    })
}

impl<'a> Division<'a> {
    fn new(unit: &Unit, k: &'a ColumnKernel) -> Division<'a> {
        let lanes = lanes_of(&k.columns);
        let side = k.columns.as_const().map_or(SIDE, |n| (n / lanes).clamp(1, SIDE));
        let side = side.unsigned_abs().next_power_of_two() as i64;
        let positions = numel(&k.reduced);
        // Outer positions of unknown number are taken for few.
        let blocks = numel(&k.outer).as_const().unwrap_or(1).max(1) * k.columns.as_const().unwrap_or(1).max(1);
        let wanted = (BLOCKS * side * lanes / blocks).clamp(1, CHUNKS);
        let chunks = match positions.as_const() {
            _ if k.reduce.is_empty() => 1,
            Some(n) => wanted.min(n / CHUNK).max(1),
            None => wanted,
        };
        let groups = THREADS as i64 / side;
        let terms = positions
            .as_const()
            .map(|n| (n + chunks * groups - 1) / (chunks * groups));
        let dtypes = ir::kernel_verify::value_dtypes(&k.values, unit.slots, &k.reduce);
        let accumulators = k
            .reduce
            .iter()
            .map(|(how, v)| Accumulator::new(*how, dtypes[*v], terms))
            .collect();
        Division {
            k,
            lanes,
            side,
            chunks,
            accumulators,
        }
    }

    fn axes(&self) -> usize {
        self.k.outer.len() + self.k.reduced.len() + 1
    }

    /// Bytes of the workspace before the partial results of the `n`-th reduction: each has an element of 8 bytes per chunk,
    /// outer position and column.
    fn partial(&self, n: usize) -> Dim {
        numel(&self.k.outer) * self.k.columns.clone() * Dim::from(8 * self.chunks * n as i64)
    }

    /// The place (of the type `ty`) of partial results of the `n`-th reduction for one chunk (i64).
    fn place<'c>(&self, f: &Function<'_, 'c>, n: usize, ty: Ty, chunk: V<'c>, outer: V<'c>, column: V<'c>) -> V<'c> {
        let (count, columns) = (f.dim(&numel(&self.k.outer)), f.dim(&self.k.columns));
        let at = f.add(f.mul(f.add(f.mul(chunk, count), outer), columns), column);
        let start = f.offset(f.workspace, Ty::I8, f.dim(&self.partial(n)));
        f.offset(start, ty, at)
    }

    /// Opens the coordinates of an outer position.
    fn outer<'c>(&self, f: &Function<'_, 'c>, p: &mut Point<'c>, outer: V<'c>) {
        for (axis, at) in f.unravel(outer, &self.k.outer).into_iter().enumerate() {
            p.axes[axis] = Some(at);
        }
    }

    /// The function that reduces: writes partial results with `partly`, else stores.
    fn reduce<'c>(&self, context: &'c Context, unit: &Unit, partly: bool) -> Result<Finished<'c>, Error> {
        let (k, lanes) = (self.k, self.lanes);
        let f = Function::new(context, unit, 0, THREADS);
        let across = self.side * lanes;
        f.scheduled(format!("blocks of {across} columns, sums in {} pieces", self.chunks));
        let values = Values::new(&f, &k.values, self.axes(), &k.reduce, lanes as usize);
        let pieces = blocks_of(&k.columns, self.side * lanes);
        let block = f.widen(f.block(0), Ty::I64);
        let (outer, piece) = (f.udiv(block, f.dim(&pieces)), f.urem(block, f.dim(&pieces)));
        let thread = f.widen(f.thread(), Ty::I64);
        let (across, group) = (
            f.and(thread, f.i64(self.side - 1)),
            f.lshr(thread, self.side.trailing_zeros() as i64),
        );
        // Threads beyond the last column take part in barriers: they are at the last columns, and store nothing.
        let column = f.mul(f.add(f.mul(piece, f.i64(self.side)), across), f.i64(lanes));
        let last = f.sub(f.dim(&k.columns), f.i64(lanes));
        let exists = f.cmp(Cmp::Le, column, last);
        let column = f.select(exists, column, last);
        let mut p = values.point();
        self.outer(&f, &mut p, outer);
        p.axes[self.axes() - 1] = Some(column);
        values.hoist(&mut p, roots(&k.reduce, if partly { &[] } else { &k.store }));

        let chunk = f.widen(f.block(1), Ty::I64);
        let own = self.positions(&f, &values, &p, group, chunk);
        let whole = self.combine(&f, own, across, group);
        let stores = f.and(exists, f.cmp(Cmp::Eq, group, f.i64(0)));
        f.when(stores, || {
            if partly {
                for (n, (a, state)) in self.accumulators.iter().zip(self.by_reduction(&whole)).enumerate() {
                    let ty = a.types()[0];
                    let place = self.place(&f, n, ty, chunk, outer, column);
                    for (lane, v) in state.iter().enumerate() {
                        f.store(f.offset(place, ty, f.i64(lane as i64)), *v, ty.bytes());
                    }
                }
                return;
            }
            let mut p = p.clone();
            for (n, (a, state)) in self.accumulators.iter().zip(self.by_reduction(&whole)).enumerate() {
                p.reduced[n] = Some(Lanes::Each(state.iter().map(|v| a.finish(&f, &[*v])).collect()));
            }
            values.store_all(&k.store, &mut p);
        });
        f.finish([numel(&k.outer) * pieces, Dim::from(self.chunks), Dim::from(1)])
    }

    /// The state of each reduction, one per lane.
    fn by_reduction<'s, 'c>(&self, all: &'s [V<'c>]) -> std::slice::Chunks<'s, V<'c>> {
        all.chunks(self.lanes as usize)
    }

    fn start<'c>(&self, f: &Function<'_, 'c>) -> Vec<V<'c>> {
        let each = self.accumulators.iter().map(|a| a.start(f));
        each.flat_map(|s| vec![s[0]; self.lanes as usize]).collect()
    }

    /// What one thread reduces: the positions of its group in its chunk.
    fn positions<'c>(
        &self,
        f: &Function<'_, 'c>,
        values: &Values<'_, '_, 'c>,
        p: &Point<'c>,
        group: V<'c>,
        chunk: V<'c>,
    ) -> Vec<V<'c>> {
        let k = self.k;
        let count = numel(&k.reduced);
        let length = f.dim(&blocks_of(&count, self.chunks));
        let first = f.mul(chunk, length);
        let end = f.least(f.add(first, length), f.dim(&count));
        if k.reduce.is_empty() {
            return vec![];
        }
        let (from, step) = (f.add(first, group), THREADS as i64 / self.side);
        // Several positions at a time, so that their loads are under way together; then what is left one by one.
        let is_load = |v: &&ValId| matches!(k.values[**v], Value::Load { .. });
        let loads = needed(&k.values, roots(&k.reduce, &[])).iter().filter(is_load).count() as i64;
        let together = (LOADS / loads.max(1)).clamp(1, 4);
        let stride = f.i64(together * step);
        let last = f.sub(end, f.i64((together - 1) * step));
        let times = f.div(f.add(f.sub(last, from), f.i64(together * step - 1)), stride);
        let rest = f.add(from, f.mul(f.most(times, f.i64(0)), stride));
        let all = f.for_carried((from, last, stride), &self.start(f), |at, all| {
            let at: Vec<V> = (0..together).map(|i| f.add(at, f.i64(i * step))).collect();
            self.add(f, values, p, &at, all)
        });
        f.for_carried((rest, end, f.i64(step)), &all, |at, all| {
            self.add(f, values, p, &[at], all)
        })
    }

    /// Adds some positions to the states.
    fn add<'c>(
        &self,
        f: &Function<'_, 'c>,
        values: &Values<'_, '_, 'c>,
        p: &Point<'c>,
        at: &[V<'c>],
        all: &[V<'c>],
    ) -> Vec<V<'c>> {
        let k = self.k;
        let mut points: Vec<Point> = at.iter().map(|_| p.clone()).collect();
        for (p, at) in points.iter_mut().zip(at) {
            for (axis, at) in f.unravel(*at, &k.reduced).into_iter().enumerate() {
                p.axes[k.outer.len() + axis] = Some(at);
            }
            values.hoist(p, roots(&k.reduce, &[]));
        }
        points.iter_mut().fold(all.to_vec(), |all, p| {
            let each = self.accumulators.iter().zip(&k.reduce).zip(self.by_reduction(&all));
            each.flat_map(|((a, (_, v)), state)| {
                let x = values.eval(*v, p);
                let one = |(i, s): (usize, &V<'c>)| a.add_lanes(f, &[*s], &Lanes::One(x.get(i)), 1, f.i32(0))[0];
                state.iter().enumerate().map(one).collect::<Vec<V>>()
            })
            .collect()
        })
    }

    /// Halves the number of groups until there is one; the result is that of group 0.
    fn combine<'c>(&self, f: &Function<'_, 'c>, own: Vec<V<'c>>, across: V<'c>, group: V<'c>) -> Vec<V<'c>> {
        let groups = THREADS as i64 / self.side;
        if groups == 1 || own.is_empty() {
            return own;
        }
        let cells: Vec<V> = own.iter().map(|v| f.shared(v.ty.bytes() * THREADS / 2, 8)).collect();
        let place =
            |i: usize, group: V<'c>| f.offset(cells[i], own[i].ty, f.add(f.mul(group, f.i64(self.side)), across));
        let steps = (0..groups.trailing_zeros()).rev().map(|bit| 1_i64 << bit);
        steps.fold(own.clone(), |all, half| {
            let (lower, upper) = (
                f.cmp(Cmp::Lt, group, f.i64(half)),
                f.cmp(Cmp::Lt, group, f.i64(2 * half)),
            );
            f.when(f.and(upper, f.not(lower)), || {
                for (i, v) in all.iter().enumerate() {
                    f.store(place(i, f.sub(group, f.i64(half))), *v, v.ty.bytes());
                }
            });
            f.barrier();
            let joined = || {
                let other: Vec<V> = (0..all.len())
                    .map(|i| f.load(all[i].ty, place(i, group), all[i].ty.bytes()))
                    .collect();
                let each = self.accumulators.iter().flat_map(|a| vec![a; self.lanes as usize]);
                let pairs = all.iter().zip(&other).zip(each);
                pairs.map(|((x, y), a)| a.merge(f, &[*x], &[*y])[0]).collect()
            };
            let all = f.if_else(lower, joined, || all.clone());
            if half > 1 {
                f.barrier();
            }
            all
        })
    }

    /// The function that combines the chunks in order and stores. With `ordered` a thread has all columns of an outer
    /// position, else one column.
    fn store<'c>(&self, context: &'c Context, unit: &Unit, ordered: bool) -> Result<Finished<'c>, Error> {
        let k = self.k;
        let f = Function::new(context, unit, 1, THREADS);
        f.scheduled("adds the pieces");
        let values = Values::new(&f, &k.values, self.axes(), &k.reduce, 1);
        let block = f.widen(f.block(0), Ty::I64);
        let at = f.add(f.mul(block, f.i64(THREADS as i64)), f.widen(f.thread(), Ty::I64));
        let one = |outer: V<'c>, column: V<'c>| {
            let mut p = values.point();
            self.outer(&f, &mut p, outer);
            p.axes[self.axes() - 1] = Some(column);
            for (n, v) in self.chunks(&f, outer, column).into_iter().enumerate() {
                p.reduced[n] = Some(Lanes::One(v));
            }
            values.store_all(&k.store, &mut p);
        };
        let columns = f.dim(&k.columns);
        let total = numel(&k.outer) * if ordered { Dim::from(1) } else { k.columns.clone() };
        f.when(f.cmp(Cmp::Lt, at, f.dim(&total)), || {
            if ordered {
                f.for_each((f.i64(0), columns, f.i64(1)), |column| one(at, column));
            } else {
                one(f.udiv(at, columns), f.urem(at, columns));
            }
        });
        f.finish([blocks_of(&total, THREADS as i64), Dim::from(1), Dim::from(1)])
    }

    /// Results over all chunks, merged in order; several are loaded at a time, for each load takes long.
    fn chunks<'c>(&self, f: &Function<'_, 'c>, outer: V<'c>, column: V<'c>) -> Vec<V<'c>> {
        let start: Vec<V> = self.accumulators.iter().map(|a| a.start(f)[0]).collect();
        let some = |first: V<'c>, count: i64, all: &[V<'c>]| {
            let loaded: Vec<Vec<V>> = (0..count)
                .map(|i| {
                    let chunk = f.add(first, f.i64(i));
                    let types = self.accumulators.iter().map(|a| a.types()[0]).enumerate();
                    let load =
                        |(n, ty): (usize, Ty)| f.load(ty, self.place(f, n, ty, chunk, outer, column), ty.bytes());
                    types.map(load).collect()
                })
                .collect();
            loaded.iter().fold(all.to_vec(), |all, parts| {
                let each = states(&self.accumulators, &all)
                    .into_iter()
                    .zip(&self.accumulators)
                    .zip(parts);
                each.map(|((state, a), part)| a.merge(f, state, &[*part])[0]).collect()
            })
        };
        let whole = self.chunks / PIECES * PIECES;
        let all = f.for_carried((f.i64(0), f.i64(whole), f.i64(PIECES)), &start, |chunk, all| {
            some(chunk, PIECES, all)
        });
        let all = some(f.i64(whole), self.chunks - whole, &all);
        self.accumulators
            .iter()
            .zip(all)
            .map(|(a, v)| a.finish(f, &[v]))
            .collect()
    }
}
