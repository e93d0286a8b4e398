//! Bulk copies of boxes of tensors to shared memory.

use super::block::Block;
use super::memory::{lanes_of, resolve};
use super::warp::Warp;
use crate::asynchronous::TensorLoad;
use crate::fault::{FaultKind, Run, raise};
use crate::race::Bulk;
use crate::syntax::Space;
use crate::tensor_map::{TensorMap, swizzle};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes of a map.
const MAP: usize = 128;
/// Alignment of a box in shared memory.
const ALIGN: u64 = 128;
/// Bytes that the swizzle moves as one.
const CHUNK: u64 = 16;

/// A copy under way.
pub struct Flight {
    /// Index of its mbarrier, and its time by that mbarrier's clock.
    pub barrier: usize,
    pub clock: u32,
    pub bytes: u64,
    /// Who ordered it: warp, lane, instruction.
    pub warp: u32,
    pub lane: usize,
    pub pc: u32,
    /// In shared memory.
    to: u64,
    map: Rc<TensorMap>,
    coordinates: [i32; 5],
}

/// Words of a row of a box, zeros beyond the tensor's extents.
type Row = [u32; 32];

impl Warp {
    /// Starts the copies of the lanes of `mask`.
    pub fn tensor_load(&mut self, op: &TensorLoad, mask: u32, block: &mut Block<'_>) -> Run<()> {
        block.shared.history.at = self.pc;
        let maps = self.addresses(&op.map);
        for lane in lanes_of(mask) {
            let map = block
                .tensor_map(maps[lane], self.pc)
                .or_else(|kind| raise(lane, kind))?;
            let axes = map.extents.len();
            if axes != usize::from(op.rank) {
                return raise(lane, FaultKind::TensorMap(format!("has {axes} axes, not {}", op.rank)));
            }
            let to = self.shared_address(&op.to, lane, ALIGN, block)?;
            let address = self.shared_address(&op.barrier, lane, 8, block)?;
            let index = self.used(address, lane, block)?;
            let history = &mut block.shared.history;
            let seen = history.copy_to_mbarrier(address, self.place(lane));
            seen.or_else(|kind| raise(lane, kind))?;
            let agent = block.mbarriers.all[index].agent;
            let clock = history.order.advance(agent);
            let mut coordinates = [0; 5];
            for (to, &reg) in coordinates.iter_mut().zip(&op.coordinates[..axes]) {
                *to = self.get32(reg)[lane] as i32;
            }
            let flight = Flight {
                barrier: index,
                clock,
                bytes: map.box_bytes(),
                warp: self.index,
                lane,
                pc: self.pc,
                to,
                map,
                coordinates,
            };
            let fits = block.shared.check_bulk(to, flight.bytes);
            fits.or_else(|kind| raise(lane, kind))?;
            let (who, bulk) = (self.place(lane), Bulk { agent, clock });
            for (address, bytes) in flight.pieces() {
                let noted = block.shared.history.start_bulk(address, bytes, who, bulk);
                noted.or_else(|kind| raise(lane, kind))?;
            }
            block.mbarriers.flights.push(flight);
        }
        Ok(())
    }
}

impl Flight {
    /// The parts of shared memory that are written: all as one where rows fill lines, else chunks.
    fn pieces(&self) -> impl Iterator<Item = (u64, u64)> + use<> {
        let whole = u64::from(self.map.row_bytes()) == ALIGN;
        let size = if whole { self.bytes } else { CHUNK };
        let to = self.to;
        (0..self.bytes / size).map(move |i| match whole {
            true => (to, size),
            false => (swizzle(to + i * size), size),
        })
    }

    /// Writes the box.
    pub fn land(&self, block: &mut Block<'_>) -> Result<(), FaultKind> {
        for (address, bytes) in self.pieces() {
            block.shared.history.land_bulk(address, bytes);
        }
        let map = &*self.map;
        let row_bytes = u64::from(map.row_bytes());
        let rows = self.bytes / row_bytes;
        let mut row: Row = [0; 32];
        for r in 0..rows {
            self.row(r, &mut row, block)?;
            for c in 0..row_bytes / CHUNK {
                let address = swizzle(self.to + r * row_bytes + c * CHUNK);
                block
                    .shared
                    .set_words(address, &row[4 * c as usize..4 * c as usize + 4]);
            }
        }
        Ok(())
    }

    /// Reads row `r` of the box.
    fn row(&self, r: u64, row: &mut Row, block: &mut Block<'_>) -> Result<(), FaultKind> {
        let map = &*self.map;
        row.fill(0);
        let (mut rest, mut address) = (r, map.address);
        for axis in 1..map.extents.len() {
            let tile = u64::from(map.tile[axis]);
            let at = i64::from(self.coordinates[axis]) + (rest % tile) as i64;
            rest /= tile;
            if at < 0 || at as u64 >= map.extents[axis] {
                return Ok(());
            }
            address += at as u64 * map.strides[axis - 1];
        }
        let (first, count) = (i64::from(self.coordinates[0]), i64::from(map.tile[0]));
        let (low, high) = (first.max(0), (first + count).min(map.extents[0] as i64));
        if low >= high {
            return Ok(());
        }
        let size = u64::from(map.bytes_per_element);
        let (from, bytes) = (address + low as u64 * size, (high - low) as u64 * size);
        let hint = &mut block.hints[self.pc as usize];
        let span = block.view.span(hint, from, bytes, false)?;
        if from % 4 == 0 && low == first && bytes % 4 == 0 {
            let words = span.words(from, bytes as usize / 4);
            row.iter_mut()
                .zip(words)
                .for_each(|(to, word)| *to = word.load(Relaxed));
            return Ok(());
        }
        for i in 0..(high - low) as u64 {
            let at = (low - first) as u64 + i;
            let value = span.load(from + i * size, size as u32) as u32;
            row[at as usize / 2] |= value << (16 * (at % 2));
        }
        Ok(())
    }
}

impl Block<'_> {
    /// The tensor map at a generic address.
    fn tensor_map(&mut self, address: u64, pc: u32) -> Result<Rc<TensorMap>, FaultKind> {
        if !address.is_multiple_of(64) {
            return Err(FaultKind::TensorMap(format!("lies at {address:#x}, no multiple of 64")));
        }
        if let Some((_, map)) = self.maps.iter().find(|(at, _)| *at == address) {
            return Ok(map.clone());
        }
        let (space, at) = resolve(Space::Generic, address);
        let bytes: Vec<u8> = match space {
            Space::Param => {
                let from = at as usize;
                self.params
                    .get(from..from.saturating_add(MAP))
                    .unwrap_or_default()
                    .to_vec()
            }
            Space::Global => {
                let hint = &mut self.hints[pc as usize];
                let words = self.view.span(hint, at, MAP as u64, false)?.words(at, MAP / 4);
                words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect()
            }
            _ => vec![],
        };
        let map = TensorMap::decode(&bytes);
        let map = Rc::new(map.ok_or_else(|| FaultKind::TensorMap("is none: its bytes were not encoded".into()))?);
        // A map in global memory may be written by the kernel.
        if space == Space::Param {
            self.maps.push((address, map.clone()));
        }
        Ok(map)
    }
}
