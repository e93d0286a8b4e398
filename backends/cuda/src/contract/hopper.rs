//! Contractions on Hopper: one thread has boxes of both operands copied into a ring of stages in shared memory, two groups of
//! four warps multiply them there.
//!
//! Every stage has two barriers. `full` counts the bytes of its boxes; `empty` counts the warps that have multiplied them.
//!
//! | module | role |
//! |-|-|
//! | `instructions` | the instructions, as PTX |
//! | `operand` | tensor maps, boxes and descriptors of an operand |

mod instructions;
mod operand;

use super::epilogue::{self, Epilogue};
use super::pack::Packed;
use super::pipeline::Pipeline;
use super::product::{Product, coordinates};
use super::schedule::Schedule;
use super::{place, split_steps, store_tile};
use crate::Error;
use crate::arith::Cmp;
use crate::builder::{Ty, V};
use crate::function::{Finished, Function, Unit, blocks_of};
use crate::module::Family;
use ir::dim::Dim;
use ir::kernel::Contract;
use ir::rounding::Rounding;
use melior::Context;
use operand::{Operand, Place, Step, WIDTH};

/// Warps that multiply.
const WARPS: u32 = 8;
/// Bytes of a barrier.
const BARRIER: u32 = 8;

/// Both operands as TMA reads them, with the tiles they are cut into.
pub struct Plan {
    pub schedule: Schedule,
    a: Operand,
    b: Operand,
}

impl Plan {
    /// `None` where operands lie so that TMA cannot read them, are not of bf16, or are too small; `values` are those of the
    /// epilogue.
    pub fn new(unit: &Unit, p: &Product, packed: Option<&Packed>, values: usize) -> Option<Plan> {
        if unit.family != Family::Hopper || p.round != Rounding::Bf16 {
            return None;
        }
        let a = Operand::new(unit, p, &p.a, &p.rows)?;
        let b = match packed {
            Some(_) => Operand::packed(p, &p.b, &p.n),
            None => Operand::new(unit, p, &p.b, &p.n),
        }?;
        let schedule = Schedule::wgmma(p, values)?;
        debug_assert_eq!(schedule.tile.k, WIDTH);
        Some(Plan {
            a: a.sized(schedule.tile.m),
            b: b.sized(schedule.tile.n),
            schedule,
        })
    }

    fn stage_bytes(&self) -> u32 {
        self.a.bytes() + self.b.bytes()
    }
}

/// A function as its threads see it.
struct Tiles<'p, 'f, 'k, 'c> {
    f: &'f Function<'k, 'c>,
    p: &'p Product,
    plan: &'p Plan,
    /// Addresses in shared memory, i32.
    stages: V<'c>,
    full: V<'c>,
    empty: V<'c>,
    /// First step of the sum, and how many there are, i32.
    steps: (V<'c>, V<'c>),
}

/// The function that multiplies.
pub fn tiles<'c>(
    context: &'c Context,
    unit: &Unit,
    c: &Contract,
    p: &Product,
    plan: &Plan,
    number: usize,
) -> Result<Finished<'c>, Error> {
    let s = &plan.schedule;
    let tile = s.tile;
    let f = Function::new(context, unit, number, s.threads());
    let shares = Shares::of(s);
    f.with_helpers(shares.helpers, s.resident());
    f.scheduled(s);
    let maps = (f.map(plan.a.map()), f.map(plan.b.map()));
    let epilogue = Epilogue::new(&f, c, p);
    let counts = (blocks_of(&p.rows, tile.m as i64), blocks_of(&p.n, tile.n as i64));
    let (place, split) = place(&f, p, s, &counts);
    let bytes = (tile.stages * plan.stage_bytes()).max(epilogue::shared_bytes(s));
    let shared = f.shared(bytes, 1024);
    let [full, empty] = [(); 2].map(|()| f.shared(tile.stages * BARRIER, BARRIER));
    let [stages, full, empty] = [shared, full, empty].map(|at| f.shared_address(at));
    let tiles = Tiles {
        f: &f,
        p,
        plan,
        stages,
        full,
        empty,
        steps: split_steps(&f, s, &Pipeline::steps(p, s), split),
    };
    let warp = f.uniform_warp();
    f.when(f.cmp(Cmp::Eq, f.thread(), f.i32(0)), || tiles.make_barriers());
    f.barrier();
    f.if_else(
        f.cmp(Cmp::Lt, warp, f.i32(WARPS as i32)),
        || {
            if let Some((own, _)) = shares.registers {
                f.set_registers(own, true);
            }
            let sums = tiles.multiply(warp);
            // What is multiplied last makes room for the sums.
            f.barrier_of(f.threads());
            tiles.spill(warp, &sums, shared);
            f.barrier_of(f.threads());
            store_tile(&f, &epilogue, (p, s), (place, split), shared);
            vec![]
        },
        || {
            if let Some((_, others)) = shares.registers {
                f.set_registers(others, false);
            }
            let first = f.cmp(Cmp::Eq, f.thread(), f.i32(f.threads() as i32));
            f.when(first, || tiles.copy(maps, &place));
            vec![]
        },
    );
    drop(epilogue);
    f.finish([
        p.batches() * counts.0 * counts.1 * Dim::from(s.splits),
        Dim::from(1),
        Dim::from(1),
    ])
}

