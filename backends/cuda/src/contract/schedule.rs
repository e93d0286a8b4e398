//! How products are cut into tiles: a table, and the choice from it.

use super::product::Product;
use crate::function::blocks_of;
use ir::dim::Dim;
use ir::scalar::DType;

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
    Tile { m, n, k, parts, stages, rate }
}

/// For tensor cores, in warps.
const MATRIX: &[Tile] = &[
    tile(128, 128, 32, (2, 4), 4, 1.0),
    tile(128, 64, 32, (4, 2), 4, 0.85),
    tile(64, 128, 32, (2, 4), 4, 0.85),
    tile(64, 64, 32, (2, 2), 4, 0.7),
    tile(128, 48, 32, (4, 1), 4, 0.7),
    tile(128, 32, 32, (4, 1), 4, 0.55),
    tile(32, 128, 32, (1, 4), 4, 0.55),
    tile(128, 16, 32, (4, 1), 4, 0.35),
    tile(16, 128, 32, (1, 4), 4, 0.35),
    tile(32, 32, 32, (2, 2), 4, 0.3),
];

/// For products in f32, in threads.
const SCALAR: &[Tile] = &[
    tile(128, 128, 16, (16, 16), 2, 1.0),
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
/// Blocks that run at a time: two on each of 132 processors.
const SLOTS: i64 = 264;
/// Pieces of a sum, at most: each costs a tile of workspace.
const MOST_SPLITS: i64 = 32;
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

impl Schedule {
    pub fn new(p: &Product) -> Schedule {
        let matrix = p.round == DType::Bf16;
        let (m, n) = (size(&p.rows), size(&p.n));
        let cost = |t: &Tile| (padded(m, t.m) * padded(n, t.n)) as f64 / t.rate;
        let table = if matrix { MATRIX } else { SCALAR };
        let best = |x: &&Tile, y: &&Tile| cost(x).total_cmp(&cost(y));
        let tile = *table.iter().min_by(best).expect("the table is not empty");
        Schedule { tile, matrix, splits: splits(p, &tile) }
    }

    /// With as many stages as are of use: only asynchronous copies gain from more than two.
    pub fn staged(&self, asynchronous: bool) -> Schedule {
        let mut s = self.clone();
        s.tile.stages = if asynchronous { s.tile.stages } else { 2 };
        s
    }

    pub fn threads(&self) -> u32 {
        let parts = self.tile.parts.0 * self.tile.parts.1;
        if self.matrix { 32 * parts } else { parts }
    }
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
    let tiles = p.batches() * blocks_of(&p.rows, t.m as i64) * blocks_of(&p.n, t.n as i64);
    let Some(tiles) = tiles.as_const().filter(|n| symbolic && *n > 0) else { return 1 };
    // The last round of blocks leaves slots empty.
    let busy = |splits: i64| {
        let blocks = tiles * splits;
        blocks as f64 / ((blocks + SLOTS - 1) / SLOTS * SLOTS) as f64
    };
    let all = 1..=MOST_SPLITS;
    let enough = all.clone().find(|s| busy(*s) >= ENOUGH);
    enough.unwrap_or_else(|| all.max_by(|a, b| busy(*a).total_cmp(&busy(*b))).expect("not empty"))
}
