//! Who last wrote and read each part of shared memory, and when: races and uninitialised reads.
//!
//! Time is counted twice. An *epoch* ends with every barrier of the whole block; accesses of earlier epochs are ordered
//! before all of this one, which settles nearly every access at once. Within an epoch each warp has a *clock*, advanced by
//! the barriers it takes part in and by `bar.warp.sync`, and knows up to which clock of every other warp it is ordered after.
//! Shuffles, votes and `mma` do not order memory (PTX ISA, "Memory Consistency Model"), so they advance nothing.
//!
//! Neither epochs nor clocks restart with a block, so nothing has to be cleared between blocks of one worker.

use crate::fault::{FaultKind, RaceKind};
use crate::lanes::WARP;
use std::ops::Range;

/// Epoch of a granule that an asynchronous copy will write.
const PENDING: u32 = u32::MAX;
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

#[derive(Clone, Copy)]
struct Writer {
    clock: u32,
    /// Index of the instruction.
    at: u32,
    warp: u8,
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
    read_epochs: Vec<u32>,
    /// `clock << LANE_BITS | lane` of the last reads, by warp, then granule.
    reads: Vec<u32>,
    /// Epoch before the block's first.
    base: u32,
    epoch: u32,
    clocks: Vec<u32>,
    /// `seen[w][v]`: warp `w` is ordered after everything warp `v` did up to this clock.
    seen: Vec<Vec<u32>>,
    /// The instruction at work, for reports.
    pub at: u32,
}

impl History {
    /// Of `bytes` bytes touched by `warps` warps; `granule` is 1, 2 or 4.
    pub fn new(bytes: u64, warps: usize, granule: u32) -> Self {
        let granules = bytes.div_ceil(u64::from(granule)) as usize;
        Self {
            shift: granule.trailing_zeros(),
            granules,
            write_epochs: vec![0; granules],
            writers: vec![
                Writer {
                    clock: 0,
                    at: 0,
                    warp: 0,
                    lane: 0,
                    atomic: false
                };
                granules
            ],
            read_epochs: vec![0; granules],
            reads: vec![0; granules * warps],
            base: 0,
            epoch: 1,
            clocks: vec![1; warps],
            seen: vec![vec![0; warps]; warps],
            at: 0,
        }
    }

    /// Forgets what the last block left.
    pub fn start_block(&mut self) {
        self.base = self.epoch;
        self.block_barrier();
    }

    /// All warps of the block met.
    pub fn block_barrier(&mut self) {
        self.epoch += 1;
        for seen in &mut self.seen {
            seen.copy_from_slice(&self.clocks);
        }
        self.clocks.iter_mut().for_each(|c| *c += 1);
    }

    /// The warps of a mask met.
    pub fn partial_barrier(&mut self, warps: u32) {
        let members: Vec<usize> = (0..self.clocks.len()).filter(|w| warps >> w & 1 == 1).collect();
        let mut joined = vec![0; self.clocks.len()];
        for &w in &members {
            joined[w] = joined[w].max(self.clocks[w]);
            for (j, s) in joined.iter_mut().zip(&self.seen[w]) {
                *j = (*j).max(*s);
            }
        }
        for &w in &members {
            self.seen[w].copy_from_slice(&joined);
            self.clocks[w] += 1;
        }
    }

    /// The lanes of a warp met.
    pub fn warp_barrier(&mut self, warp: u32) {
        self.clocks[warp as usize] += 1;
    }

    #[inline(always)]
    fn range(&self, address: u64, bytes: u64) -> Range<usize> {
        (address >> self.shift) as usize..((address + bytes - 1) >> self.shift) as usize + 1
    }

    fn address(&self, granule: usize) -> u64 {
        (granule as u64) << self.shift
    }

    /// Whether what warp `warp` did at `clock` is ordered before `who`'s present.
    fn ordered(&self, warp: u32, clock: u32, who: Place) -> bool {
        if warp == who.warp {
            clock < self.clocks[warp as usize]
        } else {
            clock <= self.seen[who.warp as usize][warp as usize]
        }
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
        let clock = self.clocks[who.warp as usize] << LANE_BITS;
        let row = who.warp as usize * self.granules + start;
        for stamp in &mut self.reads[row..row + count] {
            *stamp = stamped(*stamp, clock, who.lane);
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
        let clock = self.clocks[first.warp as usize] << LANE_BITS;
        let row = first.warp as usize * self.granules;
        let each = (bytes >> self.shift) as usize;
        for (i, stamps) in self.reads[row + range.start..row + range.end]
            .chunks_exact_mut(each)
            .enumerate()
        {
            stamps
                .iter_mut()
                .for_each(|stamp| *stamp = stamped(*stamp, clock, first.lane + i as u32));
        }
        true
    }

    #[cold]
    fn check_reads(&self, range: Range<usize>, who: Place, touch: Touch) -> Result<(), FaultKind> {
        for g in range {
            let epoch = self.write_epochs[g];
            if epoch == PENDING {
                return Err(FaultKind::PendingCopy {
                    address: self.address(g),
                });
            }
            if epoch <= self.base {
                return Err(FaultKind::Uninitialised {
                    address: self.address(g),
                });
            }
            if epoch == self.epoch {
                self.check_writer(g, who, touch, RaceKind::ReadAfterWrite)?;
            }
        }
        Ok(())
    }

    fn check_writer(&self, g: usize, who: Place, touch: Touch, kind: RaceKind) -> Result<(), FaultKind> {
        let writer = self.writers[g];
        let (warp, lane) = (u32::from(writer.warp), u32::from(writer.lane));
        let same = warp == who.warp && lane == who.lane;
        let both_atomic = writer.atomic && touch == Touch::Atomic;
        if same || both_atomic || self.ordered(warp, writer.clock, who) {
            return Ok(());
        }
        Err(FaultKind::Race {
            address: self.address(g),
            kind,
            other: warp * WARP as u32 + lane,
            line: writer.at,
        })
    }

    fn writer(&self, who: Place, touch: Touch) -> Writer {
        Writer {
            clock: self.clocks[who.warp as usize],
            at: self.at,
            warp: who.warp as u8,
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
            if epoch == PENDING {
                return Err(FaultKind::PendingCopy {
                    address: self.address(g),
                });
            }
            if epoch == self.epoch && changes {
                self.check_writer(g, who, touch, RaceKind::WriteAfterWrite)?;
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
        for warp in 0..self.clocks.len() as u32 {
            let stamp = self.reads[warp as usize * self.granules + g];
            let (clock, lane) = (stamp >> LANE_BITS, stamp & ((1 << LANE_BITS) - 1));
            let same = warp == who.warp && lane == who.lane;
            if stamp != 0 && !same && !self.ordered(warp, clock, who) {
                let other = warp * WARP as u32 + lane.min(WARP as u32 - 1);
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
        let clock = self.clocks[who.warp as usize];
        self.writers[range].iter_mut().for_each(|writer| writer.clock = clock);
    }
}

/// A read stamp after another read.
#[inline(always)]
fn stamped(stamp: u32, clock: u32, lane: u32) -> u32 {
    let mine = clock | lane;
    let other = stamp ^ mine;
    // The same clock, another lane.
    if other != 0 && other < 1 << LANE_BITS {
        clock | MANY
    } else {
        mine
    }
}
