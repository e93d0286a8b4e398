//! Lane-wise instructions on a warp's registers.

use super::warp::Warp;
use crate::fused::{fma_f32, fma_f64};
use crate::lanes::convert::{Float, float_to_int, int_to_float};
use crate::lanes::int32::{self, lop3};
use crate::lanes::int64;
use crate::lanes::{Lanes, WARP, map1, map3};
use crate::op::{Carry, Lane, Reg};

impl Warp {
    /// Executes a lane-wise instruction in the lanes of `mask`.
    #[inline(always)]
    pub fn lane(&mut self, op: &Lane, mask: u32) {
        // `to32: a32 b64` computes into a 32-bit register from a 32-bit and a 64-bit one.
        macro_rules! run {
            ($set:ident, $op:expr, [$to:expr, $($get:ident $from:expr),+]) => {{
                let value = $op.apply($(self.$get(*$from)),+);
                self.$set(*$to, mask, &value);
            }};
        }
        match op {
            Lane::Int1(f, [d, a]) => run!(set32, f, [d, get32 a]),
            Lane::Int2(f, [d, a, b]) => run!(set32, f, [d, get32 a, get32 b]),
            Lane::Int3(f, [d, a, b, c]) => run!(set32, f, [d, get32 a, get32 b, get32 c]),
            Lane::Long1(f, [d, a]) => run!(set64, f, [d, get64 a]),
            Lane::Long2(f, [d, a, b]) => run!(set64, f, [d, get64 a, get64 b]),
            Lane::Long3(f, [d, a, b, c]) => run!(set64, f, [d, get64 a, get64 b, get64 c]),
            Lane::Count(f, [d, a]) => run!(set32, f, [d, get64 a]),
            Lane::Shift(f, [d, a, b]) => run!(set64, f, [d, get64 a, get32 b]),
            Lane::Widening(f, [d, a, b]) => run!(set64, f, [d, get32 a, get32 b]),
            Lane::WideningAdd(f, [d, a, b, c]) => run!(set64, f, [d, get32 a, get32 b, get64 c]),
            Lane::Extract(f, [d, a, b, c]) => run!(set64, f, [d, get64 a, get32 b, get32 c]),
            Lane::Single1(f, [d, a]) => run!(set32, f, [d, get32 a]),
            Lane::Single2(f, [d, a, b]) => run!(set32, f, [d, get32 a, get32 b]),
            Lane::Single3(f, [d, a, b, c]) => run!(set32, f, [d, get32 a, get32 b, get32 c]),
            Lane::Double1(f, [d, a]) => run!(set64, f, [d, get64 a]),
            Lane::Double2(f, [d, a, b]) => run!(set64, f, [d, get64 a, get64 b]),
            Lane::Half1(f, [d, a]) => run!(set32, f, [d, get32 a]),
            Lane::Half2(f, [d, a, b]) => run!(set32, f, [d, get32 a, get32 b]),
            Lane::Half3(f, [d, a, b, c]) => run!(set32, f, [d, get32 a, get32 b, get32 c]),
            Lane::Narrow(f, [d, a]) => run!(set32, f, [d, get32 a]),
            Lane::Widen(f, [d, a]) => run!(set64, f, [d, get32 a]),
            Lane::Shorten(f, [d, a]) => run!(set32, f, [d, get64 a]),
            Lane::Wide(f, [d, a]) => run!(set64, f, [d, get64 a]),
            Lane::Pair(f, [d, a, b]) => run!(set32, f, [d, get32 a, get32 b]),
            Lane::FusedSingle([d, a, b, c]) => {
                let value = fma_f32(self.get32(*a), self.get32(*b), self.get32(*c));
                self.set32(*d, mask, &value);
            }
            Lane::FusedDouble([d, a, b, c]) => {
                let value = fma_f64(self.get64(*a), self.get64(*b), self.get64(*c));
                self.set64(*d, mask, &value);
            }
            Lane::InsertBits([d, a, b, pos, len]) => {
                let (a, b) = (self.get32(*a), self.get32(*b));
                let (pos, len) = (self.get32(*pos), self.get32(*len));
                let value = std::array::from_fn(|i| int32::insert_bits(a[i], b[i], pos[i], len[i]));
                self.set32(*d, mask, &value);
            }
            Lane::InsertBitsLong([d, a, b, pos, len]) => {
                let (a, b) = (self.get64(*a), self.get64(*b));
                let (pos, len) = (self.get32(*pos), self.get32(*len));
                let value = std::array::from_fn(|i| int64::insert_bits(a[i], b[i], pos[i], len[i]));
                self.set64(*d, mask, &value);
            }
            Lane::Carry(carry) => self.add_with_carry(carry, mask),
            Lane::Lop3([d, a, b, c], table) => {
                let value = map3(self.get32(*a), self.get32(*b), self.get32(*c), |a, b, c| {
                    lop3(a, b, c, *table)
                });
                self.set32(*d, mask, &value);
            }
            Lane::FloatToInt {
                from,
                round,
                to,
                regs: [d, a],
            } => {
                let value = float_to_int(&self.bits(*a, *from == Float::Double), *from, *round, *to);
                self.set_bits(*d, to.bits == 64, mask, &value);
            }
            Lane::IntToFloat { from, to, regs: [d, a] } => {
                let value = int_to_float(&self.bits(*a, from.bits == 64), *from, *to);
                self.set_bits(*d, *to == Float::Double, mask, &value);
            }
        }
    }

    fn add_with_carry(&mut self, op: &Carry, mask: u32) {
        let [d, a, b] = op.regs;
        let (a, b) = (self.bits(a, op.wide), self.bits(b, op.wide));
        let (mut value, mut carries) = ([0; WARP], 0);
        for lane in 0..WARP {
            let carry = op.takes && self.carry >> lane & 1 == 1;
            let (sum, one) = match op.subtract {
                true => a[lane].overflowing_sub(b[lane]),
                false => a[lane].overflowing_add(b[lane]),
            };
            let (sum, two) = match op.subtract {
                true => sum.overflowing_sub(u64::from(carry)),
                false => sum.overflowing_add(u64::from(carry)),
            };
            // The carry of 32 bits, or the borrow's sign, stands above them.
            let carried = if op.wide { one || two } else { sum >> 32 != 0 };
            carries |= u32::from(carried) << lane;
            value[lane] = sum;
        }
        self.set_bits(d, op.wide, mask, &value);
        if op.leaves {
            self.carry = (self.carry & !mask) | (carries & mask);
        }
    }

    fn bits(&self, reg: Reg, wide: bool) -> Lanes<u64> {
        if wide {
            *self.get64(reg)
        } else {
            map1(self.get32(reg), u64::from)
        }
    }

    fn set_bits(&mut self, reg: Reg, wide: bool, mask: u32, value: &Lanes<u64>) {
        if wide {
            self.set64(reg, mask, value);
        } else {
            self.set32(reg, mask, &map1(value, |x| x as u32));
        }
    }
}
