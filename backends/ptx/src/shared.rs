//! Shared memory of a block, with what is needed to see races: who last wrote and read each granule, and when.
//!
//! Time is counted twice. An *epoch* ends with every barrier of the whole block; accesses of earlier epochs are ordered
//! before all of this one, which settles nearly every access at once. Within an epoch each warp has a *clock*, advanced by
//! the barriers it takes part in and by `bar.warp.sync`, and knows up to which clock of every other warp it is ordered after.
//! Shuffles, votes and `mma` do not order memory (PTX ISA, "Memory Consistency Model"), so they advance nothing.
//!
//! Neither epochs nor clocks restart with a block, so nothing has to be cleared between blocks of one worker.

use crate::fault::{FaultKind, RaceKind};
use crate::lanes::WARP;
use crate::syntax::Space;

/// Epoch of a granule that an asynchronous copy will write.
const PENDING: u32 = u32::MAX;
/// Lane of a read stamp that stands for several lanes.
const MANY: u32 = 32;

/// A thread's place in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub warp: u32,
    pub lane: u32,
}

/// How an access touches memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    Plain,
    /// Atomics do not race with each other.
    Atomic,
}

#[derive(Clone, Copy, Default)]
struct Write {
    /// 0 before the first write.
    epoch: u32,
    clock: u32,
    warp: u8,
    lane: u8,
    atomic: bool,
    /// Index of the instruction.
    at: u32,
}

