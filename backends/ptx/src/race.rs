//! Who last wrote and read each part of shared memory, and when: races and uninitialised reads.
//!
//! Time is counted twice. An *epoch* ends with every barrier of the whole block; accesses of earlier epochs are ordered
//! before all of this one, which settles nearly every access at once. Within an epoch the clocks of [`Order`] decide.
//! Shuffles, votes and `mma` do not order memory (PTX ISA, "Memory Consistency Model"), so they advance nothing.
//!
//! The asynchronous proxy reads and writes too: bulk copies write for the agent of their mbarrier, `wgmma` reads for the agent
//! of its warpgroup. What they have not been waited for with, no barrier orders.
//!
//! Neither epochs nor clocks restart with a block, so nothing has to be cleared between blocks of one worker.

mod bulk;
mod crowd;

pub use bulk::{Bulk, Found, GroupRead};

use crate::fault::{FaultKind, RaceKind};
use crate::order::Order;
use bulk::CHUNK;
use std::collections::HashMap;
use std::ops::Range;

/// Epoch of a granule that an asynchronous copy will write.
const PENDING: u32 = u32::MAX;
/// Epoch of a granule that belongs to an mbarrier.
const OPAQUE: u32 = u32::MAX - 1;
/// Lane of a read stamp that stands for several lanes.
const MANY: u32 = 32;
/// Bits of a read stamp below the clock.
const LANE_BITS: u32 = 6;

/// A thread's place in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub warp: u32,
    /// Of a read, [`Place::together`] stands for several lanes.
    pub lane: u32,
}

impl Place {
    /// Several lanes of a warp reading the same.
    pub fn together(warp: u32) -> Self {
        Self { warp, lane: MANY }
    }
}

/// How an access touches memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    Plain,
    /// Atomics do not race with each other.
    Atomic,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Writer {
    clock: u32,
    /// Index of the instruction.
    at: u32,
    agent: u8,
    lane: u8,
    atomic: bool,
}

/// The history of a block's shared memory.
pub struct History {
    /// log2 of the bytes of a granule: the narrowest access the kernel makes.
    shift: u32,
    granules: usize,
    /// Epoch of the last write; up to `base` it was another block's.
    write_epochs: Vec<u32>,
    writers: Vec<Writer>,
    /// Of this epoch, by granule: writers before the last one whose writes of the same value nothing orders.
    crowd: HashMap<usize, Vec<Writer>>,
    read_epochs: Vec<u32>,
    /// `clock << LANE_BITS | lane` of the last reads, by warp or warpgroup, then granule.
    reads: Vec<u32>,
    /// Epoch before the block's first.
    base: u32,
    epoch: u32,
    pub order: Order,
    /// The 16-byte chunks that `wgmma`s read which no warp has waited for.
    reading: Vec<(GroupRead, Vec<u32>)>,
    /// By agent: the thread that ordered its last copy.
    issuers: Vec<u32>,
    /// The instruction at work, for reports.
    pub at: u32,
}

impl History {
    /// Of `bytes` bytes touched by `warps` warps; `granule` is 1, 2 or 4; `fine` if the kernel has mbarriers or `wgmma`.
    pub fn new(bytes: u64, warps: usize, granule: u32, fine: bool) -> Self {
        let granules = bytes.div_ceil(u64::from(granule)) as usize;
        let order = Order::new(warps, fine);
        Self {
            shift: granule.trailing_zeros(),
            granules,
            write_epochs: vec![0; granules],
            writers: vec![
                Writer {
                    clock: 0,
                    at: 0,
                    agent: 0,
                    lane: 0,
                    atomic: false
                };
                granules
            ],
            crowd: HashMap::new(),
            read_epochs: vec![0; granules],
            reads: vec![0; granules * order.readers()],
            base: 0,
            epoch: 1,
            order,
            reading: vec![],
            issuers: vec![0; usize::from(u8::MAX)],
            at: 0,
        }
    }

    /// Forgets what the last block left.
    pub fn start_block(&mut self) {
        self.base = self.epoch;
        self.epoch += 1;
        self.reading.clear();
        self.crowd.clear();
        self.order.start_block();
    }

    /// All warps of the block met.
    pub fn block_barrier(&mut self) {
        self.epoch += 1;
        self.crowd.clear();
        self.order.block_barrier();
        let order = &self.order;
        // After the barrier all warps know the same.
        self.reading
            .retain(|(read, _)| read.clock > order.known(0, order.group(read.warp)));
        for (_, chunks) in &self.reading {
            for &chunk in chunks {
                let start = (chunk >> self.shift) as usize;
                self.read_epochs[start..start + (CHUNK >> self.shift) as usize].fill(self.epoch);
            }
        }
    }

    #[inline(always)]
    fn range(&self, address: u64, bytes: u64) -> Range<usize> {
        (address >> self.shift) as usize..((address + bytes - 1) >> self.shift) as usize + 1
    }

    fn address(&self, granule: usize) -> u64 {
        (granule as u64) << self.shift
    }

