//! A warp: registers, the stack of diverged paths, and the loop that runs it.

use super::block::Block;
use super::copy::Pending;
use super::wgmma::Products;
use crate::cfg::NOWHERE;
use crate::fault::{FaultKind, Run, raise};
use crate::lanes::{Lanes, WARP};
use crate::op::{ALWAYS, Control, Op, Reg};
use crate::race::Place;

/// All lanes.
pub const FULL: u32 = u32::MAX;

/// A path some lanes still have to take.
#[derive(Clone, Copy, Debug)]
struct Path {
    pc: u32,
    meet: u32,
    lanes: u32,
}

/// Why a warp stopped running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Done,
    /// Waits at barrier `id` for `count` threads, all if `None`.
    Barrier {
        id: u32,
        count: Option<u32>,
    },
    /// Cannot go on until another warp has done something; is still at its instruction.
    Held,
    /// Is at an instruction that its warpgroup executes together.
    Group,
}

/// The state of a warp.
pub struct Warp {
    pub index: u32,
    pub r32: Vec<Lanes<u32>>,
    pub r64: Vec<Lanes<u64>>,
    pub predicates: Vec<u32>,
    /// The condition code: a carry or borrow of each lane.
    pub carry: u32,
    /// Local memory, words of each lane one after another.
    pub local: Vec<u32>,
    /// Asynchronous copies under way.
    pub pending: Vec<Pending>,
    /// Groups of copies each lane has committed.
    pub groups: Lanes<u32>,
    /// Lanes that exist.
    pub initial: u32,
    pub exited: u32,
    pub active: u32,
    pub pc: u32,
    meet: u32,
    paths: Vec<Path>,
    pub products: Products,
    /// Registers of a thread, by `setmaxnreg`.
    pub registers: u32,
}

impl Warp {
    /// A warp with registers of the given counts and `local` words of local memory per lane.
    pub fn new(index: u32, counts: [usize; 3], local: usize) -> Self {
        Self {
            index,
            r32: vec![[0; WARP]; counts[1]],
            r64: vec![[0; WARP]; counts[2]],
            predicates: vec![0; counts[0]],
            carry: 0,
            local: vec![0; local * WARP],
            pending: vec![],
            groups: [0; WARP],
            initial: 0,
            exited: 0,
            active: 0,
            pc: 0,
            meet: NOWHERE,
            paths: vec![],
            products: Products::default(),
            registers: 0,
        }
    }

    /// Puts the warp at the kernel's start with these lanes.
    pub fn start(&mut self, lanes: u32) {
        self.predicates[usize::from(ALWAYS)] = FULL;
        self.pending.clear();
        self.groups = [0; WARP];
        (self.initial, self.active, self.exited) = (lanes, lanes, 0);
        (self.pc, self.meet) = (0, NOWHERE);
        self.paths.clear();
        self.products.clear();
    }

    /// A lane's place in its block.
    pub fn place(&self, lane: usize) -> Place {
        Place {
            warp: self.index,
            lane: lane as u32,
        }
    }

    #[inline(always)]
    pub fn get32(&self, reg: Reg) -> &Lanes<u32> {
        &self.r32[usize::from(reg)]
    }

    #[inline(always)]
    pub fn get64(&self, reg: Reg) -> &Lanes<u64> {
        &self.r64[usize::from(reg)]
    }

    #[inline(always)]
    pub fn set32(&mut self, reg: Reg, mask: u32, value: &Lanes<u32>) {
        let to = &mut self.r32[usize::from(reg)];
        if mask == FULL {
            *to = *value;
        } else {
            for (i, (to, value)) in to.iter_mut().zip(value).enumerate() {
                *to = if mask & (1 << i) != 0 { *value } else { *to };
            }
        }
    }

    #[inline(always)]
    pub fn set64(&mut self, reg: Reg, mask: u32, value: &Lanes<u64>) {
        let to = &mut self.r64[usize::from(reg)];
        if mask == FULL {
            *to = *value;
        } else {
            for (i, (to, value)) in to.iter_mut().zip(value).enumerate() {
                *to = if mask & (1 << i) != 0 { *value } else { *to };
            }
        }
    }

    /// Writes a predicate in the lanes of `mask`.
    #[inline(always)]
    pub fn set_predicate(&mut self, reg: Reg, mask: u32, value: u32) {
        let to = &mut self.predicates[usize::from(reg)];
        *to = (*to & !mask) | (value & mask);
    }

    /// Fails unless all lanes of `members` that exist are at this instruction.
    pub fn converged(&self, mask: u32, members: u32) -> Run<()> {
        let required = members & self.initial;
        if required & !mask == 0 {
            return Ok(());
        }
        let lane = (required & !mask).trailing_zeros() as usize;
        raise(lane, FaultKind::NotConverged { required, active: mask })
    }

