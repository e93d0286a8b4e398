//! A block: its warps, their barriers, shared memory.

use super::asynchronous::together;
use super::mbarrier::Mbarriers;
use super::warp::{Event, FULL, Warp};
use crate::fault::{Fault, FaultKind, Raised};
use crate::kernel::{Kernel, instruction_text};
use crate::lanes::WARP;
use crate::memory::View;
use crate::names::Special;
use crate::order::GROUP;
use crate::shared::Shared;
use crate::tensor_map::TensorMap;
use std::rc::Rc;

/// Registers of a multiprocessor, which one block may have all.
const REGISTERS: u32 = 1 << 16;

/// What is common to all blocks of a launch.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    pub kernel: &'a Kernel,
    pub lines: &'a [String],
    pub view: &'a View<'a>,
    pub params: &'a [u8],
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic: u32,
    /// Instructions of a block before it counts as endless.
    pub limit: u64,
}

impl Setting<'_> {
    fn threads(&self) -> u32 {
        self.block.iter().product()
    }
}

/// What the warps of a block share.
pub struct Block<'a> {
    pub kernel: &'a Kernel,
    pub view: &'a View<'a>,
    pub params: &'a [u8],
    pub shared: Shared,
    pub mbarriers: Mbarriers,
    /// Tensor maps among the parameters, by address.
    pub maps: Vec<(u64, Rc<TensorMap>)>,
    /// How many warps the block has.
    pub warps: usize,
    /// Registers of a thread, times warps, that `setmaxnreg` may still give out.
    pub registers_left: i64,
    /// For each instruction, where in the view its last access was.
    pub hints: Vec<u32>,
    pub steps: u64,
    pub lane_steps: u64,
    pub limit: u64,
}

/// Runs blocks one after another.
pub struct Worker<'a> {
    setting: Setting<'a>,
    block: Block<'a>,
    warps: Vec<Warp>,
    /// Instructions of warps and of lanes, over all blocks.
    pub steps: u64,
    pub lane_steps: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Waiting {
        id: u32,
        count: Option<u32>,
    },
    /// Until something changes: the count of changes when it was held.
    Held(u64),
    /// At an instruction of its warpgroup.
    Group,
    Done,
}

impl<'a> Worker<'a> {
    /// A worker for a launch.
    pub fn new(setting: Setting<'a>) -> Self {
        let kernel = setting.kernel;
        let count = setting.threads().div_ceil(WARP as u32);
        let local = kernel.local.div_ceil(4) as usize;
        let warps: Vec<Warp> = (0..count).map(|index| Warp::new(index, kernel.counts, local)).collect();
        let bytes = kernel.static_shared + u64::from(setting.dynamic);
        let block = Block {
            kernel,
            view: setting.view,
            params: setting.params,
            shared: Shared::new(bytes, count as usize, kernel.granule, kernel.asynchronous),
            mbarriers: Mbarriers::default(),
            maps: vec![],
            warps: count as usize,
            registers_left: 0,
            hints: vec![0; kernel.code.len()],
            steps: 0,
            lane_steps: 0,
            limit: setting.limit,
        };
        let mut worker = Self {
            setting,
            block,
            warps,
            steps: 0,
            lane_steps: 0,
        };
        worker.fill_constants();
        worker
    }

    /// What no block changes: constants are in registers no instruction writes.
    fn fill_constants(&mut self) {
        let fixed = &self.setting.kernel.fixed;
        for warp in &mut self.warps {
            for &(reg, value) in &fixed.constants32 {
                warp.r32[usize::from(reg)] = [value; WARP];
            }
            for &(reg, value) in &fixed.constants64 {
                warp.r64[usize::from(reg)] = [value; WARP];
            }
            for &(reg, special) in &fixed.specials {
                for lane in 0..WARP {
                    warp.r32[usize::from(reg)][lane] = special_value(&self.setting, special, warp.index, lane, [0; 3]);
                }
            }
        }
    }

    fn start(&mut self, index: [u32; 3]) {
        self.block.shared.history.start_block();
        self.block.steps = 0;
        self.block.lane_steps = 0;
        let threads = self.setting.threads();
        self.block.mbarriers.clear();
        self.block.registers_left = 0;
        // What a compiler may use that must fit a block of these threads.
        let most = (REGISTERS / threads.next_multiple_of(WARP as u32)).min(256) / 8 * 8;
        let registers = self.setting.kernel.max_registers.unwrap_or(most);
        for warp in &mut self.warps {
            warp.registers = registers;
            let here = threads - warp.index * WARP as u32;
            warp.start(if here >= WARP as u32 { FULL } else { (1 << here) - 1 });
            for &(reg, special) in &self.setting.kernel.fixed.specials {
                if let Special::BlockId(axis) = special {
                    warp.r32[usize::from(reg)] = [index[usize::from(axis)]; WARP];
                }
            }
        }
    }

