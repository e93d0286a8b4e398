//! From sums in shared memory to results in global memory: runs of columns of one row per thread, neighbours on neighbours.

use super::product::{Product, coordinates};
use super::schedule::Schedule;
use crate::arith::Cmp;
use crate::builder::{Scalar, Ty, V};
use crate::function::{Function, divisible};
use crate::values::{Lanes, Point, Values};
use ir::dim::Dim;
use ir::kernel::{Contract, Coord, Store, ValId, Value};
use ir::kernel_values::{needed, store_roots};

/// Rows that a thread computes at a time, at most, where something is read for each.
const MOST_ROWS: usize = 4;
/// Values that it computes at a time, about: more would not be under way sooner, only make more code.
const AT_ONCE: usize = 40;

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
    if sums.len() == 1 {
        Lanes::One(sums[0])
    } else {
        Lanes::Each(sums)
    }
}

/// A row of the tile that a thread writes a run of columns of.
pub struct Row<'c> {
    /// Its number among all rows, i32.
    pub number: V<'c>,
    pub sums: Vec<V<'c>>,
    /// Whether there is such a row; `None`: yes. Where there is not, number and sums are those of the last row.
    inside: Option<V<'c>>,
}

impl<'c> Row<'c> {
    pub fn when_inside(&self, f: &Function<'_, 'c>, write: impl FnOnce()) {
        match self.inside {
            None => write(),
            Some(inside) => f.when(inside, write),
        }
    }
}

/// The stores of a contraction.
pub struct Epilogue<'f, 'k, 'c> {
    f: &'f Function<'k, 'c>,
    values: Values<'f, 'k, 'c>,
    store: &'f [Store],
    /// Rows that a thread computes at a time.
    rows: u32,
}

impl<'f, 'k, 'c> Epilogue<'f, 'k, 'c> {
    /// Call it where nothing is nested yet.
    pub fn new(f: &'f Function<'k, 'c>, c: &'f Contract, p: &Product) -> Self {
        let values = Values::new(f, &c.values, p.axes, &[], lanes(&p.n) as usize);
        let of_row =
            |(_, coord): &(Dim, Coord)| matches!(coord, Coord::Axis(a) if p.row_axes.iter().any(|r| r.0 == *a));
        let reads = |v: &ValId| matches!(&c.values[*v], Value::Load { index, .. } if index.terms.iter().any(of_row));
        let needed = needed(&c.values, store_roots(&c.store));
        let rows = if needed.iter().any(reads) {
            (AT_ONCE / needed.len()).clamp(1, MOST_ROWS)
        } else {
            1
        };
        Epilogue {
            f,
            values,
            store: &c.store,
            rows: rows as u32,
        }
    }

    fn roots(&self) -> impl Iterator<Item = ValId> + use<'f, 'k, 'c> {
        store_roots(self.store)
    }

    /// A point where the coordinates of these axes are known.
    pub fn point(&self, coordinates: impl IntoIterator<Item = (usize, V<'c>)>) -> Point<'c> {
        let mut point = self.values.point();
        for (axis, at) in coordinates {
            point.axes[axis] = Some(at);
        }
        point
    }

    /// Performs the stores of a run of columns.
    pub fn write(&self, point: &mut Point<'c>, sums: Vec<V<'c>>) {
        point.acc = Some(lanes_of(sums));
        self.values.store_all(self.store, point);
    }

    /// Performs the stores of a tile, whose sums lie in shared memory.
    pub fn write_tile(&self, p: &Product, s: &Schedule, place: Place<'c>, sums: V<'c>) {
        let f = self.f;
        let open = |column| {
            let mut point = self.point(coordinates(f, place.batch, &p.batch));
            point.axes[p.axes - 1] = Some(column);
            self.values.hoist(&mut point, self.roots());
            point
        };
        each_rows(f, (s, p), (place, self.rows), sums, open, |opened, rows| {
            // Everything is computed before the first store, so that reads of several rows are under way at a time.
            let compute = |row: &Row<'c>| {
                let mut point = opened.clone();
                for (axis, at) in coordinates(f, row.number, &p.row_axes) {
                    point.axes[axis] = Some(at);
                }
                point.acc = Some(lanes_of(row.sums.clone()));
                for root in self.roots() {
                    self.values.eval(root, &mut point);
                }
                point
            };
            let points: Vec<Point> = rows.iter().map(compute).collect();
            for (row, mut point) in rows.iter().zip(points) {
                row.when_inside(f, || self.values.store_all(self.store, &mut point));
            }
        });
    }
}

/// Calls `write` for the runs of columns of the tile that this thread has, `at_once` rows at a time, with what `open` made of
/// the first column (i64).
pub fn each_rows<'c, T>(
    f: &Function<'_, 'c>,
    (s, p): (&Schedule, &Product),
    (place, at_once): (Place<'c>, u32),
    sums: V<'c>,
    open: impl FnOnce(V<'c>) -> T,
    write: impl FnOnce(&T, &[Row<'c>]),
) {
    let lanes = lanes(&p.n);
    // A power of two divides the threads.
    let runs = (s.tile.n / lanes).next_power_of_two();
    assert!(runs <= f.threads(), "a tile has no more columns than threads");
    let step = f.threads() / runs;
    let at_once = at_once.min(s.tile.m / step).max(1);
    let runs = f.i32(runs as i32);
    let column = f.mul(f.urem(f.thread(), runs), f.i32(lanes as i32));
    let left = |extent: &Dim, first: V<'c>, tile: u32| f.least(f.sub(f.dim32(extent), first), f.i32(tile as i32));
    let rows = left(&p.rows, place.row, s.tile.m);
    let inside = f.cmp(Cmp::Lt, column, left(&p.n, place.column, s.tile.n));
    f.when(inside, || {
        let opened = open(f.widen(f.add(place.column, column), Ty::I64));
        let first = f.udiv(f.thread(), runs);
        f.for_each((first, rows, f.i32((at_once * step) as i32)), |first| {
            let row = |i: u32| {
                let at = f.add(first, f.i32((i * step) as i32));
                let inside = (i > 0).then(|| f.cmp(Cmp::Lt, at, rows));
                let at = if i > 0 { f.least(at, f.sub(rows, f.i32(1))) } else { at };
                let bytes = f.add(f.mul(at, f.i32(pitch(s) as i32)), f.shl(column, 2));
                let from = f.offset(sums, Ty::I8, f.widen(bytes, Ty::I64));
                Row {
                    number: f.add(place.row, at),
                    sums: load(f, from, lanes),
                    inside,
                }
            };
            let rows: Vec<Row> = (0..at_once).map(row).collect();
            write(&opened, &rows);
        });
    });
}
