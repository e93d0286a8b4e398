//! `wgmma`: products of a warpgroup, from shared memory into registers, beside the threads.
//!
//! D of 64 rows: warp `w` has rows 16w to 16w + 15; with `g = lane / 4` and `t = lane % 4`, register `4j + 2h + e` holds row
//! `g + 8h` of these, column `8j + 2t + e`.
//!
//! Operands lie in atoms of 8 lines of 128 bytes, swizzled. `S` is the stride byte offset, `L` the leading one:
//!
//! | neighbours | element (m, k) is at |
//! |-|-|
//! | along k | `2 (k % 64) + 128 (m % 8) + S (m / 8)` |
//! | along m | `2 (m % 64) + L (m / 64) + 128 (k % 8) + S (k / 8)` |
//!
//! (PTX ISA, "Asynchronous Warpgroup Level Matrix Shared Memory Layout".)
//!
//! The product is made when the warpgroup's four warps are at the instruction. Products of elements are exact in single
//! precision; they are added to D one by one in order of k, rounding each sum to nearest even. Tensor cores sum in an order
//! and with a rounding of their own: bits will differ.

use super::block::Block;
use super::warp::{FULL, Warp};
use crate::asynchronous::{Half, Major, Wgmma};
use crate::fault::{FaultKind, Raised, Run, raise};
use crate::fused::warpgroup_product;
use crate::lanes::half::{from_bf16, from_f16};
use crate::order::GROUP;
use crate::race::{Found, GroupRead};
use crate::tensor_map::swizzle;

/// Rows of D.
const ROWS: usize = 64;
/// Inner size.
const K: usize = 16;
/// Elements of a chunk of 16 bytes.
const CHUNK: usize = 8;

/// A matrix descriptor: PTX ISA, "Matrix-descriptor format".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Descriptor {
    start: u64,
    leading: u64,
    stride: u64,
}

impl Descriptor {
    fn decode(bits: u64) -> Result<Self, FaultKind> {
        let field = |from: u32| (bits >> from & 0x3fff) << 4;
        if bits >> 62 != 1 {
            return Err(FaultKind::Descriptor(bits, "only the 128-byte swizzle is covered"));
        }
        if bits >> 49 & 7 != 0 {
            return Err(FaultKind::Descriptor(bits, "a base offset is not covered"));
        }
        Ok(Self {
            start: field(0),
            leading: field(16),
            stride: field(32),
        })
    }

    /// Where a chunk of 8 elements lies: along k from `8c` on of row `r`, or along m from `8r` on of k `c`.
    fn chunk(&self, major: Major, r: u64, c: u64) -> u64 {
        swizzle(match major {
            Major::K => self.start + r / 8 * self.stride + r % 8 * 128 + c * 16,
            Major::Mn => self.start + r / 8 * self.leading + r % 8 * 16 + c / 8 * self.stride + c % 8 * 128,
        })
    }
}

/// Reads operands.
struct Reader<'r, 'b> {
    block: &'r mut Block<'b>,
    read: GroupRead,
    half: Half,
    found: Found,
    chunks: Vec<u32>,
}

impl Reader<'_, '_> {
    /// Reads an operand of `rows` rows; `place` is given each chunk: along k from `8c` on of row `r`, or of rows from `8r` on
    /// of k `c`.
    #[inline(always)]
    fn operand(
        &mut self,
        bits: u64,
        major: Major,
        rows: usize,
        place: impl FnMut(usize, usize, [f32; CHUNK]),
    ) -> Result<(), FaultKind> {
        let descriptor = Descriptor::decode(bits)?;
        match self.half {
            Half::Bf16 => self.convert(&descriptor, major, rows, from_bf16, place),
            Half::F16 => self.convert(&descriptor, major, rows, from_f16, place),
        }
    }

    #[inline(always)]
    fn convert(
        &mut self,
        descriptor: &Descriptor,
        major: Major,
        rows: usize,
        convert: impl Fn(u32) -> f32,
        mut place: impl FnMut(usize, usize, [f32; CHUNK]),
    ) -> Result<(), FaultKind> {
        let (outer, inner) = match major {
            Major::K => (rows, K / CHUNK),
            Major::Mn => (rows / CHUNK, K),
        };
        for r in 0..outer {
            for c in 0..inner {
                let address = descriptor.chunk(major, r as u64, c as u64);
                let shared = &mut self.block.shared;
                shared.check(address, 16, false)?;
                shared.history.read_chunk(address, self.read, &mut self.found)?;
                self.chunks.push(address as u32);
                let mut values = [0.0; CHUNK];
                for (pair, &word) in values.chunks_exact_mut(2).zip(shared.words_at(address, 4)) {
                    (pair[0], pair[1]) = (convert(word & 0xffff), convert(word >> 16));
                }
                place(r, c, values);
            }
        }
        Ok(())
    }
}