/// Shared memory of one block.
pub struct Shared {
    words: Vec<u32>,
    /// Size in bytes.
    bytes: u64,
    /// log2 of the bytes of a granule: the narrowest access the kernel makes.
    shift: u32,
    granules: usize,
    writes: Vec<Write>,
    read_epochs: Vec<u32>,
    /// `clock << 6 | lane` of the last reads, by warp, then granule.
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

impl Shared {
    /// Memory for blocks of `warps` warps; `granule` is 1, 2 or 4.
    pub fn new(bytes: u64, warps: usize, granule: u32) -> Self {
        let granules = bytes.div_ceil(u64::from(granule)) as usize;
        Self {
            words: vec![0; bytes.div_ceil(4) as usize],
            bytes,
            shift: granule.trailing_zeros(),
            granules,
            writes: vec![Write::default(); granules],
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
            joined[w] = self.clocks[w];
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

    /// Checks bounds and alignment of an access.
    #[inline(always)]
    pub fn check(&self, address: u64, bytes: u64, write: bool) -> Result<(), FaultKind> {
        if address & (bytes - 1) != 0 {
            return Err(FaultKind::Misaligned { space: Space::Shared, address, bytes });
        }
        if address >= self.bytes || self.bytes - address < bytes {
            return Err(FaultKind::OutOfBounds { space: Space::Shared, address, bytes, write });
        }
        Ok(())
    }

    fn granule_range(&self, address: u64, bytes: u64) -> std::ops::RangeInclusive<usize> {
        (address >> self.shift) as usize..=((address + bytes - 1) >> self.shift) as usize
    }

    /// Whether what warp `warp` did at `clock` is ordered before `who`'s present.
    fn ordered(&self, warp: u32, clock: u32, who: Place) -> bool {
        if warp == who.warp {
            clock < self.clocks[warp as usize]
        } else {
            clock <= self.seen[who.warp as usize][warp as usize]
        }
    }

    /// Notes a read of checked bytes.
    #[inline(always)]
    pub fn note_read(&mut self, address: u64, bytes: u64, who: Place, touch: Touch) -> Result<(), FaultKind> {
        let row = who.warp as usize * self.granules;
        let clock = self.clocks[who.warp as usize] << 6;
        for g in self.granule_range(address, bytes) {
            // Written in this block and in an earlier epoch.
            if self.writes[g].epoch.wrapping_sub(self.base + 1) >= self.epoch - self.base - 1 {
                self.check_read(g, who, touch)?;
            }
            self.read_epochs[g] = self.epoch;
            let stamp = &mut self.reads[row + g];
            *stamp = if *stamp >> 6 == clock >> 6 && *stamp != clock | who.lane { clock | MANY } else { clock | who.lane };
        }
        Ok(())
    }

    #[cold]
    fn check_read(&self, g: usize, who: Place, touch: Touch) -> Result<(), FaultKind> {
        let write = self.writes[g];
        let address = (g as u64) << self.shift;
        if write.epoch == PENDING {
            return Err(FaultKind::PendingCopy { address });
        }
        if write.epoch <= self.base {
            return Err(FaultKind::Uninitialised { address });
        }
        self.check_write_order(write, address, who, touch, RaceKind::ReadAfterWrite)
    }

    fn check_write_order(
        &self,
        write: Write,
        address: u64,
        who: Place,
        touch: Touch,
        kind: RaceKind,
    ) -> Result<(), FaultKind> {
        let same = u32::from(write.warp) == who.warp && u32::from(write.lane) == who.lane;
        let both_atomic = write.atomic && touch == Touch::Atomic;
        if same || both_atomic || self.ordered(u32::from(write.warp), write.clock, who) {
            return Ok(());
        }
        let other = u32::from(write.warp) * WARP as u32 + u32::from(write.lane);
        Err(FaultKind::Race { address, kind, other, line: write.at })
    }

    /// Notes a write of checked bytes; `changes` says whether it changes what is there (writes of one and the same value
    /// by several threads do not race).
    #[inline(always)]
    pub fn note_write(
        &mut self,
        address: u64,
        bytes: u64,
        who: Place,
        touch: Touch,
        changes: bool,
    ) -> Result<(), FaultKind> {
        let write = self.stamp(who, touch, self.epoch);
        for g in self.granule_range(address, bytes) {
            if self.writes[g].epoch >= self.epoch && changes {
                self.check_overwrite(g, who, touch)?;
            }
            if self.read_epochs[g] == self.epoch {
                self.check_readers(g, who, touch)?;
            }
            self.writes[g] = write;
        }
        Ok(())
    }

    fn stamp(&self, who: Place, touch: Touch, epoch: u32) -> Write {
        Write {
            epoch,
            clock: self.clocks[who.warp as usize],
            warp: who.warp as u8,
            lane: who.lane as u8,
            atomic: touch == Touch::Atomic,
            at: self.at,
        }
    }

    #[cold]
    fn check_overwrite(&self, g: usize, who: Place, touch: Touch) -> Result<(), FaultKind> {
        let write = self.writes[g];
        let address = (g as u64) << self.shift;
        if write.epoch == PENDING {
            return Err(FaultKind::PendingCopy { address });
        }
        self.check_write_order(write, address, who, touch, RaceKind::WriteAfterWrite)
    }

    #[cold]
    fn check_readers(&self, g: usize, who: Place, touch: Touch) -> Result<(), FaultKind> {
        if touch == Touch::Atomic && self.writes[g].atomic && self.writes[g].epoch == self.epoch {
            return Ok(());
        }
        for warp in 0..self.clocks.len() as u32 {
            let stamp = self.reads[warp as usize * self.granules + g];
            let lane = stamp & 63;
            let same = warp == who.warp && lane == who.lane;
            if stamp != 0 && !same && !self.ordered(warp, stamp >> 6, who) {
                let other = warp * WARP as u32 + lane.min(WARP as u32 - 1);
                let address = (g as u64) << self.shift;
                return Err(FaultKind::Race { address, kind: RaceKind::WriteAfterRead, other, line: 0 });
            }
        }
        Ok(())
    }

    /// Notes that an asynchronous copy will write checked bytes.
    pub fn note_pending(&mut self, address: u64, bytes: u64, who: Place) -> Result<(), FaultKind> {
        self.note_write(address, bytes, who, Touch::Plain, true)?;
        let write = self.stamp(who, Touch::Plain, PENDING);
        for g in self.granule_range(address, bytes) {
            self.writes[g] = write;
        }
        Ok(())
    }

    /// Lands an asynchronous copy: from now on it is a write of `who`.
    pub fn land(&mut self, address: u64, data: &[u8], who: Place) {
        let write = self.stamp(who, Touch::Plain, self.epoch);
        for g in self.granule_range(address, data.len() as u64) {
            self.writes[g] = write;
        }
        for (i, chunk) in data.chunks_exact(4).enumerate() {
            // Copies are of 4, 8 or 16 bytes at a multiple of their size, so they are whole words.
            self.words[address as usize / 4 + i] = chunk.iter().rev().fold(0, |bits, &b| bits << 8 | u32::from(b));
        }
    }

    /// The `bytes` (1, 2, 4 or 8) bytes at a checked address.
    #[inline(always)]
    pub fn load(&self, address: u64, bytes: u32) -> u64 {
        let at = (address / 4) as usize;
        let word = self.words[at];
        match bytes {
            4 => u64::from(word),
            8 => u64::from(word) | u64::from(self.words[at + 1]) << 32,
            2 => u64::from((word >> (8 * (address & 3))) as u16),
            _ => u64::from((word >> (8 * (address & 3))) as u8),
        }
    }

    /// Stores the low `bytes` (1, 2, 4 or 8) bytes at a checked address.
    #[inline(always)]
    pub fn store(&mut self, address: u64, bytes: u32, value: u64) {
        let at = (address / 4) as usize;
        match bytes {
            4 => self.words[at] = value as u32,
            8 => {
                self.words[at] = value as u32;
                self.words[at + 1] = (value >> 32) as u32;
            }
            _ => {
                let ones: u32 = if bytes == 1 { 0xff } else { 0xffff };
                let shift = 8 * (address & 3) as u32;
                self.words[at] = (self.words[at] & !(ones << shift)) | ((value as u32 & ones) << shift);
            }
        }
    }
}
