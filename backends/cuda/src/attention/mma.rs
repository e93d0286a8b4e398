//! Products of bf16 on tensor cores (`mma.m16n8k16`, sums in f32): every warp computes some blocks of 16 rows.
//!
//! In a result of 16 x 8, lane l holds columns 2 (l % 4) and the next of rows l / 4 and l / 4 + 8; a left operand of 16 x 16
//! is two such results side by side, so that weights become an operand without leaving their thread.

use super::engine::{Engine, Part, Rows, Shape};
use super::tile::Tile;
use crate::arith::Cmp;
use crate::builder::{Ty, V};
use crate::function::Function;
use crate::warp::WARP;

/// Rows of one instruction's result.
const ROWS: u32 = 16;
/// Columns of it.
const COLUMNS: u32 = 8;
/// Products that one instruction sums.
const DEPTH: u32 = 16;

pub struct Mma<'f, 'k, 'c> {
    f: &'f Function<'k, 'c>,
    shape: Shape,
    /// First row of this thread's warp.
    first: V<'c>,
    lane: V<'c>,
}

/// What a function of attention keeps in registers, which decides its shape.
#[derive(Clone, Copy, PartialEq)]
pub enum Pass {
    Forward,
    /// Gradients of keys and values.
    Keys,
    /// Gradients of queries.
    Queries,
}

/// Shape for heads of `head_dim` elements; none where the sums do not fit in registers. With 32, 64, 80 and 128 elements
/// nothing spills (ptxas 13.0, sm_80 and sm_90a); at 64 the forward pass with dropout takes all 255 registers.
pub fn shape(head_dim: i64, pass: Pass) -> Option<Shape> {
    let width = u32::try_from(head_dim).ok()?.next_multiple_of(DEPTH);
    if width > 128 {
        return None;
    }
    let small = width <= 64;
    let (warps, blocks, columns, hold) = match pass {
        Pass::Forward => (4, if small { 2 } else { 1 }, 64, small),
        Pass::Keys => (4, 1, if small { 64 } else { 32 }, small),
        Pass::Queries => (4, 1, if small { 64 } else { 32 }, small),
    };
    Some(Shape {
        rows: warps * blocks * ROWS,
        columns,
        width,
        threads: warps * WARP,
        stages: 2,
        hold,
    })
}

impl<'f, 'k, 'c> Mma<'f, 'k, 'c> {
    pub fn new(f: &'f Function<'k, 'c>, shape: Shape) -> Self {
        let own = shape.rows * WARP / shape.threads;
        Mma {
            f,
            shape,
            first: f.mul(f.warp(), f.i32(own as i32)),
            lane: f.lane(),
        }
    }

    /// Blocks of 16 rows of a warp.
    fn blocks(&self) -> usize {
        (self.shape.rows * WARP / self.shape.threads / ROWS) as usize
    }

    /// sum + a * b on one 16 x 8 block, whose numbers are columns `2n` and `2n + 1` of a thread's two rows `rows`.
    fn multiply(&self, a: &[V<'c>; 4], b: &[V<'c>], rows: &mut [Vec<V<'c>>], n: usize) {
        let f = self.f;
        let sum = [rows[0][2 * n], rows[0][2 * n + 1], rows[1][2 * n], rows[1][2 * n + 1]];
        let out = f.multiply_matrices(*a, [b[0], b[1]], sum);
        for (i, v) in out.into_iter().enumerate() {
            rows[i / 2][2 * n + i % 2] = v;
        }
    }

    /// Bit `bit` of the lane's number times `by`, i32.
    fn lane_bit(&self, bit: i64, by: i32) -> V<'c> {
        let f = self.f;
        f.mul(f.and(f.lshr(self.lane, bit), f.i32(1)), f.i32(by))
    }

    fn lane_low(&self, mask: i32) -> V<'c> {
        self.f.and(self.lane, self.f.i32(mask))
    }

    /// Where this lane reads the matrices of a warp's first left operand in a tile.
    fn left(&self, tile: Tile<'c>) -> V<'c> {
        let f = self.f;
        tile.element(f, f.add(self.first, self.lane_low(15)), self.lane_bit(4, 8))
    }

    fn left_operand(&self, tile: Tile<'c>, left: V<'c>, block: usize, k: u32) -> [V<'c>; 4] {
        self.f
            .load_matrices(tile.further(self.f, left, block as u32 * ROWS, k * DEPTH), false)
    }
}