/// The value of a register, which must be the same in all lanes of all warps.
fn uniform(warps: &[Warp], reg: u16, what: &'static str) -> Result<u64, (usize, Box<Raised>)> {
    let value = warps[0].get64(reg)[0];
    for (w, warp) in warps.iter().enumerate() {
        if let Some(lane) = warp.get64(reg).iter().position(|&v| v != value) {
            return raise(lane, FaultKind::NotUniform(what)).map_err(|raised| (w, raised));
        }
    }
    Ok(value)
}

/// Executes `wgmma.mma_async` for the four warps of a warpgroup, all of which are at it. An error comes with the warp's
/// number within the group.
pub fn multiply(op: &Wgmma, warps: &mut [Warp], block: &mut Block<'_>) -> Result<(), (usize, Box<Raised>)> {
    let first = |kind: FaultKind| -> (usize, Box<Raised>) {
        let raised = Raised { lane: 0, kind };
        (0, Box::new(raised))
    };
    let (a, b) = (
        uniform(warps, op.a, "the descriptor of A")?,
        uniform(warps, op.b, "the descriptor of B")?,
    );
    let adds: Vec<u32> = warps
        .iter()
        .map(|w| w.predicates[usize::from(op.add)] ^ op.flip)
        .collect();
    if adds.iter().any(|&mask| mask != adds[0] || (mask != 0 && mask != FULL)) {
        return Err(first(FaultKind::NotUniform("whether D is added to")));
    }
    let warp = warps[0].index;
    let order = &mut block.shared.history.order;
    let agent = order.group(warp);
    let clock = order.advance(agent);
    for (w, warp) in warps.iter_mut().enumerate() {
        warp.start_product(op, clock).map_err(|raised| (w, raised))?;
    }
    let columns = 2 * op.d.len();
    let mut left = vec![[[0.0; 32]; K]; 2 * GROUP];
    let mut right = vec![[[0.0; 8]; K]; columns / 4];
    let mut reader = Reader {
        block,
        read: GroupRead { warp, clock },
        half: op.half,
        found: Found::default(),
        chunks: Vec::with_capacity(2 * (ROWS + columns)),
    };
    // Row r belongs to four lanes of half r / 8 % 2 of a warp.
    let left_place = |r: usize, c: usize, values: [f32; CHUNK]| match op.a_major {
        Major::K => {
            for (i, value) in values.into_iter().enumerate() {
                left[r / 8][CHUNK * c + i][4 * (r % 8)..4 * (r % 8) + 4].fill(value);
            }
        }
        Major::Mn => {
            let rows = left[r][c].chunks_exact_mut(4);
            rows.zip(values).for_each(|(lanes, value)| lanes.fill(value));
        }
    };
    reader.operand(a, op.a_major, ROWS, left_place).map_err(first)?;
    // Column c belongs to lane t = c / 2 % 4 of every row, register e = c % 2 of its eight columns.
    let right_place = |r: usize, c: usize, values: [f32; CHUNK]| match op.b_major {
        Major::K => {
            let (column, t) = (&mut right[r / 8 * 2 + r % 2], r / 2 % 4);
            for (row, value) in column[CHUNK * c..CHUNK * (c + 1)].iter_mut().zip(values) {
                (row[t], row[t + 4]) = (value, value);
            }
        }
        Major::Mn => {
            for (i, value) in values.into_iter().enumerate() {
                let row = &mut right[2 * r + i % 2][c];
                (row[i / 2], row[i / 2 + 4]) = (value, value);
            }
        }
    };
    reader.operand(b, op.b_major, columns, right_place).map_err(first)?;
    let (read, chunks) = (reader.read, reader.chunks);
    block.shared.history.keep_reading(read, chunks);
    for (w, warp) in warps.iter_mut().enumerate() {
        if adds[0] == 0 {
            op.d.iter().for_each(|&reg| warp.r32[usize::from(reg)] = [0; 32]);
        }
        for h in 0..2 {
            warpgroup_product(&left[2 * w + h], &right, &op.d, h, &mut warp.r32);
        }
        warp.pc += 1;
    }
    Ok(())
}

