//! Loads and stores.

use super::block::Block;
use super::warp::{FULL, Warp};
use crate::fault::{FaultKind, Run, raise};
use crate::lanes::{Lanes, WARP, map1};
use crate::op::{Access, Address, Width};
use crate::race::{Place, Touch};
use crate::syntax::Space;
use crate::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW};
use std::sync::atomic::Ordering::Relaxed;

/// Where a generic address leads.
pub fn resolve(space: Space, address: u64) -> (Space, u64) {
    if space != Space::Generic {
        return (space, address);
    }
    match address & (0xff << 56) {
        SHARED_WINDOW => (Space::Shared, address - SHARED_WINDOW),
        LOCAL_WINDOW => (Space::Local, address - LOCAL_WINDOW),
        PARAM_WINDOW => (Space::Param, address - PARAM_WINDOW),
        _ => (Space::Global, address),
    }
}

/// The lanes of a mask, lowest first.
pub fn lanes_of(mask: u32) -> impl Iterator<Item = usize> {
    let mut left = mask;
    std::iter::from_fn(move || {
        let lane = left.trailing_zeros();
        left &= left.wrapping_sub(1);
        (lane < WARP as u32).then_some(lane as usize)
    })
}

fn at_lane<T>(lane: usize, result: Result<T, FaultKind>) -> Run<T> {
    result.or_else(|kind| raise(lane, kind))
}

/// Whether the lanes' addresses follow each other at `stride` bytes.
fn follow(addresses: &Lanes<u64>, stride: u64) -> bool {
    let mut differences = 0;
    for (i, &address) in addresses.iter().enumerate() {
        differences |= address.wrapping_sub(addresses[0].wrapping_add(stride * i as u64));
    }
    differences == 0
}

/// A mask of `lanes` lanes.
fn span_mask(lanes: usize) -> u32 {
    if lanes >= WARP { FULL } else { (1 << lanes) - 1 }
}

/// The first lane of a mask and how many from it on are at the same address (stride 0, also of a single lane) or at
/// addresses that follow each other at `stride` bytes.
#[inline(always)]
fn run(addresses: &Lanes<u64>, mask: u32, stride: u64) -> (usize, usize, u64) {
    let first = mask.trailing_zeros() as usize;
    let end = first + (!(mask >> first)).trailing_zeros() as usize;
    let difference = match addresses[first..end] {
        [a, b, ..] if b == a || b == a.wrapping_add(stride) => b.wrapping_sub(a),
        _ => return (first, 1, 0),
    };
    let pairs = addresses[first..end].windows(2);
    let lanes = 1 + pairs
        .take_while(|pair| pair[1] == pair[0].wrapping_add(difference))
        .count();
    (first, lanes, difference)
}

impl Warp {
    /// The lanes' addresses.
    #[inline(always)]
    pub fn addresses(&self, address: &Address) -> Lanes<u64> {
        let offset = address.offset as u64;
        if address.wide {
            map1(self.get64(address.base), |base| base.wrapping_add(offset))
        } else {
            // Addresses of 32 bits wrap at 32 bits.
            map1(self.get32(address.base), |base| {
                u64::from(base.wrapping_add(offset as u32))
            })
        }
    }

    /// Executes a load in the lanes of `mask`.
    pub fn load(&mut self, access: &Access, mask: u32, block: &mut Block<'_>) -> Run<()> {
        let addresses = self.addresses(&access.address);
        let bytes = u64::from(access.bytes) * u64::from(access.count);
        match access.space {
            Space::Global | Space::Const if mask == FULL && self.load_streak(access, &addresses, block) => Ok(()),
            Space::Param | Space::Global | Space::Const if follow(&addresses, 0) => {
                // All lanes read the same: read once.
                let lane = mask.trailing_zeros() as usize;
                for e in 0..usize::from(access.count) {
                    let value = self.fetch(access, e, lane, addresses[lane], bytes, block)?;
                    let value = extend(access, value);
                    match access.width {
                        Width::B64 => self.set64(access.regs[e], mask, &[value; WARP]),
                        _ => self.set32(access.regs[e], mask, &[value as u32; WARP]),
                    }
                }
                Ok(())
            }
            Space::Shared if access.bytes == 4 && access.width == Width::B32 => {
                self.load_shared(access, mask, &addresses, block)
            }
            _ => {
                for lane in lanes_of(mask) {
                    for e in 0..usize::from(access.count) {
                        let value = self.fetch(access, e, lane, addresses[lane], bytes, block)?;
                        self.set_element(access, e, lane, value);
                    }
                }
                Ok(())
            }
        }
    }

