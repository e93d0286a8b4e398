//! Rows with phases: a group of threads has a row, each thread some of its columns.
//!
//! Short rows: the group is some lanes of a warp and the columns are unrolled, so that what an earlier phase loaded or
//! computed is still in registers in a later one. Long rows: the group is a block, which walks the columns in a loop.

use super::ordered;
use crate::Error;
use crate::arith::Cmp;
use crate::builder::{Ty, V};
use crate::function::{Function, Unit, blocks_of};
use crate::module::Emitted;
use crate::reduce::{Accumulator, roots, states};
use crate::values::{Point, Values, lanes_of};
use crate::warp::WARP;
use ir::dim::{Dim, numel};
use ir::kernel::{BodyDef, Phase, Reduction, RowKernel, Slot, Store, ValId};
use ir::kernel_verify::needed;
use melior::Context;

/// Threads of a block.
const THREADS: u32 = 256;
/// Most pieces of a row that a thread has where they are unrolled.
const PIECES: i64 = 8;

/// The threads of one row.
#[derive(Clone, Copy, PartialEq)]
enum Group {
    /// This many lanes of a warp, a power of two.
    Lanes(u32),
    Block,
}

impl Group {
    fn threads(self) -> u32 {
        match self {
            Group::Lanes(n) => n,
            Group::Block => THREADS,
        }
    }
}

/// How a row is divided.
struct Division {
    /// Consecutive columns of a piece.
    lanes: i64,
    group: Group,
    /// Pieces of a thread, where they are unrolled.
    unrolled: Option<i64>,
    /// Most columns of a thread, where known.
    terms: Option<i64>,
}

impl Division {
    fn new(k: &RowKernel) -> Division {
        let columns = k.axes.last().expect("a row kernel has axes");
        if ordered(k) {
            return Division {
                lanes: 1,
                group: Group::Lanes(1),
                unrolled: None,
                terms: columns.as_const(),
            };
        }
        let lanes = lanes_of(columns);
        let pieces = columns.as_const().map(|n| n / lanes);
        let group = match pieces {
            Some(n) if n <= PIECES * WARP as i64 => {
                Group::Lanes(n.clamp(1, WARP as i64).unsigned_abs().next_power_of_two() as u32)
            }
            _ => Group::Block,
        };
        let own = pieces.map(|n| (n + group.threads() as i64 - 1) / group.threads() as i64);
        let walks = k.phases.iter().filter(|p| matches!(p, Phase::Columns { .. })).count();
        Division {
            lanes,
            group,
            unrolled: own.filter(|n| walks > 1 && *n <= PIECES),
            terms: own.map(|n| n * lanes),
        }
    }
}

pub fn emit<'c>(context: &'c Context, unit: &Unit, k: &RowKernel) -> Result<Emitted<'c>, Error> {
    let division = Division::new(k);
    let f = Function::new(context, unit, 0, THREADS);
    let (columns, outer) = k.axes.split_last().expect("a row kernel has axes");
    let all = k.reductions();
    let values = Values::new(&f, &k.values, k.axes.len(), &all, division.lanes as usize);
    let rows = numel(outer);
    let group = division.group.threads();
    f.scheduled(format!("{group} threads per row, {} columns at a time", division.lanes));
    let per_block = (THREADS / group) as i64;
    let (block, thread) = (f.widen(f.block(0), Ty::I64), f.widen(f.thread(), Ty::I64));
    let (row, member) = match division.group {
        Group::Block => (block, thread),
        Group::Lanes(n) => {
            let own = f.lshr(thread, n.trailing_zeros() as i64);
            let member = f.and(thread, f.i64(n as i64 - 1));
            (f.add(f.mul(block, f.i64(per_block)), own), member)
        }
    };
    let walk = |row, exists| {
        let mut p = values.point();
        for (axis, at) in f.unravel(row, outer).into_iter().enumerate() {
            p.axes[axis] = Some(at);
        }
        Walk {
            f: &f,
            values: &values,
            k,
            division: &division,
            columns,
            member,
            exists,
        }
        .run(p);
    };
    match division.group {
        Group::Block => walk(row, None),
        // Whole warps or single threads: whoever has no row leaves nobody waiting.
        Group::Lanes(1 | WARP) => f.when(f.cmp(Cmp::Lt, row, f.dim(&rows)), || walk(row, None)),
        // Lanes without a row take part in shuffles: they read the last row and store nothing.
        Group::Lanes(_) => {
            let last = f.sub(f.dim(&rows), f.i64(1));
            let exists = f.cmp(Cmp::Le, row, last);
            walk(f.select(exists, row, last), Some(exists));
        }
    }
    Ok(Emitted {
        functions: vec![f.finish([blocks_of(&rows, per_block), Dim::from(1), Dim::from(1)])?],
        workspace: Dim::from(0),
    })
}