/// Where a register of D stands in its warp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulator {
    /// No fence came since another instruction touched it.
    Unfenced,
    Ready,
    /// Being computed since this time of the warpgroup's clock, as part of a product with this first register and count.
    InFlight {
        clock: u32,
        first: u16,
        count: u16,
    },
}

/// A warp's part in products under way.
#[derive(Debug, Default)]
pub struct Products {
    /// By 32-bit register; empty before the first use.
    accumulators: Vec<Accumulator>,
    /// The time of the last product that belongs to no group yet.
    open: Option<u32>,
    /// The times of groups under way, oldest first.
    groups: Vec<u32>,
    last: u32,
}

impl Products {
    /// Forgets what the last block left.
    pub fn clear(&mut self) {
        self.accumulators.fill(Accumulator::Unfenced);
        self.open = None;
        self.groups.clear();
    }
}

impl Warp {
    /// Another instruction reads or writes accumulators.
    #[cold]
    pub fn touch(&mut self, regs: &[u16], mask: u32) -> Run<()> {
        for &reg in regs {
            // Nothing is computed before the first fence.
            let Some(state) = self.products.accumulators.get_mut(usize::from(reg)) else {
                return Ok(());
            };
            if let Accumulator::InFlight { .. } = state {
                return raise(mask.trailing_zeros() as usize, FaultKind::AccumulatorInFlight);
            }
            *state = Accumulator::Unfenced;
        }
        Ok(())
    }

    fn start_product(&mut self, op: &Wgmma, clock: u32) -> Run<()> {
        let (first, count) = (op.d[0], op.d.len() as u16);
        let now = Accumulator::InFlight { clock, first, count };
        for &reg in &op.d {
            match self.products.accumulators.get(usize::from(reg)) {
                None | Some(Accumulator::Unfenced) => return raise(0, FaultKind::WgmmaFence),
                Some(Accumulator::InFlight { first: f, count: c, .. }) if (*f, *c) != (first, count) => {
                    // Only products of one shape are ordered among each other.
                    return raise(0, FaultKind::AccumulatorInFlight);
                }
                _ => self.products.accumulators[usize::from(reg)] = now,
            }
        }
        (self.products.open, self.products.last) = (Some(clock), clock);
        Ok(())
    }

    /// `wgmma.fence`
    pub fn fence_products(&mut self) {
        let registers = self.r32.len();
        self.products.accumulators.resize(registers, Accumulator::Unfenced);
        for state in &mut self.products.accumulators {
            if *state == Accumulator::Unfenced {
                *state = Accumulator::Ready;
            }
        }
    }

    /// `wgmma.commit_group`
    pub fn commit_products(&mut self) {
        let products = &mut self.products;
        products.groups.push(products.open.take().unwrap_or(products.last));
    }

    /// `wgmma.wait_group`: the older groups are done.
    pub fn wait_products(&mut self, pending: u32, block: &mut Block<'_>) {
        let groups = &mut self.products.groups;
        let over = groups.len().saturating_sub(pending as usize);
        let Some(done) = groups.drain(..over).next_back() else {
            return;
        };
        for state in &mut self.products.accumulators {
            if matches!(state, Accumulator::InFlight { clock, .. } if *clock <= done) {
                *state = Accumulator::Ready;
            }
        }
        let order = &mut block.shared.history.order;
        order.done(self.index, order.group(self.index), done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_have_their_fields() {
        let bits = 1 << 62 | 64 << 32 | 0x200 << 16 | 0x0402;
        let decoded = Descriptor::decode(bits).unwrap();
        let expected = Descriptor {
            start: 0x4020,
            leading: 0x2000,
            stride: 1024,
        };
        assert_eq!(decoded, expected);
        // Row 9, second half of k: line 1 of the second atom; chunk 2 + 1 = 3 of the line becomes 3 ^ 1.
        assert_eq!(decoded.chunk(Major::K, 9, 1), 0x4000 + 1024 + 128 + 2 * 16);
        assert!(Descriptor::decode(0).is_err());
    }
}