    /// A load of words from shared memory, by runs of lanes.
    fn load_shared(&mut self, access: &Access, mask: u32, addresses: &Lanes<u64>, block: &mut Block<'_>) -> Run<()> {
        let count = usize::from(access.count);
        let regs = &access.regs[..count];
        let mut left = mask;
        while left != 0 {
            let (lane, lanes, stride) = run(addresses, left, 4 * count as u64);
            left &= !(span_mask(lanes) << lane);
            let (address, to) = (addresses[lane], lane..lane + lanes);
            if stride == 0 {
                let who = if lanes > 1 {
                    Place::together(self.index)
                } else {
                    self.place(lane)
                };
                let words = at_lane(lane, block.shared.read_words(address, count, who))?;
                regs.iter()
                    .zip(words)
                    .for_each(|(reg, word)| self.r32[usize::from(*reg)][to.clone()].fill(*word));
                continue;
            }
            if let Some(words) = block.shared.read_streak(address, count, self.place(lane), lanes) {
                for (e, reg) in regs.iter().enumerate() {
                    let to = &mut self.r32[usize::from(*reg)][to.clone()];
                    to.iter_mut()
                        .zip(words.chunks_exact(count))
                        .for_each(|(to, row)| *to = row[e]);
                }
                continue;
            }
            for lane in to {
                let words = at_lane(lane, block.shared.read_words(addresses[lane], count, self.place(lane)))?;
                regs.iter()
                    .zip(words)
                    .for_each(|(reg, word)| self.r32[usize::from(*reg)][lane] = *word);
            }
        }
        Ok(())
    }

    /// A store of words to shared memory, by runs of lanes.
    fn store_shared(&mut self, access: &Access, mask: u32, addresses: &Lanes<u64>, block: &mut Block<'_>) -> Run<()> {
        let count = usize::from(access.count);
        let regs = &access.regs[..count];
        let mut left = mask;
        while left != 0 {
            let (lane, lanes, stride) = run(addresses, left, 4 * count as u64);
            left &= !(span_mask(lanes) << lane);
            let from = lane..lane + lanes;
            if stride != 0
                && let Some(words) = block
                    .shared
                    .write_streak(addresses[lane], count, self.place(lane), lanes)
            {
                for (e, reg) in regs.iter().enumerate() {
                    let from = &self.r32[usize::from(*reg)][from.clone()];
                    words
                        .chunks_exact_mut(count)
                        .zip(from)
                        .for_each(|(row, from)| row[e] = *from);
                }
                continue;
            }
            for lane in from {
                let values = access.regs.map(|reg| self.r32[usize::from(reg)][lane]);
                at_lane(
                    lane,
                    block
                        .shared
                        .write_words(addresses[lane], &values[..count], self.place(lane)),
                )?;
            }
        }
        Ok(())
    }

    /// A full warp's load of consecutive words or half words; false if it is something else.
    fn load_streak(&mut self, access: &Access, addresses: &Lanes<u64>, block: &mut Block<'_>) -> bool {
        let (count, first) = (usize::from(access.count), addresses[0]);
        let bytes = u64::from(access.bytes) * u64::from(access.count);
        if access.width == Width::B64 || first & (bytes.max(4) - 1) != 0 || !follow(addresses, bytes) {
            return false;
        }
        let hint = &mut block.hints[self.pc as usize];
        let Ok(span) = block.view.span(hint, first, bytes * WARP as u64, false) else {
            return false;
        };
        match (access.bytes, count) {
            (4, 1) => {
                let to = &mut self.r32[usize::from(access.regs[0])];
                for (to, word) in to.iter_mut().zip(span.words(first, WARP)) {
                    *to = word.load(Relaxed);
                }
            }
            (4, _) => {
                let words = span.words(first, WARP * count);
                for (e, reg) in access.regs[..count].iter().enumerate() {
                    for (to, row) in self.r32[usize::from(*reg)].iter_mut().zip(words.chunks_exact(count)) {
                        *to = row[e].load(Relaxed);
                    }
                }
            }
            (2, 1) if !access.signed => {
                let to = &mut self.r32[usize::from(access.regs[0])];
                for (pair, word) in to.chunks_exact_mut(2).zip(span.words(first, WARP / 2)) {
                    let word = word.load(Relaxed);
                    (pair[0], pair[1]) = (word & 0xffff, word >> 16);
                }
            }
            _ => return false,
        }
        true
    }

