//! How products are cut into tiles: a table, and the choice from it.

use super::product::Product;
use crate::function::blocks_of;
use ir::dim::Dim;
use ir::rounding::Rounding;
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

/// For tensor cores of Hopper, in groups of four warps; the summed axis is cut into runs of 128 bytes, as they are swizzled. A
/// block of the largest tile has a processor to itself, of the others two share one.
const WARPGROUP: &[Tile] = &[
    tile(128, 256, 64, (2, 1), 4, 1.1),
    tile(128, 128, 64, (2, 1), 3, 1.0),
    tile(128, 64, 64, (2, 1), 4, 0.8),
    tile(64, 128, 64, (1, 2), 4, 0.8),
    tile(128, 48, 64, (2, 1), 4, 0.7),
    tile(128, 32, 64, (2, 1), 4, 0.5),
    tile(128, 16, 64, (2, 1), 4, 0.3),
];
/// Rows, columns and summands below which most of what they multiply would be nothing.
const LEAST: (i64, i64, i64) = (32, 16, 32);

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

/// What multiplies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Engine {
    /// Threads, in f32.
    Fma,
    /// Tensor cores, in bf16, a warp at a time.
    Mma,
    /// Tensor cores of Hopper, in bf16, four warps at a time; operands stay in shared memory.
    Wgmma,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    pub tile: Tile,
    pub engine: Engine,
    /// Pieces that the summed axis is divided into, added up by a second function.
    pub splits: i64,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let how = match self.engine {
            Engine::Fma => "fma f32",
            Engine::Mma => "mma bf16",
            Engine::Wgmma => "wgmma bf16",
        };
        let t = &self.tile;
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
        let matrix = p.round == Rounding::Bf16;
        let both = asynchronous == (true, true);
        let mut tile = best(if matrix { MATRIX } else { SCALAR }, p, both && is_long(p, values));
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
            engine: if matrix { Engine::Mma } else { Engine::Fma },
            splits: splits(p, &tile),
        }
    }

    /// For operands that TMA can read; `None` where there is too little to multiply.
    pub fn wgmma(p: &Product, values: usize) -> Option<Schedule> {
        let depth = p.k.as_const().unwrap_or(TYPICAL).min(size(&p.k_outer) * size(&p.k));
        if size(&p.rows) < LEAST.0 || size(&p.n) < LEAST.1 || depth < LEAST.2 {
            return None;
        }
        let tile = best(WARPGROUP, p, is_long(p, values));
        Some(Schedule {
            tile,
            engine: Engine::Wgmma,
            splits: splits(p, &tile),
        })
    }

    /// Blocks that a processor holds at a time, for which there are registers and shared memory.
    pub fn resident(&self) -> u32 {
        if self.tile.m * self.tile.n > 128 * 128 { 1 } else { 2 }
    }

    pub fn matrix(&self) -> bool {
        self.engine != Engine::Fma
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
        match self.engine {
            Engine::Fma => parts,
            Engine::Mma => 32 * parts,
            Engine::Wgmma => 128 * parts,
        }
    }
}

/// The tile that takes the least time; one that has a processor to itself only where the sum is long.
fn best(table: &[Tile], p: &Product, long: bool) -> Tile {
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
    let fits = |t: &&Tile| long || t.m * t.n <= 128 * 128;
    let best = |x: &&Tile, y: &&Tile| cost(x).total_cmp(&cost(y));
    *table.iter().filter(fits).min_by(best).expect("most tiles fit")
}

/// Whether summing takes so much longer than the epilogue that nothing else need be done during that.
fn is_long(p: &Product, values: usize) -> bool {
    let depth = size(&p.k_outer) * size(&p.k);
    splits(p, &MATRIX[0]) > 1 || depth >= DEPTH_PER_VALUE * values as i64
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
        use Engine::{Fma, Mma};
        for (table, part, element, engine) in [(MATRIX, 16, 2, Mma), (SCALAR, 4, 4, Fma)] {
            for t in table {
                assert_eq!(
                    (t.m % (t.parts.0 * part), t.n % (t.parts.1 * part), t.k % 4),
                    (0, 0, 0),
                    "{t:?}"
                );
                let s = Schedule {
                    tile: *t,
                    engine,
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

    #[test]
    fn tiles_of_hopper_fit() {
        for tile in WARPGROUP {
            let s = Schedule {
                tile: *tile,
                engine: Engine::Wgmma,
                splits: 1,
            };
            // Rows of an instruction, columns of a swizzled box where several groups share them, bytes of a swizzled row.
            let columns = if tile.parts.1 > 1 { 64 } else { 8 };
            let parts = (tile.m / tile.parts.0, tile.n / tile.parts.1);
            assert_eq!((parts.0, parts.1 % columns, 2 * tile.k), (64, 0, 128), "{tile:?}");
            assert_eq!(s.threads(), 256, "two groups multiply");
            // Columns lie in whole boxes where they are contiguous.
            let stages = tile.stages * 128 * (tile.m + tile.n.next_multiple_of(64));
            let bytes = stages.max(tile.m * 4 * (tile.n + 8)) + 16 * tile.stages;
            // The processor has 228 KiB, and needs one for itself per block.
            assert!(s.resident() * (bytes + 1024) <= 228 * 1024, "{tile:?}");
        }
    }
}