    /// Whether all of a range was written in this block and in an earlier epoch.
    #[inline(always)]
    fn settled(&self, range: Range<usize>) -> bool {
        let (first, epochs) = (self.base + 1, self.epoch - self.base - 1);
        self.write_epochs[range]
            .iter()
            .fold(true, |all, e| all & (e.wrapping_sub(first) < epochs))
    }

    /// Whether none of a range was read or written in this epoch, nor is about to be.
    #[inline(always)]
    fn untouched(&self, range: Range<usize>) -> bool {
        let writes = self.write_epochs[range.clone()]
            .iter()
            .fold(true, |all, e| all & (*e < self.epoch));
        writes
            & self.read_epochs[range]
                .iter()
                .fold(true, |all, e| all & (*e < self.epoch))
    }

    /// Notes a read of bytes within bounds.
    #[inline(always)]
    pub fn read(&mut self, address: u64, bytes: u64, who: Place, touch: Touch) -> Result<(), FaultKind> {
        let range = self.range(address, bytes);
        // Lengths known to the compiler: loops over a few elements cost more than their work.
        match range.len() {
            1 => self.read_range(range.start, 1, who, touch),
            4 => self.read_range(range.start, 4, who, touch),
            count => self.read_range(range.start, count, who, touch),
        }
    }

    #[inline(always)]
    fn read_range(&mut self, start: usize, count: usize, who: Place, touch: Touch) -> Result<(), FaultKind> {
        let range = start..start + count;
        if !self.settled(range.clone()) {
            self.check_reads(range.clone(), who, touch)?;
        }
        self.read_epochs[range].fill(self.epoch);
        let (clock, met) = self.stamps(who.warp);
        let row = who.warp as usize * self.granules + start;
        for stamp in &mut self.reads[row..row + count] {
            *stamp = stamped(*stamp, clock, who.lane, met);
        }
        Ok(())
    }

    /// Notes reads of `lanes` lanes from `first` on, each of the `bytes` bytes after the last one's; false, with nothing
    /// noted, if they need a closer look.
    #[inline(always)]
    pub fn read_streak(&mut self, address: u64, bytes: u64, first: Place, lanes: usize) -> bool {
        let range = self.range(address, bytes * lanes as u64);
        if !self.settled(range.clone()) {
            return false;
        }
        self.read_epochs[range.clone()].fill(self.epoch);
        let (clock, met) = self.stamps(first.warp);
        let row = first.warp as usize * self.granules;
        let each = (bytes >> self.shift) as usize;
        for (i, stamps) in self.reads[row + range.start..row + range.end]
            .chunks_exact_mut(each)
            .enumerate()
        {
            stamps
                .iter_mut()
                .for_each(|stamp| *stamp = stamped(*stamp, clock, first.lane + i as u32, met));
        }
        true
    }

    /// A warp's clock, and that of its lanes' last meeting, as parts of read stamps.
    #[inline(always)]
    fn stamps(&self, warp: u32) -> (u32, u32) {
        (
            self.order.clock(warp as usize) << LANE_BITS,
            self.order.met(warp) << LANE_BITS,
        )
    }

    /// A fault unless the granule holds data that was written in this block.
    fn check_state(&self, g: usize) -> Result<(), FaultKind> {
        let address = self.address(g);
        match self.write_epochs[g] {
            PENDING => Err(FaultKind::PendingCopy { address }),
            OPAQUE => Err(FaultKind::MbarrierMisuse {
                address,
                what: "an ordinary access to its bytes",
            }),
            epoch if epoch <= self.base => Err(FaultKind::Uninitialised { address }),
            _ => Ok(()),
        }
    }

    #[cold]
    fn check_reads(&self, range: Range<usize>, who: Place, touch: Touch) -> Result<(), FaultKind> {
        for g in range {
            self.check_state(g)?;
            if self.write_epochs[g] == self.epoch {
                self.check_writer(g, who, touch, RaceKind::ReadAfterWrite)?;
            }
        }
        Ok(())
    }

    fn check_writer(&self, g: usize, who: Place, touch: Touch, kind: RaceKind) -> Result<(), FaultKind> {
        self.check_against(g, self.writers[g], who, touch, kind)
    }

    fn check_against(
        &self,
        g: usize,
        writer: Writer,
        who: Place,
        touch: Touch,
        kind: RaceKind,
    ) -> Result<(), FaultKind> {
        let (agent, lane) = (usize::from(writer.agent), u32::from(writer.lane));
        let same = agent == who.warp as usize && lane == who.lane;
        let both_atomic = writer.atomic && touch == Touch::Atomic;
        if same || both_atomic || self.order.ordered(agent, lane, writer.clock, who) {
            return Ok(());
        }
        Err(FaultKind::Race {
            address: self.address(g),
            kind,
            other: self.thread(agent, lane),
            line: writer.at,
        })
    }

    /// The thread that stands for an agent in reports.
    fn thread(&self, agent: usize, lane: u32) -> u32 {
        self.order.thread(agent, lane).unwrap_or(self.issuers[agent])
    }