/// One row of one thread.
struct Walk<'a, 'f, 'k, 'c> {
    f: &'a Function<'k, 'c>,
    values: &'a Values<'f, 'k, 'c>,
    k: &'a RowKernel,
    division: &'a Division,
    columns: &'a Dim,
    /// Number of this thread in its group, i64.
    member: V<'c>,
    /// Whether the row exists, where that is not certain.
    exists: Option<V<'c>>,
}

/// Some consecutive columns whose values stay known from phase to phase.
struct Piece<'c> {
    point: Point<'c>,
    /// Whether the columns are this thread's, where that is not certain.
    own: Option<V<'c>>,
}

impl<'c> Walk<'_, '_, '_, 'c> {
    fn run(&self, mut row: Point<'c>) {
        let (f, values) = (self.f, self.values);
        let mut pieces: Option<Vec<Piece>> = self
            .division
            .unrolled
            .map(|n| (0..n).map(|i| self.piece(&row, i)).collect());
        let mut done = 0;
        let ordered = self.phases_share_memory();
        for (number, phase) in self.k.phases.iter().enumerate() {
            let (reduce, store) = parts(phase);
            if number > 0 && ordered {
                self.synchronize();
            }
            values.hoist(&mut row, roots(reduce, store));
            match phase {
                Phase::Columns { .. } => {
                    let accumulators: Vec<Accumulator> = (reduce.iter())
                        .map(|(how, v)| Accumulator::new(*how, values.dtype(*v), self.division.terms))
                        .collect();
                    let own = match &mut pieces {
                        Some(pieces) => self.unrolled(&row, pieces, &accumulators, reduce, store),
                        None => self.looped(&row, &accumulators, reduce, store),
                    };
                    let whole = self.combine(&accumulators, &own);
                    for (a, state) in accumulators.iter().zip(states(&accumulators, &whole)) {
                        row.reduced[done] = Some(crate::values::Lanes::One(a.finish(f, state)));
                        done += 1;
                    }
                }
                Phase::Row { .. } => {
                    let first = f.cmp(Cmp::Eq, self.member, f.i64(0));
                    let first = self.exists.map_or(first, |e| f.and(e, first));
                    f.when(first, || values.store_all(store, &mut row.clone()));
                }
            }
            let stored: Vec<Slot> = store.iter().map(|s| s.slot).collect();
            values.forget_slots(&mut row, &stored);
            for piece in pieces.iter_mut().flatten() {
                values.forget_slots(&mut piece.point, &stored);
            }
        }
    }

    /// Whether what one phase stores is touched by another, possibly through another thread.
    fn phases_share_memory(&self) -> bool {
        let loads = |phase: &Phase| -> Vec<Slot> {
            let (reduce, store) = parts(phase);
            let slot = |v: ValId| match &self.k.values[v] {
                ir::kernel::Value::Load { slot, .. } => Some(*slot),
                _ => None,
            };
            needed(&self.k.values, roots(reduce, store))
                .into_iter()
                .filter_map(slot)
                .collect()
        };
        self.k.phases.iter().enumerate().any(|(i, writer)| {
            parts(writer).1.iter().any(|s| {
                let other = self.k.phases.iter().enumerate().filter(|(j, _)| *j != i);
                other
                    .into_iter()
                    .any(|(_, p)| loads(p).contains(&s.slot) || parts(p).1.iter().any(|o| o.slot == s.slot))
            })
        })
    }

    /// What the threads of the row have stored is visible to all of them.
    fn synchronize(&self) {
        match self.division.group {
            Group::Lanes(1) => {}
            Group::Lanes(_) => self.f.warp_barrier(),
            Group::Block => self.f.barrier(),
        }
    }

    /// The `i`-th piece of this thread. A thread that has no such piece is at the last one of the row.
    fn piece(&self, row: &Point<'c>, i: i64) -> Piece<'c> {
        let f = self.f;
        let (lanes, threads) = (self.division.lanes, self.division.group.threads() as i64);
        let columns = self
            .columns
            .as_const()
            .expect("rows of unknown length are walked in a loop");
        let at = f.mul(f.add(self.member, f.i64(i * threads)), f.i64(lanes));
        let (mut at, mut own) = (at, None);
        if (i + 1) * threads * lanes > columns {
            let last = f.i64(columns - lanes);
            let inside = f.cmp(Cmp::Le, at, last);
            at = f.select(inside, at, last);
            own = Some(inside);
        }
        let mut point = row.clone();
        point.axes[self.k.axes.len() - 1] = Some(at);
        Piece { point, own }
    }

    /// A walk over all pieces at once; gives the states of the reductions.
    fn unrolled(
        &self,
        row: &Point<'c>,
        pieces: &mut [Piece<'c>],
        accumulators: &[Accumulator],
        reduce: &[(Reduction, ValId)],
        store: &[Store],
    ) -> Vec<V<'c>> {
        let (f, values) = (self.f, self.values);
        for piece in pieces.iter_mut() {
            piece.point.adopt(row);
            values.hoist(&mut piece.point, roots(reduce, store));
        }
        let mut all: Vec<V> = accumulators.iter().flat_map(|a| a.start(f)).collect();
        for piece in pieces.iter_mut() {
            let next = self.add(accumulators, reduce, &all, &mut piece.point);
            all = match piece.own {
                None => next,
                Some(own) => next.iter().zip(&all).map(|(n, a)| f.select(own, *n, *a)).collect(),
            };
        }
        for piece in pieces.iter_mut().filter(|_| !store.is_empty()) {
            let guard = self.exists.into_iter().chain(piece.own).reduce(|a, b| f.and(a, b));
            match guard {
                None => values.store_all(store, &mut piece.point),
                Some(guard) => f.when(guard, || values.store_all(store, &mut piece.point.clone())),
            }
        }
        all
    }

    /// The same piece by piece.
    fn looped(
        &self,
        row: &Point<'c>,
        accumulators: &[Accumulator],
        reduce: &[(Reduction, ValId)],
        store: &[Store],
    ) -> Vec<V<'c>> {
        let f = self.f;
        let (lanes, threads) = (self.division.lanes, self.division.group.threads() as i64);
        let start: Vec<V> = accumulators.iter().flat_map(|a| a.start(f)).collect();
        let n = f.dim(self.columns);
        let end = self.exists.map_or(n, |e| f.select(e, n, f.i64(0)));
        let range = (f.mul(self.member, f.i64(lanes)), end, f.i64(lanes * threads));
        f.for_carried(range, &start, |at, state| {
            let mut p = row.clone();
            p.axes[self.k.axes.len() - 1] = Some(at);
            self.values.hoist(&mut p, roots(reduce, store));
            let next = self.add(accumulators, reduce, state, &mut p);
            self.values.store_all(store, &mut p);
            next
        })
    }

    /// Adds the columns at a point to the states of reductions.
    fn add(
        &self,
        accumulators: &[Accumulator],
        reduce: &[(Reduction, ValId)],
        all: &[V<'c>],
        p: &mut Point<'c>,
    ) -> Vec<V<'c>> {
        let f = self.f;
        let at = p.axes[self.k.axes.len() - 1].expect("the column axis is open");
        let first = f.resize(at, Ty::I32);
        let each = accumulators.iter().zip(reduce).zip(states(accumulators, all));
        each.flat_map(|((a, (_, v)), state)| {
            let x = self.values.eval(*v, p);
            a.add_lanes(f, state, &x, self.values.lanes(), first)
        })
        .collect()
    }

    /// The states of the whole row, known to every thread of the group.
    fn combine(&self, accumulators: &[Accumulator], own: &[V<'c>]) -> Vec<V<'c>> {
        let f = self.f;
        if accumulators.is_empty() {
            return vec![];
        }
        let width = self.division.group.threads().min(WARP);
        let each = accumulators.iter().zip(states(accumulators, own));
        let warp: Vec<Vec<V>> = each.map(|(a, state)| a.merge_lanes(f, state, width)).collect();
        if self.division.group != Group::Block {
            return warp.concat();
        }
        let warps = (THREADS / WARP) as i64;
        let cells: Vec<Vec<V>> = (accumulators.iter())
            .map(|a| {
                a.types()
                    .iter()
                    .map(|t| f.shared(t.bytes() * warps as u32, 8))
                    .collect()
            })
            .collect();
        let cell = |base: V<'c>, ty: Ty, at: V<'c>| f.offset(base, ty, at);
        f.when(f.cmp(Cmp::Eq, f.lane(), f.i32(0)), || {
            let at = f.widen(f.warp(), Ty::I64);
            for (base, v) in cells.iter().flatten().zip(warp.iter().flatten()) {
                f.store(cell(*base, v.ty, at), *v, v.ty.bytes());
            }
        });
        f.barrier();
        let read = |bases: &[V<'c>], types: &[Ty], i: i64| -> Vec<V<'c>> {
            let of = |(base, ty): (&V<'c>, &Ty)| f.load(*ty, cell(*base, *ty, f.i64(i)), ty.bytes());
            bases.iter().zip(types).map(of).collect()
        };
        (accumulators.iter().zip(&cells))
            .flat_map(|(a, bases)| {
                let types = a.types();
                (1..warps).fold(read(bases, &types, 0), |s, i| a.merge(f, &s, &read(bases, &types, i)))
            })
            .collect()
    }
}

fn parts(phase: &Phase) -> (&[(Reduction, ValId)], &[Store]) {
    match phase {
        Phase::Columns { reduce, store } => (reduce, store),
        Phase::Row { store } => (&[], store),
    }
}
