//! `ldmatrix`, `stmatrix`, `movmatrix` and `mma`.
//!
//! Fragments are laid out as the PTX ISA's figures and formulas say; with `g = lane / 4` and `t = lane % 4`:
//!
//! | operand | register `r`, half `h` holds |
//! |-|-|
//! | A, 16-bit | row `g + 8 (r % 2)`, column `2t + h + 8 (r / 2)` |
//! | B, 16-bit | row `2t + h + 8r`, column `g` |
//! | A, tf32 | row `g + 8 (r % 2)`, column `t + 4 (r / 2)` |
//! | B, tf32 | row `t + 4r`, column `g` |
//! | C and D | row `g + 8 (r / 2)`, column `2t + r % 2` |
//! | 8x8 matrix | row `g`, column `2t + h` |
//!
//! `mma` adds products, which are exact in single precision, to C one by one in order of k, rounding each sum to nearest
//! even. Tensor cores sum in an order and with a rounding of their own, which is not documented: bits will differ.

use super::block::Block;
use super::memory::resolve;
use super::warp::{FULL, Warp};
use crate::fault::{FaultKind, Run, raise};
use crate::lanes::WARP;
use crate::lanes::half::{from_bf16, from_f16};
use crate::op::{Address, Matrix, Reg, Shape};
use crate::shared::{Place, Touch};
use crate::syntax::Space;

/// An 8x8 matrix of 16-bit elements, by row.
type Tile = [[u16; 8]; 8];

impl Warp {
    /// Executes an instruction on fragments; all lanes must be here.
    pub fn matrix(&mut self, op: &Matrix, mask: u32, block: &mut Block<'_>) -> Run<()> {
        if mask != FULL {
            let lane = (!mask).trailing_zeros() as usize;
            return raise(lane, FaultKind::NotConverged { required: FULL, active: mask });
        }
        match op {
            Matrix::Load { count, transposed, regs, address, space } => {
                let rows = self.row_addresses(address, *space)?;
                for (m, &reg) in regs[..usize::from(*count)].iter().enumerate() {
                    let tile = self.load_tile(&rows[8 * m..8 * m + 8], 8 * m, block)?;
                    self.set_tile(reg, &tile, *transposed);
                }
            }
            Matrix::Store { count, transposed, regs, address, space } => {
                let rows = self.row_addresses(address, *space)?;
                block.shared.at = self.pc;
                for (m, &reg) in regs[..usize::from(*count)].iter().enumerate() {
                    let tile = self.tile(reg, *transposed);
                    self.store_tile(&rows[8 * m..8 * m + 8], 8 * m, &tile, block)?;
                }
            }
            Matrix::Transpose { to, a } => {
                let tile = self.tile(*a, false);
                self.set_tile(*to, &tile, true);
            }
            Matrix::Multiply { shape, d, a, b, c } => self.multiply(*shape, d, a, b, c),
        }
        Ok(())
    }

    /// Lane `8m + i` holds the address of row `i` of matrix `m`.
    fn row_addresses(&self, address: &Address, space: Space) -> Run<[u64; WARP]> {
        let mut rows = self.addresses(address);
        for (lane, row) in rows.iter_mut().enumerate() {
            match resolve(space, *row) {
                (Space::Shared, address) => *row = address,
                _ => return raise(lane, FaultKind::UnsupportedSpace("ldmatrix")),
            }
        }
        Ok(rows)
    }

    /// Reads 8 rows of 16 bytes; row `i` is read by lanes `4i` to `4i + 3`, its address given by lane `first + i`.
    fn load_tile(&self, rows: &[u64], first: usize, block: &mut Block<'_>) -> Run<Tile> {
        let mut tile = [[0; 8]; 8];
        for (i, (&address, row)) in rows.iter().zip(&mut tile).enumerate() {
            let shared = &mut block.shared;
            shared.check(address, 16, false).or_else(|kind| raise(first + i, kind))?;
            for (t, pair) in row.chunks_exact_mut(2).enumerate() {
                let (place, address) = (self.place(4 * i + t), address + 4 * t as u64);
                shared.note_read(address, 4, place, Touch::Plain).or_else(|kind| raise(4 * i + t, kind))?;
                let word = shared.load(address, 4) as u32;
                (pair[0], pair[1]) = (word as u16, (word >> 16) as u16);
            }
        }
        Ok(tile)
    }

    fn store_tile(&self, rows: &[u64], first: usize, tile: &Tile, block: &mut Block<'_>) -> Run<()> {
        for (i, (&address, row)) in rows.iter().zip(tile).enumerate() {
            block.shared.check(address, 16, true).or_else(|kind| raise(first + i, kind))?;
            for (t, pair) in row.chunks_exact(2).enumerate() {
                let place: Place = self.place(4 * i + t);
                let value = u64::from(pair[0]) | u64::from(pair[1]) << 16;
                super::memory::store_shared(block, 4 * i + t, place, address + 4 * t as u64, 4, value)?;
            }
        }
        Ok(())
    }