    /// Runs one block.
    pub fn run(&mut self, index: [u32; 3]) -> Result<(), Box<Fault>> {
        self.start(index);
        let mut states = vec![State::Ready; self.warps.len()];
        loop {
            for (w, state) in states.iter_mut().enumerate() {
                let changes = self.block.mbarriers.changes;
                if *state == State::Ready || matches!(*state, State::Held(since) if since != changes) {
                    *state = self.step(index, w)?;
                }
            }
            if states.iter().all(|state| *state == State::Done) {
                break;
            }
            let together = self.groups(index, &mut states)?;
            let goes_on = self.release(&mut states) || together || self.may_go_on(&states);
            if !goes_on && !self.land(index)? {
                return Err(self.stuck(index, &states));
            }
        }
        if let Some(flight) = self.block.mbarriers.flights.first() {
            let (lane, kind) = (flight.lane as u32, FaultKind::CopyAtEnd);
            return Err(self.fault(index, flight.warp as usize, flight.pc, Raised { lane, kind }));
        }
        for warp in &mut self.warps {
            warp.land_all(&mut self.block.shared);
        }
        for barrier in &self.block.mbarriers.all {
            if barrier.address != u64::MAX {
                self.block.shared.history.end_mbarrier(barrier.address, 8);
            }
        }
        self.steps += self.block.steps;
        self.lane_steps += self.block.lane_steps;
        Ok(())
    }

    /// Runs a warp until it has to wait.
    fn step(&mut self, index: [u32; 3], w: usize) -> Result<State, Box<Fault>> {
        match self.warps[w].run(&mut self.block) {
            Ok(Event::Done) => Ok(State::Done),
            Ok(Event::Barrier { id, count }) => Ok(State::Waiting { id, count }),
            Ok(Event::Held) => Ok(State::Held(self.block.mbarriers.changes)),
            Ok(Event::Group) => Ok(State::Group),
            Err(raised) => Err(self.fault(index, w, self.warps[w].pc, *raised)),
        }
    }

    /// Lets copies land; false if none can.
    fn land(&mut self, index: [u32; 3]) -> Result<bool, Box<Fault>> {
        let landed = self.block.land_next();
        landed.map_err(|failed| self.fault(index, failed.warp, failed.pc, failed.raised))
    }

    /// Whether a warp is ready, or held by something that has changed since.
    fn may_go_on(&self, states: &[State]) -> bool {
        let changes = self.block.mbarriers.changes;
        states
            .iter()
            .any(|state| matches!(state, State::Held(since) if *since != changes) || *state == State::Ready)
    }

    /// Executes the instructions of warpgroups whose warps are all there; false if there is none.
    fn groups(&mut self, index: [u32; 3], states: &mut [State]) -> Result<bool, Box<Fault>> {
        let mut any = false;
        for (g, states) in states.chunks_exact_mut(GROUP).enumerate() {
            let warps = &mut self.warps[GROUP * g..GROUP * (g + 1)];
            let pc = warps[0].pc;
            if !states.iter().all(|state| *state == State::Group) || !warps.iter().all(|warp| warp.pc == pc) {
                continue;
            }
            match together(warps, &mut self.block) {
                Ok(done) => {
                    any |= done;
                    if done {
                        states.fill(State::Ready);
                    }
                }
                Err((w, raised)) => return Err(self.fault(index, GROUP * g + w, pc, *raised)),
            }
        }
        Ok(any)
    }

    /// Lets the warps of complete barriers go on; false if there is none.
    fn release(&mut self, states: &mut [State]) -> bool {
        let mut any = false;
        for w in 0..states.len() {
            let State::Waiting { id, count } = states[w] else {
                continue;
            };
            let here = |state: &State| matches!(state, State::Waiting { id: other, .. } if *other == id);
            let members = (0..states.len())
                .filter(|&v| here(&states[v]))
                .fold(0u32, |mask, v| mask | 1 << v);
            let expected = count.unwrap_or(self.warps.len() as u32 * WARP as u32);
            if members.count_ones() * WARP as u32 != expected.next_multiple_of(WARP as u32) {
                continue;
            }
            if members.count_ones() as usize == states.len() {
                self.block.shared.history.block_barrier();
            } else {
                self.block.shared.history.order.partial_barrier(members);
            }
            states
                .iter_mut()
                .filter(|state| here(state))
                .for_each(|state| *state = State::Ready);
            any = true;
        }
        any
    }

