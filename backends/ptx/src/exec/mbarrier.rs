//! Mbarriers: phases that end when all expected arrivals are there and all expected bytes have landed.
//!
//! A waiting warp is held until the phase is complete; the others go on meanwhile. Bulk copies land as late as they can: when
//! no warp can go on without, or one asks without waiting.

use super::block::Block;
use super::memory::{lanes_of, resolve};
use super::tensor::Flight;
use super::warp::{Event, Warp};
use crate::asynchronous::{Action, Barrier, Phase, Place as At};
use crate::fault::{FaultKind, Raised, Run, raise};
use crate::lanes::WARP;
use crate::op::Reg;
use crate::order::Knowledge;
use crate::syntax::Space;

/// Bytes of an mbarrier.
const BYTES: u64 = 8;
/// Most arrivals, and most bytes, that a phase may expect.
const MOST: u32 = (1 << 20) - 1;

/// One mbarrier.
pub struct Mbarrier {
    pub address: u64,
    /// The agent of copies that complete on it.
    pub agent: usize,
    count: u32,
    /// Arrivals that the phase still lacks.
    pub missing: u32,
    /// Bytes that the phase still lacks.
    pub bytes: i64,
    /// Phases completed.
    pub phase: u64,
    /// What the arrivals of this phase hand on.
    collected: Knowledge,
    /// What complete phases handed on.
    complete: Knowledge,
}

/// The mbarriers of a block, and the copies under way.
#[derive(Default)]
pub struct Mbarriers {
    pub all: Vec<Mbarrier>,
    pub flights: Vec<Flight>,
    /// Counts what may let a waiting warp go on.
    pub changes: u64,
}

/// A copy that cannot land: who ordered it, and where.
pub struct Failed {
    pub warp: usize,
    pub pc: u32,
    pub raised: Raised,
}

impl Mbarriers {
    /// Forgets what the last block left.
    pub fn clear(&mut self) {
        self.all.clear();
        self.flights.clear();
    }

    /// The mbarrier at an address.
    pub fn find(&self, address: u64) -> Result<usize, FaultKind> {
        let found = self.all.iter().position(|b| b.address == address);
        found.ok_or(FaultKind::MbarrierUninitialised { address })
    }
}

impl Mbarrier {
    fn finish_phase(&mut self) {
        self.complete.join(&self.collected);
        self.collected.clear();
        self.phase += 1;
        self.missing = self.count;
    }

    /// Bytes came or are expected; completes the phase if it lacks nothing.
    fn expect(&mut self, bytes: i64) -> Result<(), FaultKind> {
        self.bytes += bytes;
        if self.bytes.abs() > i64::from(MOST) {
            return Err(misuse(self.address, "its phase expects 2^20 bytes or more"));
        }
        Ok(())
    }

    fn settle(&mut self) -> bool {
        let done = self.missing == 0 && self.bytes == 0;
        if done {
            self.finish_phase();
        }
        done
    }
}

fn misuse(address: u64, what: &'static str) -> FaultKind {
    FaultKind::MbarrierMisuse { address, what }
}

impl Block<'_> {
    /// Lands the copies of the first mbarrier whose phase lacks nothing else; false if there is none.
    pub fn land_next(&mut self) -> Result<bool, Failed> {
        let barriers = &self.mbarriers;
        let ready = |flight: &&Flight| barriers.all[flight.barrier].missing == 0;
        match barriers.flights.iter().find(ready) {
            Some(flight) => self.land_for(flight.barrier).map(|()| true),
            None => Ok(false),
        }
    }

    /// Lands the copies of an mbarrier whose phase lacks nothing else.
    fn land_for(&mut self, index: usize) -> Result<(), Failed> {
        if self.mbarriers.all[index].missing > 0 {
            return Ok(());
        }
        let mut flights = std::mem::take(&mut self.mbarriers.flights);
        let mut landed = Ok(());
        flights.retain(|flight| {
            let lands = flight.barrier == index && landed.is_ok();
            if lands {
                let lane = flight.lane as u32;
                landed = flight.land(self).map_err(|kind| Failed {
                    warp: flight.warp as usize,
                    pc: flight.pc,
                    raised: Raised { lane, kind },
                });
                let barrier = &mut self.mbarriers.all[index];
                barrier.collected.agent(barrier.agent, flight.clock);
                barrier.bytes -= flight.bytes as i64;
            }
            !lands
        });
        self.mbarriers.flights = flights;
        landed?;
        self.mbarriers.all[index].settle();
        self.mbarriers.changes += 1;
        Ok(())
    }
}

impl Warp {
    /// The lanes that run at all.
    pub fn live(&self) -> u32 {
        self.initial & !self.exited
    }

    /// An aligned address in shared memory, of each lane.
    pub fn shared_address(&self, at: &At, lane: usize, bytes: u64, block: &Block<'_>) -> Run<u64> {
        let address = self.addresses(&at.address)[lane];
        match resolve(at.space, address) {
            (Space::Shared, address) => match block.shared.check(address, bytes, true) {
                Ok(()) => Ok(address),
                Err(kind) => raise(lane, kind),
            },
            _ => raise(lane, FaultKind::UnsupportedSpace("mbarrier")),
        }
    }