    fn set_tile(&mut self, reg: Reg, tile: &Tile, transposed: bool) {
        let to = &mut self.r32[usize::from(reg)];
        for (lane, value) in to.iter_mut().enumerate() {
            let (g, t) = (lane / 4, 2 * (lane % 4));
            let (lo, hi) = if transposed { (tile[t][g], tile[t + 1][g]) } else { (tile[g][t], tile[g][t + 1]) };
            *value = u32::from(lo) | u32::from(hi) << 16;
        }
    }

    fn tile(&self, reg: Reg, transposed: bool) -> Tile {
        let mut tile = [[0; 8]; 8];
        for (lane, &value) in self.get32(reg).iter().enumerate() {
            let (g, t) = (lane / 4, 2 * (lane % 4));
            let (lo, hi) = (value as u16, (value >> 16) as u16);
            if transposed {
                (tile[t][g], tile[t + 1][g]) = (lo, hi);
            } else {
                (tile[g][t], tile[g][t + 1]) = (lo, hi);
            }
        }
        tile
    }

    fn multiply(&mut self, shape: Shape, d: &[Reg; 4], a: &[Reg; 4], b: &[Reg; 2], c: &[Reg; 4]) {
        let bf16 = |x: u32, h: usize| from_bf16(x >> (16 * h) & 0xffff);
        let f16 = |x: u32, h: usize| from_f16(x >> (16 * h) & 0xffff);
        let (left, right, depth) = match shape {
            Shape::Bf16K16 => self.gather16(&a[..4], &b[..2], bf16),
            Shape::F16K16 => self.gather16(&a[..4], &b[..2], f16),
            Shape::Bf16K8 => self.gather16(&a[..2], &b[..1], bf16),
            Shape::F16K8 => self.gather16(&a[..2], &b[..1], f16),
            Shape::Tf32K8 => self.gather_tf32(&a[..4], &b[..2]),
            Shape::Tf32K4 => self.gather_tf32(&a[..2], &b[..1]),
        };
        let mut sums = [[0.0; 8]; 16];
        for (r, &reg) in c.iter().enumerate() {
            for (lane, &value) in self.get32(reg).iter().enumerate() {
                sums[lane / 4 + 8 * (r / 2)][2 * (lane % 4) + r % 2] = f32::from_bits(value);
            }
        }
        product(&left, &right, depth, &mut sums);
        for (r, &reg) in d.iter().enumerate() {
            for (lane, value) in self.r32[usize::from(reg)].iter_mut().enumerate() {
                *value = sums[lane / 4 + 8 * (r / 2)][2 * (lane % 4) + r % 2].to_bits();
            }
        }
    }

    /// A by row and B by row of 16-bit fragments, and their inner size.
    #[inline(always)]
    fn gather16(&self, a: &[Reg], b: &[Reg], value: impl Fn(u32, usize) -> f32) -> (Left, Right, usize) {
        let (mut left, mut right) = ([[0.0; 16]; 16], [[0.0; 8]; 16]);
        for (r, &reg) in a.iter().enumerate() {
            for (lane, &x) in self.get32(reg).iter().enumerate() {
                let (row, column) = (lane / 4 + 8 * (r % 2), 2 * (lane % 4) + 8 * (r / 2));
                (left[row][column], left[row][column + 1]) = (value(x, 0), value(x, 1));
            }
        }
        for (r, &reg) in b.iter().enumerate() {
            for (lane, &x) in self.get32(reg).iter().enumerate() {
                let (row, column) = (2 * (lane % 4) + 8 * r, lane / 4);
                (right[row][column], right[row + 1][column]) = (value(x, 0), value(x, 1));
            }
        }
        (left, right, 8 * b.len())
    }

    /// The same of tf32 fragments; the hardware ignores the low 13 bits.
    fn gather_tf32(&self, a: &[Reg], b: &[Reg]) -> (Left, Right, usize) {
        let value = |x: u32| f32::from_bits(x & !0x1fff);
        let (mut left, mut right) = ([[0.0; 16]; 16], [[0.0; 8]; 16]);
        for (r, &reg) in a.iter().enumerate() {
            for (lane, &x) in self.get32(reg).iter().enumerate() {
                left[lane / 4 + 8 * (r % 2)][lane % 4 + 4 * (r / 2)] = value(x);
            }
        }
        for (r, &reg) in b.iter().enumerate() {
            for (lane, &x) in self.get32(reg).iter().enumerate() {
                right[lane % 4 + 4 * r][lane / 4] = value(x);
            }
        }
        (left, right, 4 * b.len())
    }
}

type Left = [[f32; 16]; 16];
type Right = [[f32; 8]; 16];

fn product(left: &Left, right: &Right, depth: usize, sums: &mut [[f32; 8]; 16]) {
    for (sums, left) in sums.iter_mut().zip(left) {
        for (a, row) in left.iter().zip(right).take(depth) {
            for (sum, b) in sums.iter_mut().zip(row) {
                *sum += a * b;
            }
        }
    }
}
