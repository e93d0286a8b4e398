//! How products are cut into tiles: a table, and the choice from it.

use super::product::Product;
use crate::function::blocks_of;
use ir::dim::Dim;
use ir::scalar::DType;
use std::fmt;

/// One block of threads computes `m` x `n` results, in steps of `k`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tile {
    pub m: u32,
    pub n: u32,
    pub k: u32,
    /// How the tile is divided among warps (on tensor cores) or threads, along m and n.
    pub parts: (u32, u32),
    /// Steps in shared memory at a time.
    pub stages: u32,
    /// Expected share of the best tile's speed, where results fill it.
    pub rate: f64,
}

const fn tile(m: u32, n: u32, k: u32, parts: (u32, u32), stages: u32, rate: f64) -> Tile {
    Tile {
        m,
        n,
        k,
        parts,
        stages,
        rate,
    }
}

/// For tensor cores, in warps. The more a warp computes, the less shared memory is read per product: up to 64 x 64.
/// A block of the largest tile has a processor to itself: it reads the least, but nothing is multiplied during its epilogue.
/// Of the others at least two share one.
const MATRIX: &[Tile] = &[
    tile(256, 128, 32, (4, 2), 3, 1.1),
    tile(128, 128, 32, (2, 2), 4, 1.0),
    tile(128, 64, 32, (2, 2), 4, 0.85),
    tile(64, 128, 32, (1, 4), 4, 0.85),
    tile(128, 48, 32, (2, 1), 4, 0.75),
    tile(64, 64, 32, (2, 2), 4, 0.7),
    tile(128, 32, 32, (4, 1), 4, 0.55),
    tile(32, 128, 32, (1, 4), 4, 0.55),
    tile(128, 16, 32, (4, 1), 4, 0.35),
    tile(16, 128, 32, (1, 4), 4, 0.35),
    tile(32, 32, 32, (2, 2), 4, 0.3),
];

/// For products in f32, in threads.
const SCALAR: &[Tile] = &[
    tile(128, 128, 8, (16, 16), 2, 1.0),
    tile(64, 64, 16, (16, 16), 2, 0.7),
    tile(128, 48, 16, (16, 12), 2, 0.6),
    tile(128, 32, 16, (32, 8), 2, 0.5),
    tile(32, 128, 16, (8, 32), 2, 0.5),
    tile(128, 16, 16, (32, 4), 2, 0.35),
    tile(16, 128, 16, (4, 32), 2, 0.35),
    tile(32, 32, 16, (8, 8), 2, 0.3),
];

/// What an extent that is not constant is taken for.
const TYPICAL: i64 = 4096;
/// What a number of positions along the batch is taken for that is not constant.
const BATCHES: i64 = 8;
/// With fewer tiles, many processors are idle.
const FEW: f64 = 64.0;
/// Summands that take as long as one value of the epilogue, times how many times the longer the sum should take.
const DEPTH_PER_VALUE: i64 = 150;
/// Processors of the GPU.
const PROCESSORS: i64 = 132;
/// Pieces of a sum, at most: each costs a tile of workspace.
const MOST_SPLITS: i64 = 64;
/// Share of the slots that should be at work on average.
const ENOUGH: f64 = 0.8;

#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    pub tile: Tile,
    /// Whether operands are bf16 and go through tensor cores.
    pub matrix: bool,
    /// Pieces that the summed axis is divided into, added up by a second function.
    pub splits: i64,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (t, how) = (&self.tile, if self.matrix { "mma bf16" } else { "fma f32" });
        write!(f, "{how}, tile {}x{}x{}, {} stages", t.m, t.n, t.k, t.stages)?;
        if self.splits > 1 {
            write!(f, ", sum in {} pieces", self.splits)?;
        }
        Ok(())
    }
}