impl<'c> Engine<'c> for Mma<'_, '_, 'c> {
    const ELEMENT: Ty = Ty::I16;
    const RUN: usize = 2;
    const LOG_BASE: f64 = std::f64::consts::LN_2;

    fn shape(&self) -> Shape {
        self.shape
    }
    fn function(&self) -> &Function<'_, 'c> {
        self.f
    }
    fn extent(&self, columns: u32) -> (usize, usize) {
        (2 * self.blocks(), (columns / COLUMNS) as usize * 2)
    }
    fn row(&self, r: usize) -> V<'c> {
        let f = self.f;
        let within = r as u32 / 2 * ROWS + r as u32 % 2 * 8;
        f.add(f.add(self.first, f.lshr(self.lane, 2)), f.i32(within as i32))
    }
    fn column(&self, c: usize) -> V<'c> {
        let f = self.f;
        let within = c as u32 / 2 * COLUMNS + c as u32 % 2;
        f.add(f.shl(self.lane_low(3), 1), f.i32(within as i32))
    }
    fn span(&self, c: usize) -> (u32, u32) {
        let n = c as u32 / 2;
        (n * COLUMNS, (n + 1) * COLUMNS)
    }
    fn leads(&self) -> V<'c> {
        self.f.cmp(Cmp::Eq, self.lane_low(3), self.f.i32(0))
    }
    fn fold_row(&self, v: V<'c>, combine: &dyn Fn(V<'c>, V<'c>) -> V<'c>) -> V<'c> {
        [2, 1]
            .into_iter()
            .fold(v, |v, mask| combine(v, self.f.shuffle_xor(v, mask)))
    }

    fn rows(&self, tile: Tile<'c>) -> Rows<'c> {
        let depth = if self.shape.hold { tile.width / DEPTH } else { 0 };
        let left = self.left(tile);
        let held = (0..depth)
            .flat_map(|k| (0..self.blocks()).map(move |block| (block, k)))
            .map(|(block, k)| self.left_operand(tile, left, block, k))
            .collect();
        Rows { tile, held }
    }

    fn products(&self, rows: &Rows<'c>, tile: Tile<'c>) -> Part<'c> {
        let f = self.f;
        let (m, n) = self.extent(tile.rows);
        let mut sum = vec![vec![f.f32(0.0); n]; m];
        let left = self.left(rows.tile);
        // Rows of the tile are columns of the right operand: matrices are two steps of depth, then the next eight columns.
        let row = f.add(self.lane_low(7), self.lane_bit(4, 8));
        let right = tile.element(f, row, self.lane_bit(3, 8));
        for k in 0..tile.width / DEPTH {
            let left: Vec<[V; 4]> = (0..self.blocks())
                .map(|block| match rows.held.get(k as usize * self.blocks() + block) {
                    Some(held) => *held,
                    None => self.left_operand(rows.tile, left, block, k),
                })
                .collect();
            for pair in 0..tile.rows / (2 * COLUMNS) {
                let right = f.load_matrices(tile.further(f, right, pair * 2 * COLUMNS, k * DEPTH), false);
                for (left, sum) in left.iter().zip(sum.chunks_mut(2)) {
                    self.multiply(left, &right[..2], sum, 2 * pair as usize);
                    self.multiply(left, &right[2..], sum, 2 * pair as usize + 1);
                }
            }
        }
        sum
    }

    fn accumulate(&self, weights: &Part<'c>, tile: Tile<'c>, sum: &Part<'c>) -> Part<'c> {
        let f = self.f;
        let mut sum = sum.clone();
        // Rows of the tile are rows of the right operand, which wants two of them in one register.
        let right = tile.element(f, self.lane_low(15), self.lane_bit(4, 8));
        for k in 0..tile.rows / DEPTH {
            let left: Vec<[V; 4]> = weights
                .chunks(2)
                .map(|rows| {
                    let pair = |row: usize, c: usize| f.pack_bf16(rows[row][c], rows[row][c + 1]);
                    let c = 4 * k as usize;
                    [pair(0, c), pair(1, c), pair(0, c + 2), pair(1, c + 2)]
                })
                .collect();
            for two in 0..tile.width / (2 * COLUMNS) {
                let right = f.load_matrices(tile.further(f, right, k * DEPTH, two * 2 * COLUMNS), true);
                for (left, sum) in left.iter().zip(sum.chunks_mut(2)) {
                    self.multiply(left, &right[..2], sum, 2 * two as usize);
                    self.multiply(left, &right[2..], sum, 2 * two as usize + 1);
                }
            }
        }
        sum
    }

    /// `ex2.approx`: relative error at most 2^-22 (PTX ISA), far below that of the bf16 which results are rounded to.
    fn exp(&self, x: V<'c>) -> V<'c> {
        self.f.intrinsic("llvm.nvvm.ex2.approx.f32", &[x], Ty::F32)
    }
}
