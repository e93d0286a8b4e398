//! The innermost part: multiplies the panels of one step, summing up in registers.

use super::epilogue;
use super::panel::{Axis, Panel};
use super::schedule::{Schedule, Tile};
use crate::arith::Cmp;
use crate::builder::{Scalar, Ty, V};
use crate::function::Function;

/// Extents of one matrix instruction.
const ROWS: u32 = 16;
const COLUMNS: u32 = 8;
const DEPTH: u32 = 16;

/// Neighbouring rows or columns of a thread in f32.
const RUN: u32 = 4;
/// Positions of the summed axis per round of the loop in f32.
const ROUND: u32 = 4;

/// The micro-kernel of one function, as one thread sees it.
pub struct Micro<'p, 'c> {
    tile: Tile,
    matrix: bool,
    a: &'p Panel,
    b: &'p Panel,
    /// First row and column of what the warp (tensor cores) or thread computes, i32.
    row: V<'c>,
    column: V<'c>,
    /// Bytes from the start of a panel to what the thread reads first.
    read_a: V<'c>,
    read_b: V<'c>,
}

impl<'p, 'c> Micro<'p, 'c> {
    pub fn new(f: &Function<'_, 'c>, s: &Schedule, a: &'p Panel, b: &'p Panel) -> Micro<'p, 'c> {
        let tile = s.tile;
        let columns = f.i32(tile.parts.1 as i32);
        let number = if s.matrix() { f.warp() } else { f.thread() };
        let (part_row, part_column) = (f.udiv(number, columns), f.urem(number, columns));
        let (height, width) = if s.matrix() {
            (tile.m / tile.parts.0, tile.n / tile.parts.1)
        } else {
            (RUN, RUN)
        };
        let row = f.mul(part_row, f.i32(height as i32));
        let column = f.mul(part_column, f.i32(width as i32));
        let (read_a, read_b) = if s.matrix() {
            // Lanes 8 m to 8 m + 7 give the rows of matrix m. The matrices of a go along i first, those of b along k, as the
            // registers of the instruction do.
            let lane = f.lane();
            let (line, low, high) = (f.and(lane, f.i32(7)), f.and(f.lshr(lane, 3), f.i32(1)), f.lshr(lane, 4));
            let at = |p: &Panel, first: V<'c>, free: V<'c>, k: V<'c>| {
                let [free, k] = [free, k].map(|bit| f.shl(bit, 3));
                let free = f.add(first, free);
                match p.order {
                    Axis::Summed => p.place(f, f.add(free, line), k),
                    Axis::Free => p.place(f, free, f.add(k, line)),
                }
            };
            (at(a, row, low, high), at(b, column, high, low))
        } else {
            (a.place(f, row, f.i32(0)), b.place(f, column, f.i32(0)))
        };
        Micro {
            tile,
            matrix: s.matrix(),
            a,
            b,
            row,
            column,
            read_a,
            read_b,
        }
    }

    /// Rows and columns that one warp or thread computes.
    fn part(&self) -> (u32, u32) {
        (self.tile.m / self.tile.parts.0, self.tile.n / self.tile.parts.1)
    }

    /// Sums before the first step.
    pub fn start(&self, f: &Function<'_, 'c>) -> Vec<V<'c>> {
        let (height, width) = self.part();
        let count = if self.matrix {
            height * width / 32
        } else {
            height * width
        };
        vec![f.f32(0.0); count as usize]
    }

    /// Adds the products of the panels at two addresses.
    pub fn step(&self, f: &Function<'_, 'c>, (a, b): (V<'c>, V<'c>), sums: &[V<'c>]) -> Vec<V<'c>> {
        let a = f.offset(a, Ty::I8, f.widen(self.read_a, Ty::I64));
        let b = f.offset(b, Ty::I8, f.widen(self.read_b, Ty::I64));
        if !self.matrix {
            return self.step_scalar(f, (a, b), sums);
        }
        let mut sums = sums.to_vec();
        for k in (0..self.tile.k).step_by(DEPTH as usize) {
            sums = self.step_matrix(f, (a, b), k, &sums);
        }
        sums
    }

    fn step_matrix(&self, f: &Function<'_, 'c>, (a, b): (V<'c>, V<'c>), k: u32, sums: &[V<'c>]) -> Vec<V<'c>> {
        let (height, width) = self.part();
        let load = |p: &Panel, from: V<'c>, free: u32| {
            let bytes = match p.order {
                Axis::Summed => free * p.pitch() + 2 * k,
                Axis::Free => k * p.pitch() + 2 * free,
            };
            f.load_matrices(f.offset(from, Ty::I8, f.i64(bytes as i64)), p.order == Axis::Free)
        };
        let rows: Vec<[V; 4]> = (0..height / ROWS).map(|i| load(self.a, a, i * ROWS)).collect();
        let columns: Vec<[V; 2]> = (0..width / (2 * COLUMNS))
            .flat_map(|j| {
                let [b0, b1, b2, b3] = load(self.b, b, j * 2 * COLUMNS);
                [[b0, b1], [b2, b3]]
            })
            .collect();
        let mut out = Vec::with_capacity(sums.len());
        let mut sums = sums.chunks_exact(4);
        for row in &rows {
            for column in &columns {
                let acc = sums.next().expect("four sums per matrix");
                out.extend(f.multiply_matrices(*row, *column, [acc[0], acc[1], acc[2], acc[3]]));
            }
        }
        out
    }

    fn step_scalar(&self, f: &Function<'_, 'c>, (a, b): (V<'c>, V<'c>), sums: &[V<'c>]) -> Vec<V<'c>> {
        let (height, width) = self.part();
        let load = |p: &Panel, from: V<'c>, count: u32, parts: u32, k: u32| -> Vec<V<'c>> {
            let runs = (0..count / RUN).map(|run| {
                let bytes = k * p.pitch() + 4 * run * RUN * parts;
                f.load(
                    Ty::Vector(Scalar::F32, RUN),
                    f.offset(from, Ty::I8, f.i64(bytes as i64)),
                    16,
                )
            });
            runs.flat_map(|v| (0..RUN).map(move |i| f.element(v, i))).collect()
        };
        let range = (f.i32(0), f.i32((self.tile.k / ROUND) as i32), f.i32(1));
        f.for_carried(range, sums, |round, sums| {
            let mut sums = sums.to_vec();
            let at = |p: &Panel, from: V<'c>| {
                let bytes = f.mul(round, f.i32((ROUND * p.pitch()) as i32));
                f.offset(from, Ty::I8, f.widen(bytes, Ty::I64))
            };
            let (a, b) = (at(self.a, a), at(self.b, b));
            for k in 0..ROUND {
                let rows = load(self.a, a, height, self.tile.parts.0, k);
                let columns = load(self.b, b, width, self.tile.parts.1, k);
                for (i, x) in rows.iter().enumerate() {
                    for (j, y) in columns.iter().enumerate() {
                        let sum = &mut sums[i * columns.len() + j];
                        *sum = f.fma(*x, *y, *sum);
                    }
                }
            }
            sums
        })
    }

    /// Writes the sums of a round (its first row, its rows) to shared memory as f32.
    pub fn spill(&self, f: &Function<'_, 'c>, sums: &[V<'c>], to: V<'c>, (first, round): (u32, &Schedule)) {
        let pitch = epilogue::pitch(round);
        if round.tile.m == self.tile.m {
            return self.spill_rows(f, sums, to, (self.row, pitch));
        }
        // A part lies in one round.
        let row = f.sub(self.row, f.i32(first as i32));
        let (from, to_row) = (f.i32(0), f.i32(round.tile.m as i32));
        let inside = f.and(f.cmp(Cmp::Ge, row, from), f.cmp(Cmp::Lt, row, to_row));
        f.when(inside, || self.spill_rows(f, sums, to, (row, pitch)));
    }

    /// Writes the sums from a row on, rows `pitch` bytes apart.
    fn spill_rows(&self, f: &Function<'_, 'c>, sums: &[V<'c>], to: V<'c>, (own, pitch): (V<'c>, u32)) {
        let (height, width) = self.part();
        let at = |row: V<'c>, column: V<'c>| {
            let bytes = f.add(f.mul(row, f.i32(pitch as i32)), f.shl(column, 2));
            f.offset(to, Ty::I8, f.widen(bytes, Ty::I64))
        };
        if self.matrix {
            let lane = f.lane();
            let row = f.add(own, f.lshr(lane, 2));
            let column = f.add(self.column, f.shl(f.and(lane, f.i32(3)), 1));
            let first = at(row, column);
            for (n, acc) in sums.chunks_exact(4).enumerate() {
                let per_row = width / COLUMNS;
                let (i, j) = (n as u32 / per_row * ROWS, n as u32 % per_row * COLUMNS);
                for (half, pair) in acc.chunks_exact(2).enumerate() {
                    let bytes = (i + 8 * half as u32) * pitch + 4 * j;
                    f.store(f.offset(first, Ty::I8, f.i64(bytes as i64)), f.pack(pair), 8);
                }
            }
            return;
        }
        let first = at(own, self.column);
        for (n, four) in sums.chunks_exact(RUN as usize).enumerate() {
            let runs = width / RUN;
            let (i, run) = (n as u32 / runs, n as u32 % runs);
            let row = i / RUN * RUN * self.tile.parts.0 + i % RUN;
            let bytes = row * pitch + 4 * run * RUN * self.tile.parts.1;
            f.store(f.offset(first, Ty::I8, f.i64(bytes as i64)), f.pack(four), 16);
        }
        debug_assert_eq!(sums.len() as u32, height * width);
    }
}
