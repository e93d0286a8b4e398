//! What attention asks of a way to multiply tiles.
//!
//! A block computes products of tiles in shared memory. Every thread holds some numbers of a result, as [row][column]; where
//! these are in the result, [`Engine::row`] and [`Engine::column`] say. A row's numbers are spread over lanes of one warp.

use super::setting::Setting;
use super::tile::Tile;
use crate::arith::Cmp;
use crate::builder::{Ty, V};
use crate::function::Function;
use ir::kernel::HeadView;

/// Numbers of one thread, [row][column].
pub type Part<'c> = Vec<Vec<V<'c>>>;

/// Extents of tiles, in elements.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Rows of a block's result.
    pub rows: u32,
    /// Rows of the tiles that the block walks over.
    pub columns: u32,
    /// Elements of a row: head_dim, up to a multiple of 16.
    pub width: u32,
    pub threads: u32,
    /// How many tiles of an operand that is walked over are in shared memory: 2 to copy one while the other is used.
    pub stages: u32,
    /// Whether threads keep the rows of their own products in registers.
    pub hold: bool,
}

/// The left operand of [`Engine::products`].
pub struct Rows<'c> {
    pub tile: Tile<'c>,
    /// What the engine keeps of it in registers.
    pub held: Vec<[V<'c>; 4]>,
}

pub trait Engine<'c> {
    /// Elements in shared memory.
    const ELEMENT: Ty;
    /// Columns of a thread that follow each other.
    const RUN: usize;
    /// The natural logarithm of the base that [`Engine::exp`] is of.
    const LOG_BASE: f64;

    fn shape(&self) -> Shape;
    fn function(&self) -> &Function<'_, 'c>;
    /// Numbers that a thread has of a result with `columns` columns.
    fn extent(&self, columns: u32) -> (usize, usize);
    /// Row of a thread's `r`-th row, i32.
    fn row(&self, r: usize) -> V<'c>;
    /// Column of a thread's `c`-th column, i32.
    fn column(&self, c: usize) -> V<'c>;
    /// Columns (from, to) of which a thread's `c`-th is one, whichever thread.
    fn span(&self, c: usize) -> (u32, u32);
    /// Whether this thread's first column is column 0, i1.
    fn leads(&self) -> V<'c>;
    /// Something of all numbers of a row, from what each of its threads has; the same in each of them.
    fn fold_row(&self, v: V<'c>, combine: &dyn Fn(V<'c>, V<'c>) -> V<'c>) -> V<'c>;
    /// Prepares a left operand, which has arrived in shared memory.
    fn rows(&self, tile: Tile<'c>) -> Rows<'c>;
    /// [i, j] = sum over e of rows[i, e] * tile[j, e]
    fn products(&self, rows: &Rows<'c>, tile: Tile<'c>) -> Part<'c>;
    /// sum[i, e] += sum over j of weights[i, j] * tile[j, e]
    fn accumulate(&self, weights: &Part<'c>, tile: Tile<'c>, sum: &Part<'c>) -> Part<'c>;
    fn exp(&self, x: V<'c>) -> V<'c>;

    /// Zeros for a result as wide as a head.
    fn zeros(&self) -> Part<'c> {
        let (rows, columns) = self.extent(self.shape().width);
        vec![vec![self.function().f32(0.0); columns]; rows]
    }

    /// Stores row r of a thread's part times `factors[r]`, where such a row exists.
    fn store(&self, s: &Setting<'_, '_, 'c>, view: &HeadView, part: &Part<'c>, factors: &[V<'c>]) {
        let (f, head_dim) = (self.function(), s.a.head_dim as u32);
        for (r, (row, factor)) in part.iter().zip(factors).enumerate() {
            let t = f.add(s.first, self.row(r));
            f.when(f.cmp(Cmp::Lt, t, s.time), || {
                for (i, run) in row.chunks(Self::RUN).enumerate() {
                    let values: Vec<V> = run.iter().map(|v| f.mul(*v, *factor)).collect();
                    let (from, to) = self.span(i * Self::RUN);
                    let column = self.column(i * Self::RUN);
                    if to <= head_dim {
                        s.store_columns(view, t, column, &values);
                    } else if from < head_dim {
                        let inside = f.cmp(Cmp::Lt, column, f.i32(head_dim as i32));
                        f.when(inside, || s.store_columns(view, t, column, &values));
                    }
                }
            });
        }
    }

    /// Calls `compute` for each of `count` (i32) tiles, with its number, its stage and the carried values, once what `fetch`
    /// has begun to copy for the number and stage has arrived.
    fn walk(
        &self,
        count: V<'c>,
        carried: &[V<'c>],
        fetch: &dyn Fn(V<'c>, V<'c>),
        compute: impl FnOnce(V<'c>, V<'c>, &[V<'c>]) -> Vec<V<'c>>,
    ) -> Vec<V<'c>>
    where
        Self: Sized,
    {
        let f = self.function();
        let (zero, one) = (f.i32(0), f.i32(1));
        let ahead = self.shape().stages > 1;
        if ahead {
            f.when(f.cmp(Cmp::Lt, zero, count), || fetch(zero, zero));
        }
        f.for_carried((zero, count, one), carried, |i, carried| {
            if ahead {
                // After this barrier nobody reads the tile before, into whose place the next one goes.
                f.all_arrived();
                let (stage, next) = (f.and(i, one), f.add(i, one));
                f.when(f.cmp(Cmp::Lt, next, count), || fetch(next, f.and(next, one)));
                compute(i, stage, carried)
            } else {
                f.barrier();
                fetch(i, zero);
                f.all_arrived();
                compute(i, zero, carried)
            }
        })
    }
}