    /// Element `e` of a lane's load, zero-extended; the access as a whole has `bytes` bytes at `address`.
    #[inline(always)]
    fn fetch(
        &mut self,
        access: &Access,
        e: usize,
        lane: usize,
        address: u64,
        bytes: u64,
        block: &mut Block<'_>,
    ) -> Run<u64> {
        let (space, address) = resolve(access.space, address);
        let element = address.wrapping_add(e as u64 * u64::from(access.bytes));
        match space {
            Space::Global | Space::Const | Space::Generic => {
                aligned(lane, space, address, bytes)?;
                let hint = &mut block.hints[self.pc as usize];
                let span = at_lane(lane, block.view.span(hint, address, bytes, false))?;
                Ok(span.load(element, access.bytes))
            }
            Space::Shared => {
                at_lane(lane, block.shared.check(address, bytes, false))?;
                let place = self.place(lane);
                at_lane(lane, block.shared.read(element, access.bytes, place, Touch::Plain))
            }
            Space::Local => {
                let at = self.local_word(lane, address, bytes, false)? + (element - address) as usize / 4;
                Ok(part(&self.local[at..], element, access.bytes))
            }
            Space::Param => {
                aligned(lane, space, address, bytes)?;
                let from = usize::try_from(element).ok();
                let found = from.and_then(|from| block.params.get(from..from.checked_add(access.bytes as usize)?));
                let Some(found) = found else {
                    return raise(
                        lane,
                        FaultKind::OutOfBounds {
                            space,
                            address,
                            bytes,
                            write: false,
                        },
                    );
                };
                Ok(found.iter().rev().fold(0, |bits, &b| bits << 8 | u64::from(b)))
            }
        }
    }

    fn set_element(&mut self, access: &Access, e: usize, lane: usize, value: u64) {
        let (reg, value) = (usize::from(access.regs[e]), extend(access, value));
        match access.width {
            Width::B64 => self.r64[reg][lane] = value,
            _ => self.r32[reg][lane] = value as u32,
        }
    }

    /// Executes a store in the lanes of `mask`.
    pub fn store(&mut self, access: &Access, mask: u32, block: &mut Block<'_>) -> Run<()> {
        let addresses = self.addresses(&access.address);
        if access.space == Space::Global && mask == FULL && self.store_streak(access, &addresses, block) {
            return Ok(());
        }
        block.shared.history.at = self.pc;
        if access.space == Space::Shared && access.bytes == 4 && access.width == Width::B32 {
            return self.store_shared(access, mask, &addresses, block);
        }
        for lane in lanes_of(mask) {
            self.store_lane(access, lane, addresses[lane], block)?;
        }
        Ok(())
    }

