//! From sums in shared memory to results in global memory: runs of columns of one row per thread, neighbours on neighbours.

use super::product::{Product, coordinates};
use super::schedule::Schedule;
use crate::arith::Cmp;
use crate::builder::{Scalar, Ty, V};
use crate::function::{Function, divisible};
use crate::values::{Lanes, Point, Values};
use ir::dim::Dim;
use ir::kernel::{Contract, Store, ValId};
use ir::kernel_values::store_roots;

/// Neighbouring columns that one thread writes.
pub fn lanes(n: &Dim) -> u32 {
    [4, 2].into_iter().find(|l| divisible(n, *l as i64)).unwrap_or(1)
}

/// Bytes between rows of sums: rows of a tensor core's result then lie in different banks.
pub fn pitch(s: &Schedule) -> u32 {
    4 * (s.tile.n + 8)
}

/// Bytes of the sums of one tile.
pub fn shared_bytes(s: &Schedule) -> u32 {
    s.tile.m * pitch(s)
}

/// Where a block's tile is.
#[derive(Clone, Copy)]
pub struct Place<'c> {
    /// Position along the batch, i32.
    pub batch: V<'c>,
    /// First row and column, i32.
    pub row: V<'c>,
    pub column: V<'c>,
}

/// Consecutive f32 at an address that is a multiple of their bytes.
pub fn load<'c>(f: &Function<'_, 'c>, from: V<'c>, count: u32) -> Vec<V<'c>> {
    if count == 1 {
        return vec![f.load(Ty::F32, from, 4)];
    }
    let v = f.load(Ty::Vector(Scalar::F32, count), from, 4 * count);
    (0..count).map(|i| f.element(v, i)).collect()
}

/// The sums of one run of columns.
pub fn lanes_of<'c>(sums: Vec<V<'c>>) -> Lanes<'c> {
    if sums.len() == 1 { Lanes::One(sums[0]) } else { Lanes::Each(sums) }
}

/// The stores of a contraction.
pub struct Epilogue<'f, 'k, 'c> {
    pub values: Values<'f, 'k, 'c>,
    store: &'f [Store],
}

impl<'f, 'k, 'c> Epilogue<'f, 'k, 'c> {
    /// Call it where nothing is nested yet.
    pub fn new(f: &'f Function<'k, 'c>, c: &'f Contract, p: &Product) -> Self {
        let values = Values::new(f, &c.values, p.axes, &[], lanes(&p.n) as usize);
        Epilogue { values, store: &c.store }
    }

    fn roots(&self) -> impl Iterator<Item = ValId> + use<'f, 'k, 'c> {
        store_roots(self.store)
    }

    /// Computes what needs no more than the axes that are open.
    pub fn hoist(&self, point: &mut Point<'c>) {
        self.values.hoist(point, self.roots());
    }

    pub fn write(&self, point: &mut Point<'c>, sums: Vec<V<'c>>) {
        point.acc = Some(lanes_of(sums));
        self.values.store_all(self.store, point);
    }
}

/// Calls `write` for each run of columns of the tile that this thread has: with what `open` made of the first column (i64),
/// the number of the row (i32) and the sums.
pub fn each_run<'c, T>(
    f: &Function<'_, 'c>,
    (s, p): (&Schedule, &Product),
    place: Place<'c>,
    sums: V<'c>,
    open: impl FnOnce(V<'c>) -> T,
    write: impl FnOnce(T, V<'c>, Vec<V<'c>>),
) {
    let lanes = lanes(&p.n);
    // A power of two divides the threads.
    let runs = (s.tile.n / lanes).next_power_of_two();
    assert!(runs <= f.threads(), "a tile has no more columns than threads");
    let runs_value = f.i32(runs as i32);
    let column = f.mul(f.urem(f.thread(), runs_value), f.i32(lanes as i32));
    let left = |extent: &Dim, first: V<'c>, tile: u32| f.least(f.sub(f.dim32(extent), first), f.i32(tile as i32));
    let rows = left(&p.rows, place.row, s.tile.m);
    let inside = f.cmp(Cmp::Lt, column, left(&p.n, place.column, s.tile.n));
    f.when(inside, || {
        let opened = open(f.widen(f.add(place.column, column), Ty::I64));
        let first = f.udiv(f.thread(), runs_value);
        f.for_each((first, rows, f.i32((f.threads() / runs) as i32)), |row| {
            let bytes = f.add(f.mul(row, f.i32(pitch(s) as i32)), f.shl(column, 2));
            let from = f.offset(sums, Ty::I8, f.widen(bytes, Ty::I64));
            write(opened, f.add(place.row, row), load(f, from, lanes));
        });
    });
}

/// Opens the axes of a batch position (i32).
pub fn open_batch<'c>(f: &Function<'_, 'c>, p: &Product, batch: V<'c>, point: &mut Point<'c>) {
    for (axis, at) in coordinates(f, batch, &p.batch) {
        point.axes[axis] = Some(at);
    }
}

/// Opens the axes of a row (i32).
pub fn open_row<'c>(f: &Function<'_, 'c>, p: &Product, row: V<'c>, point: &mut Point<'c>) {
    for (axis, at) in coordinates(f, row, &p.row_axes) {
        point.axes[axis] = Some(at);
    }
}
