//! The asynchronous proxy in the history: bulk copies, what `wgmma` reads, mbarriers.

use super::{History, LANE_BITS, MANY, OPAQUE, PENDING, Place, Touch, Writer};
use crate::fault::{FaultKind, RaceKind};
use crate::order::GROUP;
use std::ops::Range;

/// Bytes that `wgmma` reads at a time.
pub const CHUNK: u32 = 16;

/// A bulk copy as a writer.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    /// The agent of its mbarrier, and the time of this copy.
    pub agent: usize,
    pub clock: u32,
}

/// A warpgroup's `wgmma` as a reader.
#[derive(Clone, Copy, Debug)]
pub struct GroupRead {
    /// Its first warp.
    pub warp: u32,
    pub clock: u32,
}

/// The last writer found in order, which most of what follows has too.
#[derive(Default)]
pub struct Found {
    epoch: u32,
    clock: u32,
    agent: u8,
    lane: u8,
}

impl Found {
    #[inline(always)]
    fn is(&self, epoch: u32, writer: &Writer) -> bool {
        (epoch == self.epoch) & (writer.clock == self.clock) & (writer.agent == self.agent) & (writer.lane == self.lane)
    }
}

impl History {
    /// A fault unless what a warp wrote to a granule is there for the asynchronous proxy.
    fn check_proxy(&self, g: usize, who: Place) -> Result<(), FaultKind> {
        let (writer, epoch) = (self.writers[g], self.write_epochs[g]);
        let (agent, lane) = (usize::from(writer.agent), u32::from(writer.lane));
        let written = epoch > self.base && epoch != PENDING && self.order.is_warp(agent);
        if !written || self.order.proxied(agent, lane, writer.clock, who) {
            return Ok(());
        }
        Err(FaultKind::ProxyFence {
            address: self.address(g),
            other: self.thread(agent, lane),
            line: writer.at,
        })
    }

    /// Notes that a bulk copy ordered by `who` will write bytes within bounds.
    pub fn start_bulk(&mut self, address: u64, bytes: u64, who: Place, bulk: Bulk) -> Result<(), FaultKind> {
        let range = self.range(address, bytes);
        if !self.untouched(range.clone()) {
            self.check_writes(range.clone(), who, Touch::Plain, true)?;
        }
        for g in range.clone() {
            self.check_proxy(g, who)?;
        }
        let writer = Writer {
            clock: bulk.clock,
            at: self.at,
            agent: bulk.agent as u8,
            lane: 0,
            atomic: false,
        };
        self.issuers[bulk.agent] = self.thread(who.warp as usize, who.lane);
        self.fill_writer(range.start, range.len(), writer, PENDING);
        Ok(())
    }

    /// Notes that a bulk copy has landed.
    pub fn land_bulk(&mut self, address: u64, bytes: u64) {
        let range = self.range(address, bytes);
        self.write_epochs[range].fill(self.epoch);
    }

    /// Notes that a warpgroup's `wgmma` reads a chunk of 16 bytes within bounds; all its warps must be ordered after what was
    /// written there.
    #[inline(always)]
    pub fn read_chunk(&mut self, address: u64, read: GroupRead, found: &mut Found) -> Result<(), FaultKind> {
        let range = self.range(address, u64::from(CHUNK));
        let (epochs, writers) = (&self.write_epochs[range.clone()], &self.writers[range.clone()]);
        let mut same = true;
        for (i, epoch) in epochs.iter().enumerate() {
            same &= found.is(*epoch, &writers[i]);
        }
        if !same {
            self.check_chunk(range.clone(), read, found)?;
        }
        self.read_epochs[range.clone()].fill(self.epoch);
        let row = self.order.group(read.warp) * self.granules;
        self.reads[row + range.start..row + range.end].fill(read.clock << LANE_BITS | MANY);
        Ok(())
    }

    #[cold]
    fn check_chunk(&self, range: Range<usize>, read: GroupRead, found: &mut Found) -> Result<(), FaultKind> {
        for g in range {
            let (epoch, writer) = (self.write_epochs[g], self.writers[g]);
            if found.is(epoch, &writer) {
                continue;
            }
            self.check_state(g)?;
            for warp in read.warp..read.warp + GROUP as u32 {
                let who = Place::together(warp);
                self.check_writer(g, who, Touch::Plain, RaceKind::ReadAfterWrite)?;
                self.check_proxy(g, who)?;
            }
            let Writer { clock, agent, lane, .. } = writer;
            *found = Found {
                epoch,
                clock,
                agent,
                lane,
            };
        }
        Ok(())
    }

    /// Keeps in mind what a `wgmma` reads until it is waited for.
    pub fn keep_reading(&mut self, read: GroupRead, chunks: Vec<u32>) {
        let order = &self.order;
        self.reading.retain(|(read, _)| {
            let warps = read.warp as usize..read.warp as usize + GROUP;
            warps.map(|w| order.known(w, order.group(read.warp))).max() < Some(read.clock)
        });
        self.reading.push((read, chunks));
    }

    /// Notes that `who` makes bytes an mbarrier.
    pub fn start_mbarrier(&mut self, address: u64, bytes: u64, who: Place) -> Result<(), FaultKind> {
        self.write(address, bytes, who, Touch::Plain, true)?;
        let range = self.range(address, bytes);
        self.write_epochs[range].fill(OPAQUE);
        Ok(())
    }

    /// Notes that bytes are no mbarrier any more.
    pub fn end_mbarrier(&mut self, address: u64, bytes: u64) {
        let range = self.range(address, bytes);
        self.write_epochs[range].fill(0);
    }

    /// A fault unless `who` is ordered after the thread that made bytes an mbarrier.
    pub fn use_mbarrier(&self, address: u64, who: Place) -> Result<(), FaultKind> {
        let g = self.range(address, 1).start;
        self.check_writer(g, who, Touch::Plain, RaceKind::ReadAfterWrite)
    }

    /// A fault unless the asynchronous proxy sees that the bytes are an mbarrier.
    pub fn copy_to_mbarrier(&self, address: u64, who: Place) -> Result<(), FaultKind> {
        self.check_proxy(self.range(address, 1).start, who)
    }
}