/// How the threads of a block share the registers of a processor.
struct Shares {
    /// Threads beside those that multiply; one of them copies.
    helpers: u32,
    /// Registers that threads which multiply change to, and the others.
    registers: Option<(u32, u32)>,
}

impl Shares {
    fn of(s: &Schedule) -> Shares {
        match s.resident() {
            // 128 sums of 168 registers would leave little for the epilogue. Four warps change theirs together.
            1 => Shares {
                helpers: 128,
                registers: Some((232, 40)),
            },
            // 64 sums of 112 do not: two blocks of nine warps start with those.
            _ => Shares {
                helpers: 32,
                registers: None,
            },
        }
    }
}

impl<'c> Tiles<'_, '_, '_, 'c> {
    fn stages(&self) -> u32 {
        self.plan.schedule.tile.stages
    }

    /// The address (i32) of a stage's barrier, of an array of them.
    fn barrier(&self, of: V<'c>, stage: V<'c>) -> V<'c> {
        self.f.add(of, self.f.shl(stage, 3))
    }

    /// The addresses (i32) of the boxes of a and b in a stage.
    fn boxes(&self, stage: V<'c>) -> (V<'c>, V<'c>) {
        let f = self.f;
        let a = f.add(self.stages, f.mul(stage, f.i32(self.plan.stage_bytes() as i32)));
        (a, f.add(a, f.i32(self.plan.a.bytes() as i32)))
    }

    fn make_barriers(&self) {
        let f = self.f;
        for stage in 0..self.stages() {
            let stage = f.i32(stage as i32);
            f.init_barrier(self.barrier(self.full, stage), 1);
            f.init_barrier(self.barrier(self.empty, stage), WARPS);
        }
        f.publish_barriers();
    }

    /// The thread that copies: one step after the other, each as soon as its stage is free.
    fn copy(&self, maps: (V<'c>, V<'c>), place: &super::epilogue::Place<'c>) {
        let (f, p) = (self.f, self.p);
        for map in [maps.0, maps.1] {
            f.prefetch_map(map);
        }
        let batch: Vec<V> = coordinates(f, place.batch, &p.batch)
            .into_iter()
            .rev()
            .map(|(_, at)| f.resize(at, Ty::I32))
            .collect();
        let of = |free| Place {
            free,
            batch: batch.clone(),
        };
        let (rows, columns) = (of(place.row), of(place.column));
        let (first, count) = self.steps;
        let per_outer = f.most(f.dim32(&blocks_of(&p.k, WIDTH as i64)), f.i32(1));
        let inner = f.mul(f.urem(first, per_outer), f.i32(WIDTH as i32));
        let carried = [f.i32(0), f.i32(0), inner, f.udiv(first, per_outer)];
        f.for_carried((f.i32(0), count, f.i32(1)), &carried, |_, carried| {
            let [stage, parity, inner, outer] = [0, 1, 2, 3].map(|i| carried[i]);
            let full = self.barrier(self.full, stage);
            f.await_phase(self.barrier(self.empty, stage), f.xor(parity, f.i32(1)));
            f.arrive_with_copies(full, self.plan.stage_bytes());
            let (a, b) = self.boxes(stage);
            let step = Step { outer, inner };
            self.plan.a.copy(f, (maps.0, a, full), &rows, step);
            self.plan.b.copy(f, (maps.1, b, full), &columns, step);
            let (stage, parity) = f.next_stage(stage, parity, self.stages());
            let inner = f.add(inner, f.i32(WIDTH as i32));
            let over = f.cmp(Cmp::Ge, inner, f.dim32(&p.k));
            vec![
                stage,
                parity,
                f.select(over, f.i32(0), inner),
                f.select(over, f.add(outer, f.i32(1)), outer),
            ]
        });
    }

    /// First row and column of what this thread's group of four warps multiplies, i32.
    fn part(&self, warp: V<'c>) -> (V<'c>, V<'c>) {
        let (f, tile) = (self.f, self.plan.schedule.tile);
        let group = f.lshr(warp, 2);
        let columns = f.i32(tile.parts.1 as i32);
        let row = f.mul(f.udiv(group, columns), f.i32((tile.m / tile.parts.0) as i32));
        let column = f.mul(f.urem(group, columns), f.i32((tile.n / tile.parts.1) as i32));
        (row, column)
    }

    /// The sums of this thread. A stage is given back one step later, when the products of the next are under way.
    fn multiply(&self, warp: V<'c>) -> Vec<V<'c>> {
        let (f, tile) = (self.f, self.plan.schedule.tile);
        let (row, column) = self.part(warp);
        let columns = tile.n / tile.parts.1;
        let leads = f.cmp(Cmp::Eq, f.lane(), f.i32(0));
        let mut carried = vec![f.i32(0), f.i32(0), self.empty, f.truth(false)];
        let fixed = carried.len();
        carried.resize(fixed + columns as usize / 2, f.f32(0.0));
        let out = f.for_carried((f.i32(0), self.steps.1, f.i32(1)), &carried, |_, carried| {
            let [stage, parity, before, is_second] = [0, 1, 2, 3].map(|i| carried[i]);
            f.await_phase(self.barrier(self.full, stage), parity);
            let (a, b) = self.boxes(stage);
            let a = self.plan.a.descriptor(f, a, row);
            let b = self.plan.b.descriptor(f, b, column);
            let sums = f.multiply_shared((a, b), (columns, tile.k / 16), &carried[fixed..]);
            f.await_products(1);
            f.arrive(before, is_second);
            let own = self.barrier(self.empty, stage);
            let (stage, parity) = f.next_stage(stage, parity, self.stages());
            let mut out = vec![stage, parity, own, leads];
            out.extend(sums);
            out
        });
        f.finish_products(&out[fixed..])
    }

    /// Writes this thread's sums to shared memory, as the epilogue reads them.
    fn spill(&self, warp: V<'c>, sums: &[V<'c>], to: V<'c>) {
        let (f, pitch) = (self.f, epilogue::pitch(&self.plan.schedule));
        let (row, column) = self.part(warp);
        // A warp has 16 rows, a lane two columns of every eighth row and column.
        let own = f.shl(f.and(warp, f.i32(3)), 4);
        let row = f.add(f.add(row, own), f.lshr(f.lane(), 2));
        let column = f.add(column, f.shl(f.and(f.lane(), f.i32(3)), 1));
        let bytes = f.add(f.mul(row, f.i32(pitch as i32)), f.shl(column, 2));
        let first = f.offset(to, Ty::I8, f.widen(bytes, Ty::I64));
        for (i, pair) in sums.chunks_exact(2).enumerate() {
            let (eighth, half) = (i as u32 / 2, i as u32 % 2);
            let bytes = 8 * half * pitch + 32 * eighth;
            f.store(f.offset(first, Ty::I8, f.i64(bytes as i64)), f.pack(pair), 8);
        }
    }
}
