//! Products in f32, without tensor cores: 16 x 16 threads, each of which computes a square of scores.

use super::engine::{Engine, Part, Rows, Shape};
use super::tile::Tile;
use crate::builder::{Scalar, Ty, V};
use crate::function::Function;

/// Threads along either side of a result.
const SIDE: u32 = 16;

pub struct Fma<'f, 'k, 'c> {
    f: &'f Function<'k, 'c>,
    shape: Shape,
    /// Weights on their way from those who computed them to the others of their row.
    weights: Tile<'c>,
    thread: [V<'c>; 2],
}

/// Shape for heads of `head_dim` elements; none where a block's shared memory is too small.
pub fn shape(head_dim: i64) -> Option<Shape> {
    let width = u32::try_from(head_dim).ok()?.next_multiple_of(16);
    let side = match width {
        0..=128 => 64,
        129..=256 => 32,
        257..=512 => 16,
        _ => return None,
    };
    Some(Shape {
        rows: side,
        columns: side,
        width,
        threads: SIDE * SIDE,
        stages: 1,
        hold: false,
    })
}

impl<'f, 'k, 'c> Fma<'f, 'k, 'c> {
    pub fn new(f: &'f Function<'k, 'c>, shape: Shape) -> Self {
        let thread = f.thread();
        Fma {
            f,
            shape,
            weights: Tile::new(f, shape.rows, shape.columns, Ty::F32, 1),
            thread: [f.lshr(thread, 4), f.and(thread, f.i32(SIDE as i32 - 1))],
        }
    }

    fn four(&self, address: V<'c>) -> [V<'c>; 4] {
        let v = self.f.load(Ty::Vector(Scalar::F32, 4), address, 16);
        [0, 1, 2, 3].map(|i| self.f.element(v, i))
    }

    /// sum[i][j] += a[i] * b[j]
    fn outer(&self, sum: &mut [Vec<V<'c>>], a: &[V<'c>], b: &[V<'c>]) {
        for (row, a) in sum.iter_mut().zip(a) {
            row.iter_mut()
                .zip(b)
                .for_each(|(sum, b)| *sum = self.f.fma(*a, *b, *sum));
        }
    }
}

fn part<'c>(flat: &[V<'c>], columns: usize) -> Part<'c> {
    flat.chunks(columns).map(<[V]>::to_vec).collect()
}

impl<'c> Engine<'c> for Fma<'_, '_, 'c> {
    const ELEMENT: Ty = Ty::F32;
    const RUN: usize = 1;
    const LOG_BASE: f64 = 1.0;

    fn shape(&self) -> Shape {
        self.shape
    }
    fn function(&self) -> &Function<'_, 'c> {
        self.f
    }
    fn extent(&self, columns: u32) -> (usize, usize) {
        ((self.shape.rows / SIDE) as usize, (columns / SIDE) as usize)
    }
    fn row(&self, r: usize) -> V<'c> {
        let f = self.f;
        f.add(
            f.mul(self.thread[0], f.i32((self.shape.rows / SIDE) as i32)),
            f.i32(r as i32),
        )
    }
    fn column(&self, c: usize) -> V<'c> {
        self.f.add(self.thread[1], self.f.i32(c as i32 * SIDE as i32))
    }
    fn span(&self, c: usize) -> (u32, u32) {
        (c as u32 * SIDE, (c as u32 + 1) * SIDE)
    }
    fn leads(&self) -> V<'c> {
        self.f.cmp(crate::arith::Cmp::Eq, self.thread[1], self.f.i32(0))
    }
    fn fold_row(&self, v: V<'c>, combine: &dyn Fn(V<'c>, V<'c>) -> V<'c>) -> V<'c> {
        [8, 4, 2, 1]
            .into_iter()
            .fold(v, |v, mask| combine(v, self.f.shuffle_xor(v, mask)))
    }
    fn rows(&self, tile: Tile<'c>) -> Rows<'c> {
        Rows { tile, held: vec![] }
    }

    fn products(&self, rows: &Rows<'c>, tile: Tile<'c>) -> Part<'c> {
        let f = self.f;
        let (m, n) = self.extent(tile.rows);
        let range = (f.i32(0), f.i32(tile.width as i32), f.i32(4));
        let flat = f.for_carried(range, &vec![f.f32(0.0); m * n], |e, sum| {
            let mut sum = part(sum, n);
            let a: Vec<_> = (0..m)
                .map(|r| self.four(rows.tile.element(f, self.row(r), e)))
                .collect();
            let b: Vec<_> = (0..n).map(|c| self.four(tile.element(f, self.column(c), e))).collect();
            for i in 0..4 {
                let at = |v: &[[V<'c>; 4]]| v.iter().map(|v| v[i]).collect::<Vec<_>>();
                self.outer(&mut sum, &at(&a), &at(&b));
            }
            sum.concat()
        });
        part(&flat, n)
    }

    fn accumulate(&self, weights: &Part<'c>, tile: Tile<'c>, sum: &Part<'c>) -> Part<'c> {
        let f = self.f;
        for (r, row) in weights.iter().enumerate() {
            for (c, v) in row.iter().enumerate() {
                f.store(self.weights.element(f, self.row(r), self.column(c)), *v, 4);
            }
        }
        // A row's threads are in one warp.
        f.warp_barrier();
        let (m, n) = self.extent(tile.width);
        let range = (f.i32(0), f.i32(tile.rows as i32), f.i32(4));
        let flat = f.for_carried(range, &sum.concat(), |j, sum| {
            let mut sum = part(sum, n);
            let a: Vec<_> = (0..m)
                .map(|r| self.four(self.weights.element(f, self.row(r), j)))
                .collect();
            let b = tile.element(f, j, self.column(0));
            for i in 0..4 {
                let a: Vec<_> = a.iter().map(|a| a[i as usize]).collect();
                let b: Vec<_> = (0..n as u32)
                    .map(|c| f.load(Ty::F32, tile.further(f, b, i, c * SIDE), 4))
                    .collect();
                self.outer(&mut sum, &a, &b);
            }
            sum.concat()
        });
        f.warp_barrier();
        part(&flat, n)
    }

    fn exp(&self, x: V<'c>) -> V<'c> {
        self.f.exp(x)
    }
}