    /// Executes an instruction on mbarriers in the lanes of `mask`.
    pub fn barrier(&mut self, op: &Barrier, mask: u32, block: &mut Block<'_>) -> Run<Option<Event>> {
        block.shared.history.at = self.pc;
        match op.action {
            Action::Wait { done, phase, waits } => return self.wait(op, (done, phase, waits), mask, block),
            Action::Arrive { .. } => self.arrive(op, mask, block)?,
            Action::Init { count } => {
                for lane in lanes_of(mask) {
                    let address = self.shared_address(&op.at, lane, BYTES, block)?;
                    let count = self.get32(count)[lane];
                    self.init(address, count, lane, block)
                        .or_else(|kind| raise(lane, kind))?;
                }
            }
            Action::Invalidate => {
                for lane in lanes_of(mask) {
                    let address = self.shared_address(&op.at, lane, BYTES, block)?;
                    let index = self.used(address, lane, block)?;
                    // Indices of the others must hold.
                    block.mbarriers.all[index].address = u64::MAX;
                    block.shared.history.end_mbarrier(address, BYTES);
                }
            }
        }
        self.pc += 1;
        Ok(None)
    }

    fn init(&self, address: u64, count: u32, lane: usize, block: &mut Block<'_>) -> Result<(), FaultKind> {
        if count == 0 || count > MOST {
            return Err(misuse(address, "it expects 1 to 2^20 - 1 arrivals"));
        }
        if block.mbarriers.find(address).is_ok() {
            return Err(misuse(address, "it is initialised already"));
        }
        let history = &mut block.shared.history;
        history.start_mbarrier(address, BYTES, self.place(lane))?;
        let nothing = history.order.nothing();
        let agent = history.order.mbarrier(block.mbarriers.all.len());
        block.mbarriers.all.push(Mbarrier {
            address,
            agent,
            count,
            missing: count,
            bytes: 0,
            phase: 0,
            collected: nothing.clone(),
            complete: nothing,
        });
        Ok(())
    }

    /// The mbarrier at an address, which the lane must know to be one.
    pub fn used(&self, address: u64, lane: usize, block: &Block<'_>) -> Run<usize> {
        let index = block.mbarriers.find(address).or_else(|kind| raise(lane, kind))?;
        let known = block.shared.history.use_mbarrier(address, self.place(lane));
        known.or_else(|kind| raise(lane, kind))?;
        Ok(index)
    }

    fn arrive(&mut self, op: &Barrier, mask: u32, block: &mut Block<'_>) -> Run<()> {
        let Action::Arrive {
            state,
            count,
            bytes,
            arrives,
        } = op.action
        else {
            return Ok(());
        };
        let mut indices = [0; WARP];
        for lane in lanes_of(mask) {
            let address = self.shared_address(&op.at, lane, BYTES, block)?;
            indices[lane] = self.used(address, lane, block)?;
        }
        // What is handed on is handed on by all lanes before the first of them completes the phase.
        let all = mask == self.live();
        let mut left = if arrives { mask } else { 0 };
        while left != 0 {
            let index = indices[left.trailing_zeros() as usize];
            let same = lanes_of(left).filter(|&lane| indices[lane] == index);
            let lanes = same.fold(0, |lanes, lane| lanes | 1 << lane);
            let order = &mut block.shared.history.order;
            order.release(
                self.index,
                lanes,
                all && lanes == mask,
                &mut block.mbarriers.all[index].collected,
            );
            left &= !lanes;
        }
        for lane in lanes_of(mask) {
            let barrier = &mut block.mbarriers.all[indices[lane]];
            if let Some(reg) = state {
                self.r64[usize::from(reg)][lane] = barrier.phase;
            }
            if let Some(bytes) = bytes {
                let bytes = self.get32(bytes)[lane];
                barrier.expect(i64::from(bytes)).or_else(|kind| raise(lane, kind))?;
            }
            if arrives {
                let count = count.map_or(1, |count| self.get32(count)[lane]);
                if count == 0 || count > barrier.missing {
                    let what = "more arrivals than its phase expects";
                    return raise(lane, misuse(barrier.address, what));
                }
                barrier.missing -= count;
            }
            barrier.settle();
            block.mbarriers.changes += 1;
        }
        Ok(())
    }

    fn wait(
        &mut self,
        op: &Barrier,
        (to, phase, waits): (Reg, Phase, bool),
        mask: u32,
        block: &mut Block<'_>,
    ) -> Run<Option<Event>> {
        let mut done = 0;
        let mut complete = Vec::new();
        for lane in lanes_of(mask) {
            let address = self.shared_address(&op.at, lane, BYTES, block)?;
            let index = self.used(address, lane, block)?;
            if !waits {
                block.land_for(index).map_err(|failed| Box::new(failed.raised))?;
            }
            let barrier = &block.mbarriers.all[index];
            let reached = match phase {
                Phase::Parity(parity) => {
                    let parity = self.get32(parity)[lane];
                    if parity > 1 {
                        return raise(lane, misuse(address, "a parity is 0 or 1"));
                    }
                    barrier.phase & 1 != u64::from(parity)
                }
                Phase::State(state) => barrier.phase > self.get64(state)[lane],
            };
            if reached {
                done |= 1 << lane;
                if !complete.contains(&index) {
                    complete.push(index);
                }
            }
        }
        if done == 0 && waits {
            return Ok(Some(Event::Held));
        }
        for index in complete {
            let (all, known) = (done == self.live(), &block.mbarriers.all[index].complete);
            block.shared.history.order.acquire(self.index, done, all, known);
        }
        self.set_predicate(to, mask, done);
        self.pc += 1;
        Ok(None)
    }
}