    /// A full warp's store of consecutive words or half words; false if it is something else.
    fn store_streak(&mut self, access: &Access, addresses: &Lanes<u64>, block: &mut Block<'_>) -> bool {
        let (count, first) = (usize::from(access.count), addresses[0]);
        let bytes = u64::from(access.bytes) * u64::from(access.count);
        if access.width == Width::B64 || first & (bytes.max(4) - 1) != 0 || !follow(addresses, bytes) {
            return false;
        }
        let hint = &mut block.hints[self.pc as usize];
        let Ok(span) = block.view.span(hint, first, bytes * WARP as u64, true) else {
            return false;
        };
        match (access.bytes, count) {
            (4, _) => {
                let words = span.words(first, WARP * count);
                for (e, reg) in access.regs[..count].iter().enumerate() {
                    for (from, row) in self.r32[usize::from(*reg)].iter().zip(words.chunks_exact(count)) {
                        row[e].store(*from, Relaxed);
                    }
                }
            }
            (2, 1) => {
                let from = &self.r32[usize::from(access.regs[0])];
                for (pair, word) in from.chunks_exact(2).zip(span.words(first, WARP / 2)) {
                    word.store((pair[0] & 0xffff) | (pair[1] << 16), Relaxed);
                }
            }
            _ => return false,
        }
        true
    }

    fn store_lane(&mut self, access: &Access, lane: usize, address: u64, block: &mut Block<'_>) -> Run<()> {
        let bytes = u64::from(access.bytes) * u64::from(access.count);
        let (space, address) = resolve(access.space, address);
        for e in 0..usize::from(access.count) {
            let reg = usize::from(access.regs[e]);
            let value = match access.width {
                Width::B64 => self.r64[reg][lane],
                _ => u64::from(self.r32[reg][lane]),
            };
            let element = address.wrapping_add(e as u64 * u64::from(access.bytes));
            match space {
                Space::Global => {
                    aligned(lane, space, address, bytes)?;
                    let hint = &mut block.hints[self.pc as usize];
                    let span = at_lane(lane, block.view.span(hint, address, bytes, true))?;
                    span.store(element, access.bytes, value);
                }
                Space::Shared => {
                    at_lane(lane, block.shared.check(address, bytes, true))?;
                    let place = self.place(lane);
                    at_lane(
                        lane,
                        block.shared.write(element, access.bytes, value, place, Touch::Plain),
                    )?;
                }
                Space::Local => {
                    let at = self.local_word(lane, address, bytes, true)? + (element - address) as usize / 4;
                    set_part(&mut self.local[at..], element, access.bytes, value);
                }
                _ => return raise(lane, FaultKind::UnsupportedSpace("st")),
            }
        }
        Ok(())
    }

    /// The index of the word of a lane's local address.
    fn local_word(&self, lane: usize, address: u64, bytes: u64, write: bool) -> Run<usize> {
        aligned(lane, Space::Local, address, bytes)?;
        let words = self.local.len() / WARP;
        if address.checked_add(bytes).is_none_or(|end| end > 4 * words as u64) {
            return raise(
                lane,
                FaultKind::OutOfBounds {
                    space: Space::Local,
                    address,
                    bytes,
                    write,
                },
            );
        }
        Ok(lane * words + (address / 4) as usize)
    }
}

fn aligned(lane: usize, space: Space, address: u64, bytes: u64) -> Run<()> {
    if address & (bytes - 1) == 0 {
        Ok(())
    } else {
        raise(lane, FaultKind::Misaligned { space, address, bytes })
    }
}

/// A loaded element as its register holds it.
#[inline(always)]
fn extend(access: &Access, value: u64) -> u64 {
    let value = match (access.signed, access.bytes) {
        (true, 1) => value as i8 as u64,
        (true, 2) => value as i16 as u64,
        (true, 4) => value as i32 as u64,
        _ => value,
    };
    if access.width == Width::B16 {
        value & 0xffff
    } else {
        value
    }
}

fn part(words: &[u32], address: u64, bytes: u32) -> u64 {
    let shift = 8 * (address & 3);
    match bytes {
        8 => u64::from(words[0]) | u64::from(words[1]) << 32,
        4 => u64::from(words[0]),
        2 => u64::from((words[0] >> shift) as u16),
        _ => u64::from((words[0] >> shift) as u8),
    }
}

fn set_part(words: &mut [u32], address: u64, bytes: u32, value: u64) {
    let shift = 8 * (address & 3);
    let field: u32 = match bytes {
        8 => {
            words[1] = (value >> 32) as u32;
            u32::MAX
        }
        4 => u32::MAX,
        2 => 0xffff << shift,
        _ => 0xff << shift,
    };
    words[0] = (words[0] & !field) | (((value as u32) << shift) & field);
}
