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
use crate::fused::{Left, Right, Sums, product};
use crate::lanes::half::{from_bf16, from_f16};
use crate::lanes::{Lanes, WARP};
use crate::op::{Address, Matrix, Reg, Shape};
use crate::race::Place;
use crate::syntax::Space;

/// An 8x8 matrix of 16-bit elements, two in each word, by row: word `j` of row `i` is lane `4i + j`'s fragment.
type Tile = [[u32; 4]; 8];

impl Warp {
    /// Executes an instruction on fragments; all lanes must be here.
    pub fn matrix(&mut self, op: &Matrix, mask: u32, block: &mut Block<'_>) -> Run<()> {
        if mask != FULL {
            let lane = (!mask).trailing_zeros() as usize;
            return raise(
                lane,
                FaultKind::NotConverged {
                    required: FULL,
                    active: mask,
                },
            );
        }
        match op {
            Matrix::Load {
                count,
                transposed,
                regs,
                address,
                space,
            } => {
                let rows = self.row_addresses(address, *space)?;
                for (m, &reg) in regs[..usize::from(*count)].iter().enumerate() {
                    let tile = self.load_tile(&rows[8 * m..8 * m + 8], 8 * m, block)?;
                    self.set_tile(reg, &tile, *transposed);
                }
            }
            Matrix::Store {
                count,
                transposed,
                regs,
                address,
                space,
            } => {
                let rows = self.row_addresses(address, *space)?;
                block.shared.history.at = self.pc;
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

    /// Reads 8 rows of 16 bytes, whose addresses lanes `first` to `first + 7` give. A row counts as read by several lanes.
    fn load_tile(&self, rows: &[u64], first: usize, block: &mut Block<'_>) -> Run<Tile> {
        let mut tile = [[0; 4]; 8];
        for (i, (&address, row)) in rows.iter().zip(&mut tile).enumerate() {
            let words = block.shared.read_words(address, 4, Place::together(self.index));
            row.copy_from_slice(words.or_else(|kind| raise(first + i, kind))?);
        }
        Ok(tile)
    }

    /// Writes them; lane `4i + j` writes word `j` of row `i`.
    fn store_tile(&self, rows: &[u64], first: usize, tile: &Tile, block: &mut Block<'_>) -> Run<()> {
        for (i, (&address, row)) in rows.iter().zip(tile).enumerate() {
            block
                .shared
                .check(address, 16, true)
                .or_else(|kind| raise(first + i, kind))?;
            for (j, &word) in row.iter().enumerate() {
                let (lane, address) = (4 * i + j, address + 4 * j as u64);
                let stored = block.shared.write_words(address, &[word], self.place(lane));
                stored.or_else(|kind| raise(lane, kind))?;
            }
        }
        Ok(())
    }

    fn set_tile(&mut self, reg: Reg, tile: &Tile, transposed: bool) {
        let to = &mut self.r32[usize::from(reg)];
        *to = flat(&if transposed { transpose(tile) } else { *tile });
    }

    fn tile(&self, reg: Reg, transposed: bool) -> Tile {
        let mut tile = [[0; 4]; 8];
        tile.iter_mut()
            .zip(self.get32(reg).chunks_exact(4))
            .for_each(|(row, words)| row.copy_from_slice(words));
        if transposed { transpose(&tile) } else { tile }
    }

    fn multiply(&mut self, shape: Shape, d: &[Reg; 4], a: &[Reg; 4], b: &[Reg; 2], c: &[Reg; 4]) {
        let a = a.map(|reg| *self.get32(reg));
        let b = b.map(|reg| *self.get32(reg));
        let mut sums = gather_sums(c.map(|reg| self.get32(reg)));
        match shape {
            Shape::Bf16K16 => product::<16>(&left16(&a, bf16), &right16(&b, bf16), &mut sums),
            Shape::F16K16 => product::<16>(&left16(&a, f16), &right16(&b, f16), &mut sums),
            Shape::Bf16K8 => product::<8>(&left16(&a, bf16), &right16(&b, bf16), &mut sums),
            Shape::F16K8 => product::<8>(&left16(&a, f16), &right16(&b, f16), &mut sums),
            Shape::Tf32K8 => product::<8>(&left_tf32(&a), &right_tf32(&b), &mut sums),
            Shape::Tf32K4 => product::<4>(&left_tf32(&a), &right_tf32(&b), &mut sums),
        }
        for (r, &reg) in d.iter().enumerate() {
            let to = &mut self.r32[usize::from(reg)];
            for g in 0..8 {
                for t in 0..4 {
                    to[4 * g + t] = sums[g + 8 * (r / 2)][2 * t + r % 2].to_bits();
                }
            }
        }
    }
}

fn flat(tile: &Tile) -> Lanes<u32> {
    let mut out = [0; WARP];
    out.chunks_exact_mut(4)
        .zip(tile)
        .for_each(|(words, row)| words.copy_from_slice(row));
    out
}

fn transpose(tile: &Tile) -> Tile {
    let element = |row: usize, column: usize| tile[row][column / 2] >> (16 * (column % 2)) & 0xffff;
    let mut out = [[0; 4]; 8];
    for (i, row) in out.iter_mut().enumerate() {
        for (j, word) in row.iter_mut().enumerate() {
            *word = element(2 * j, i) | element(2 * j + 1, i) << 16;
        }
    }
    out
}

fn bf16(word: u32) -> [f32; 2] {
    [from_bf16(word & 0xffff), from_bf16(word >> 16)]
}

fn f16(word: u32) -> [f32; 2] {
    [from_f16(word & 0xffff), from_f16(word >> 16)]
}

/// The hardware ignores the low 13 bits.
fn tf32(word: u32) -> f32 {
    f32::from_bits(word & !0x1fff)
}

/// A of 16-bit fragments. Shapes of a smaller inner size use the first columns; what fills the others is not read.
#[inline(always)]
fn left16(a: &[Lanes<u32>; 4], values: impl Fn(u32) -> [f32; 2]) -> Left {
    let mut left = [[0.0; 16]; 16];
    for (r, words) in a.iter().enumerate() {
        for g in 0..8 {
            for t in 0..4 {
                let at = 2 * t + 8 * (r / 2);
                left[g + 8 * (r % 2)][at..at + 2].copy_from_slice(&values(words[4 * g + t]));
            }
        }
    }
    left
}

/// B of 16-bit fragments.
#[inline(always)]
fn right16(b: &[Lanes<u32>; 2], values: impl Fn(u32) -> [f32; 2]) -> Right {
    let mut right = [[0.0; 8]; 16];
    for (r, words) in b.iter().enumerate() {
        for g in 0..8 {
            for t in 0..4 {
                let [lo, hi] = values(words[4 * g + t]);
                right[2 * t + 8 * r][g] = lo;
                right[2 * t + 8 * r + 1][g] = hi;
            }
        }
    }
    right
}

fn left_tf32(a: &[Lanes<u32>; 4]) -> Left {
    let mut left = [[0.0; 16]; 16];
    for (r, words) in a.iter().enumerate() {
        for g in 0..8 {
            for t in 0..4 {
                left[g + 8 * (r % 2)][t + 4 * (r / 2)] = tf32(words[4 * g + t]);
            }
        }
    }
    left
}

fn right_tf32(b: &[Lanes<u32>; 2]) -> Right {
    let mut right = [[0.0; 8]; 16];
    for (r, words) in b.iter().enumerate() {
        for g in 0..8 {
            for t in 0..4 {
                right[t + 4 * r][g] = tf32(words[4 * g + t]);
            }
        }
    }
    right
}

fn gather_sums(c: [&Lanes<u32>; 4]) -> Sums {
    let mut sums = [[0.0; 8]; 16];
    for (r, words) in c.iter().enumerate() {
        for g in 0..8 {
            for t in 0..4 {
                sums[g + 8 * (r / 2)][2 * t + r % 2] = f32::from_bits(words[4 * g + t]);
            }
        }
    }
    sums
}