    /// Runs until a barrier or the end. `steps` counts instructions up to a limit, `lane_steps` those of lanes.
    pub fn run(&mut self, block: &mut Block<'_>) -> Run<Event> {
        let code = &block.kernel.code;
        loop {
            if self.pc == self.meet {
                self.resume();
                continue;
            }
            let instr = &code[self.pc as usize];
            let mask = self.active & (self.predicates[usize::from(instr.guard)] ^ instr.flip);
            block.steps += 1;
            block.lane_steps += u64::from(mask.count_ones());
            if let Op::Control(control) = &instr.op {
                if block.steps > block.limit {
                    return raise(self.first_active(), FaultKind::StepLimit { steps: block.limit });
                }
                if let Some(event) = self.control(control, mask)? {
                    return Ok(event);
                }
                continue;
            }
            if mask != 0 {
                if !instr.touches.is_empty() {
                    self.touch(&instr.touches, mask)?;
                }
                match &instr.op {
                    Op::Lane(op) => self.lane(op, mask),
                    Op::Predicate(op) => self.predicate(op, mask),
                    Op::Load(access) => self.load(access, mask, block)?,
                    Op::Store(access) => self.store(access, mask, block)?,
                    Op::Atomic(atomic) => self.atomic(atomic, mask, block)?,
                    Op::Warp(op) => self.cooperate(op, mask, block)?,
                    Op::Matrix(op) => self.matrix(op, mask, block)?,
                    Op::Copy(copy) => self.copy(copy, mask, block)?,
                    Op::Async(op) => {
                        if let Some(event) = self.asynchronous(op, mask, block)? {
                            return Ok(event);
                        }
                        continue;
                    }
                    Op::Control(_) | Op::Nothing => {}
                }
            }
            self.pc += 1;
        }
    }

    /// The lane faults of the whole warp are charged to.
    pub fn first_active(&self) -> usize {
        (self.active.trailing_zeros() as usize).min(WARP - 1)
    }

    /// Takes up the next path that has lanes left; false if there is none.
    fn resume(&mut self) -> bool {
        while let Some(path) = self.paths.pop() {
            self.active = path.lanes & !self.exited;
            (self.pc, self.meet) = (path.pc, path.meet);
            if self.active != 0 {
                return true;
            }
        }
        self.active = 0;
        false
    }

    fn control(&mut self, control: &Control, mask: u32) -> Run<Option<Event>> {
        match control {
            Control::Branch { target, meet } => self.branch(mask, *target, *meet),
            Control::Table { index, targets, meet } => {
                let mut left = mask;
                let mut sides = vec![(self.pc + 1, self.active & !mask)];
                while left != 0 {
                    let lane = left.trailing_zeros() as usize;
                    let values = self.get32(*index);
                    let same = (0..WARP).filter(|&i| left >> i & 1 == 1 && values[i] == values[lane]);
                    let lanes = same.fold(0, |lanes, i| lanes | 1 << i);
                    // An index beyond the list is undefined on a GPU; the first target is as good as any.
                    let target = targets.get(values[lane] as usize).or(targets.first());
                    sides.push((target.copied().unwrap_or(self.pc + 1), lanes));
                    left &= !lanes;
                }
                sides.retain(|(_, lanes)| *lanes != 0);
                self.diverge(&sides, *meet);
            }
            Control::Exit => {
                self.exited |= mask;
                self.active &= !mask;
                if self.active != 0 {
                    self.pc += 1;
                } else if !self.resume() {
                    return Ok(Some(Event::Done));
                }
            }
            Control::Trap if mask != 0 => return raise(mask.trailing_zeros() as usize, FaultKind::Trap),
            Control::Trap => self.pc += 1,
            Control::Barrier { id, count } => {
                if mask == 0 {
                    self.pc += 1;
                    return Ok(None);
                }
                if mask != self.initial {
                    return raise(mask.trailing_zeros() as usize, self.partial_barrier(mask));
                }
                let count = count.map(|count| self.get32(count)[0]);
                let id = self.get32(*id)[0];
                self.pc += 1;
                return Ok(Some(Event::Barrier { id, count }));
            }
        }
        Ok(None)
    }

    fn partial_barrier(&self, mask: u32) -> FaultKind {
        let elsewhere = self.initial & !mask & !self.exited;
        let (exited, initial) = (self.exited, self.initial);
        FaultKind::BarrierDivergence(format!(
            "lanes {mask:#010x} of {initial:#010x} are here, {elsewhere:#010x} elsewhere, {exited:#010x} have exited"
        ))
    }

    #[inline(always)]
    fn branch(&mut self, taken: u32, target: u32, meet: u32) {
        let rest = self.active & !taken;
        if rest == 0 {
            self.pc = target;
        } else if taken == 0 {
            self.pc += 1;
        } else {
            self.diverge(&[(target, taken), (self.pc + 1, rest)], meet);
        }
    }

    /// Splits the active lanes into paths that end where they meet.
    fn diverge(&mut self, sides: &[(u32, u32)], meet: u32) {
        if let [(pc, _)] = sides {
            self.pc = *pc;
            return;
        }
        // A loop's lanes leave one by one to the place where those that left before already wait.
        if meet != self.meet && meet != NOWHERE {
            self.paths.push(Path {
                pc: meet,
                meet: self.meet,
                lanes: self.active,
            });
        }
        let meet = if meet == NOWHERE { self.meet } else { meet };
        self.paths.extend(
            sides
                .iter()
                .filter(|(pc, _)| *pc != meet)
                .map(|&(pc, lanes)| Path { pc, meet, lanes }),
        );
        self.resume();
    }
}