    fn writer(&self, who: Place, touch: Touch) -> Writer {
        Writer {
            clock: self.order.clock(who.warp as usize),
            at: self.at,
            agent: who.warp as u8,
            lane: who.lane as u8,
            atomic: touch == Touch::Atomic,
        }
    }

    /// Notes a write of bytes within bounds; `changes` says whether it changes what is there (writes of one and the same
    /// value by several threads do not race).
    #[inline(always)]
    pub fn write(
        &mut self,
        address: u64,
        bytes: u64,
        who: Place,
        touch: Touch,
        changes: bool,
    ) -> Result<(), FaultKind> {
        let range = self.range(address, bytes);
        if !self.untouched(range.clone()) {
            self.check_writes(range.clone(), who, touch, changes)?;
            self.keep_crowd(range.clone(), who, changes);
        }
        self.set_writer(range, who, touch, self.epoch);
        Ok(())
    }

    #[inline(always)]
    fn set_writer(&mut self, range: Range<usize>, who: Place, touch: Touch, epoch: u32) {
        let writer = self.writer(who, touch);
        match range.len() {
            1 => self.fill_writer(range.start, 1, writer, epoch),
            4 => self.fill_writer(range.start, 4, writer, epoch),
            count => self.fill_writer(range.start, count, writer, epoch),
        }
    }

    #[inline(always)]
    fn fill_writer(&mut self, start: usize, count: usize, writer: Writer, epoch: u32) {
        self.write_epochs[start..start + count].fill(epoch);
        self.writers[start..start + count].fill(writer);
    }

    /// Notes writes of `lanes` lanes from `first` on, each of the `bytes` bytes after the last one's; false, with nothing
    /// noted, if they need a closer look.
    #[inline(always)]
    pub fn write_streak(&mut self, address: u64, bytes: u64, first: Place, lanes: usize) -> bool {
        let range = self.range(address, bytes * lanes as u64);
        if !self.untouched(range.clone()) {
            return false;
        }
        self.write_epochs[range.clone()].fill(self.epoch);
        let mut writer = self.writer(first, Touch::Plain);
        let each = (bytes >> self.shift) as usize;
        for writers in self.writers[range].chunks_exact_mut(each) {
            writers.fill(writer);
            writer.lane += 1;
        }
        true
    }

    #[cold]
    fn check_writes(&self, range: Range<usize>, who: Place, touch: Touch, changes: bool) -> Result<(), FaultKind> {
        for g in range {
            let epoch = self.write_epochs[g];
            if epoch > self.base {
                self.check_state(g)?;
            }
            if epoch == self.epoch && changes {
                self.check_writer(g, who, touch, RaceKind::WriteAfterWrite)?;
                self.check_crowd(g, who, touch)?;
            }
            if self.read_epochs[g] == self.epoch {
                self.check_readers(g, who, touch)?;
            }
        }
        Ok(())
    }

    fn check_readers(&self, g: usize, who: Place, touch: Touch) -> Result<(), FaultKind> {
        if touch == Touch::Atomic && self.writers[g].atomic && self.write_epochs[g] == self.epoch {
            return Ok(());
        }
        for agent in 0..self.order.readers() {
            let stamp = self.reads[agent * self.granules + g];
            let (clock, lane) = (stamp >> LANE_BITS, stamp & ((1 << LANE_BITS) - 1));
            let same = agent == who.warp as usize && lane == who.lane;
            if stamp != 0 && !same && !self.order.ordered(agent, lane, clock, who) {
                let other = self.thread(agent, lane);
                return Err(FaultKind::Race {
                    address: self.address(g),
                    kind: RaceKind::WriteAfterRead,
                    other,
                    line: 0,
                });
            }
        }
        Ok(())
    }

    /// Notes that an asynchronous copy will write bytes within bounds.
    pub fn pending(&mut self, address: u64, bytes: u64, who: Place) -> Result<(), FaultKind> {
        let range = self.range(address, bytes);
        if !self.untouched(range.clone()) {
            self.check_writes(range.clone(), who, Touch::Plain, true)?;
        }
        self.set_writer(range, who, Touch::Plain, PENDING);
        Ok(())
    }

    /// Notes that an asynchronous copy has landed: from now on it is a write of `who`.
    pub fn landed(&mut self, address: u64, bytes: u64, who: Place) {
        let range = self.range(address, bytes);
        self.write_epochs[range.clone()].fill(self.epoch);
        let clock = self.order.clock(who.warp as usize);
        self.writers[range].iter_mut().for_each(|writer| writer.clock = clock);
    }
}

/// A read stamp after another read; `met` is the clock of the lanes' last meeting.
#[inline(always)]
fn stamped(stamp: u32, clock: u32, lane: u32, met: u32) -> u32 {
    let mine = clock | lane;
    // Another lane, with nothing in between that orders lanes.
    if stamp >= met && (stamp ^ mine) & ((1 << LANE_BITS) - 1) != 0 {
        clock | MANY
    } else {
        mine
    }
}