    /// Nothing can go on.
    fn stuck(&self, index: [u32; 3], states: &[State]) -> Box<Fault> {
        let at_barriers = |state: &State| matches!(state, State::Waiting { .. } | State::Done);
        if !states.iter().all(at_barriers) {
            return self.deadlock(index, states);
        }
        let list = |wanted: &dyn Fn(&State) -> bool| -> Vec<usize> {
            (0..states.len()).filter(|&w| wanted(&states[w])).collect()
        };
        let first = list(&|state| matches!(state, State::Waiting { .. }))
            .first()
            .copied()
            .unwrap_or(0);
        let waiting = states[first];
        let detail = format!(
            "warps {:?} wait here, {:?} at another barrier, {:?} have exited",
            list(&|state| *state == waiting),
            list(&|state| *state != waiting && *state != State::Done),
            list(&|state| *state == State::Done),
        );
        let raised = Raised {
            lane: 0,
            kind: FaultKind::BarrierDivergence(detail),
        };
        self.fault(index, first, self.warps[first].pc - 1, raised)
    }

    /// Charged to the first warp that is held, or else that waits for its warpgroup.
    fn deadlock(&self, index: [u32; 3], states: &[State]) -> Box<Fault> {
        let first = states.iter().position(|state| matches!(state, State::Held(_)));
        let first = first
            .or_else(|| states.iter().position(|state| *state == State::Group))
            .unwrap_or(0);
        let code = &self.setting.kernel.code;
        let mut waiting: Vec<String> = Vec::new();
        for (w, (warp, state)) in self.warps.iter().zip(states).enumerate() {
            // A barrier's warps are past it.
            let at = warp.pc as usize - usize::from(matches!(state, State::Waiting { .. }));
            waiting.push(match state {
                State::Done => format!("warp {w} has exited"),
                _ => format!("warp {w} waits in line {}", code[at].line),
            });
        }
        let lacking = self
            .block
            .mbarriers
            .all
            .iter()
            .filter(|b| b.address != u64::MAX)
            .map(|b| {
                let (address, phase, missing, bytes) = (b.address, b.phase, b.missing, b.bytes);
                format!("mbarrier {address:#x} in phase {phase} lacks {missing} arrivals and {bytes} bytes")
            });
        waiting.extend(lacking);
        let kind = FaultKind::Deadlock(waiting.join(", "));
        let lane = self.warps[first].first_active() as u32;
        self.fault(index, first, self.warps[first].pc, Raised { lane, kind })
    }

    fn fault(&self, block: [u32; 3], warp: usize, pc: u32, raised: Raised) -> Box<Fault> {
        let kernel = self.setting.kernel;
        let line_of = |at: u32| kernel.code.get(at as usize).map_or(0, |instr| instr.line);
        let mut kind = raised.kind;
        if let FaultKind::Race { line, kind: race, .. } = &mut kind {
            *line = if *race == crate::fault::RaceKind::WriteAfterRead {
                0
            } else {
                line_of(*line)
            };
        }
        let thread = warp as u32 * WARP as u32 + raised.lane;
        let line = line_of(pc);
        Box::new(Fault {
            kernel: kernel.name.clone(),
            line,
            instruction: instruction_text(self.setting.lines, line),
            block,
            thread: coordinates(thread, self.setting.block),
            kind,
        })
    }
}

/// Coordinates of a linear index.
fn coordinates(index: u32, size: [u32; 3]) -> [u32; 3] {
    [index % size[0], index / size[0] % size[1], index / (size[0] * size[1])]
}

fn special_value(setting: &Setting<'_>, special: Special, warp: u32, lane: usize, index: [u32; 3]) -> u32 {
    let bit = 1u32 << lane;
    match special {
        Special::ThreadId(axis) => coordinates(warp * WARP as u32 + lane as u32, setting.block)[usize::from(axis)],
        Special::BlockSize(axis) => setting.block[usize::from(axis)],
        Special::BlockId(axis) => index[usize::from(axis)],
        Special::GridSize(axis) => setting.grid[usize::from(axis)],
        Special::LaneId => lane as u32,
        Special::WarpId => warp,
        Special::WarpCount => setting.threads().div_ceil(WARP as u32),
        Special::LaneMaskEq => bit,
        Special::LaneMaskLt => bit - 1,
        Special::LaneMaskLe => bit | (bit - 1),
        Special::LaneMaskGe => !(bit - 1),
        Special::LaneMaskGt => !(bit | (bit - 1)),
        Special::DynamicShared => setting.dynamic,
        Special::TotalShared => setting.dynamic + (setting.kernel.static_shared - setting.kernel.unused) as u32,
    }
}