impl Schedule {
    /// `asynchronous`: whether a and b are copied so; `values`: how many the epilogue computes.
    pub fn new(p: &Product, asynchronous: (bool, bool), values: usize) -> Schedule {
        let matrix = p.round == DType::Bf16;
        let (batches, m, n) = (batches(p), size(&p.rows), size(&p.n));
        let cost = |t: &Tile| {
            let area = (batches * padded(m, t.m) * padded(n, t.n)) as f64;
            let tiles = if splits(p, t) > 1 {
                FEW
            } else {
                area / (t.m * t.n) as f64
            };
            area / t.rate / (tiles / FEW).min(1.0)
        };
        let both = asynchronous == (true, true);
        let table = if matrix { MATRIX } else { SCALAR };
        let depth = size(&p.k_outer) * size(&p.k);
        let large = both && (splits(p, &table[0]) > 1 || depth >= DEPTH_PER_VALUE * values as i64);
        let fits = |t: &&Tile| large || t.m * t.n <= 128 * 128;
        let best = |x: &&Tile, y: &&Tile| cost(x).total_cmp(&cost(y));
        let mut tile = *table.iter().filter(fits).min_by(best).expect("most tiles fit");
        if matrix && p.k.as_const().is_some_and(|k| k <= 16) {
            tile.k = 16;
        }
        if asynchronous == (false, false) {
            // Only asynchronous copies gain from more.
            tile.stages = 2;
        }
        if matrix && !both && tile.m * tile.n == 128 * 128 {
            // What is copied through registers needs more threads to hold it.
            tile.parts = (2, 4);
        }
        Schedule {
            tile,
            matrix,
            splits: splits(p, &tile),
        }
    }

    /// The tile in rounds of as many rows as fit into shared memory as f32, each with its first row: a tile of 256 rows would
    /// need more than GPUs of compute capability 8.6 and 8.9 have.
    pub fn rounds(&self) -> Vec<(u32, Schedule)> {
        let count = if self.tile.m > 128 { 2 } else { 1 };
        let rows = self.tile.m / count;
        let part = Schedule {
            tile: Tile { m: rows, ..self.tile },
            ..self.clone()
        };
        (0..count).map(|n| (n * rows, part.clone())).collect()
    }

    pub fn threads(&self) -> u32 {
        let parts = self.tile.parts.0 * self.tile.parts.1;
        if self.matrix { 32 * parts } else { parts }
    }
}

/// Positions along the batch, at least 1.
fn batches(p: &Product) -> i64 {
    p.batches().as_const().unwrap_or(BATCHES).max(1)
}

fn size(d: &Dim) -> i64 {
    d.as_const().unwrap_or(TYPICAL)
}

fn padded(extent: i64, tile: u32) -> i64 {
    (extent + tile as i64 - 1) / tile as i64 * tile as i64
}

/// Few tiles and a long sum: the gradients of weights.
fn splits(p: &Product, t: &Tile) -> i64 {
    let symbolic = p.k.as_const().is_none() || p.k_outer.as_const().is_none();
    let tiles = blocks_of(&p.rows, t.m as i64) * blocks_of(&p.n, t.n as i64);
    let tiles = tiles.as_const().filter(|n| symbolic && *n > 0);
    let Some(tiles) = tiles.map(|n| n * batches(p)) else {
        return 1;
    };
    let slots = if t.m * t.n > 128 * 128 {
        PROCESSORS
    } else {
        2 * PROCESSORS
    };
    // The last round of blocks leaves slots empty.
    let busy = |splits: i64| {
        let blocks = tiles * splits;
        blocks as f64 / ((blocks + slots - 1) / slots * slots) as f64
    };
    let all = 1..=MOST_SPLITS;
    let enough = all.clone().find(|s| busy(*s) >= ENOUGH);
    enough.unwrap_or_else(|| all.max_by(|a, b| busy(*a).total_cmp(&busy(*b))).expect("not empty"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shared memory that a block may have on GPUs of compute capability 8.6 and 8.9, which have the least.
    const EVERYWHERE: u32 = 99 * 1024;

    /// Whatever the order of the operands, which decides the padding of their panels: at most a chunk per line.
    fn shared_bytes(t: &Tile, element: u32) -> u32 {
        let lines = (t.m + t.n).max(2 * t.k);
        let panels = t.stages * ((t.m + t.n) * t.k * element + 16 * lines);
        panels.max(t.m.min(128) * 4 * (t.n + 8))
    }

    #[test]
    fn tiles_are_whole() {
        // Rows and columns of the smallest part: two matrix instructions, or runs of four.
        for (table, part, element) in [(MATRIX, 16, 2), (SCALAR, 4, 4)] {
            for t in table {
                assert_eq!(
                    (t.m % (t.parts.0 * part), t.n % (t.parts.1 * part), t.k % 4),
                    (0, 0, 0),
                    "{t:?}"
                );
                let s = Schedule {
                    tile: *t,
                    matrix: element == 2,
                    splits: 1,
                };
                assert!(
                    s.threads() <= 1024 && s.threads().is_multiple_of(t.n.next_power_of_two()),
                    "{t:?}"
                );
                assert!(shared_bytes(t, element) <= EVERYWHERE, "{t:?}");
            }
        }
    }
}
