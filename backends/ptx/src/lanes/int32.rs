//! Integer instructions on registers of up to 32 bits.

use super::{map1, map2, map3, table};

/// Keeps a 16-bit register's upper half zero.
fn low16(x: u32) -> u32 {
    x & 0xffff
}

fn signed16(x: u32) -> i32 {
    i32::from(x as i16)
}

/// Division by zero gives all ones, and so does its remainder, as recorded on a GPU.
fn divide_u32(a: u32, b: u32) -> u32 {
    a.checked_div(b).unwrap_or(u32::MAX)
}

fn divide_s32(a: u32, b: u32) -> u32 {
    if b == 0 {
        u32::MAX
    } else {
        (a as i32).wrapping_div(b as i32) as u32
    }
}

fn remainder_u32(a: u32, b: u32) -> u32 {
    a.checked_rem(b).unwrap_or(u32::MAX)
}

fn remainder_s32(a: u32, b: u32) -> u32 {
    if b == 0 {
        u32::MAX
    } else {
        (a as i32).wrapping_rem(b as i32) as u32
    }
}

fn bfe_u32(a: u32, pos: u32, len: u32) -> u32 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    let shifted = a.checked_shr(pos).unwrap_or(0);
    if len >= 32 { shifted } else { shifted & ((1 << len) - 1) }
}

fn bfe_s32(a: u32, pos: u32, len: u32) -> u32 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    if len == 0 {
        return 0;
    }
    let sign = (a >> (pos + len - 1).min(31)) & 1;
    let field = bfe_u32(a, pos, len);
    // Bits of the field beyond bit 31 of the source, and all above the field, are copies of the sign.
    let valid = len.min(32u32.saturating_sub(pos));
    if sign == 1 && valid < 32 {
        field | (u32::MAX << valid)
    } else {
        field
    }
}

/// `prmt.b32` in its default mode.
fn prmt(a: u32, b: u32, selector: u32) -> u32 {
    let pool = (u64::from(b) << 32) | u64::from(a);
    let mut out = 0;
    for byte in 0..4 {
        let select = (selector >> (4 * byte)) & 0xf;
        let mut value = (pool >> (8 * (select & 7))) as u8;
        if select & 8 != 0 {
            value = ((value as i8) >> 7) as u8;
        }
        out |= u32::from(value) << (8 * byte);
    }
    out
}

fn funnel(lo: u32, hi: u32) -> u64 {
    (u64::from(hi) << 32) | u64::from(lo)
}

fn high_bit(x: u32) -> u32 {
    if x == 0 { u32::MAX } else { 31 - x.leading_zeros() }
}

table! {
    /// One operand.
    Unary, map1, (a: u32) -> u32 {
        "mov.b32" | "mov.u32" | "mov.s32" | "mov.f32" | "mov.b16" | "mov.u16" | "mov.s16" | "mov.f16" | "mov.bf16"
            | "mov.b8" => Move |a| a;
        "not.b32" => Not |a: u32| !a;
        "not.b16" => Not16 |a: u32| low16(!a);
        "cnot.b32" => LogicalNot |a: u32| u32::from(a == 0);
        "neg.s32" => Negate |a: u32| a.wrapping_neg();
        "neg.s16" => Negate16 |a: u32| low16(a.wrapping_neg());
        "abs.s32" => Absolute |a: u32| (a as i32).wrapping_abs() as u32;
        "abs.s16" => Absolute16 |a| low16(signed16(a).wrapping_abs() as u32);
        "popc.b32" => CountOnes |a: u32| a.count_ones();
        "clz.b32" => CountLeadingZeros |a: u32| a.leading_zeros();
        "brev.b32" => ReverseBits |a: u32| a.reverse_bits();
        "bfind.u32" => HighBit high_bit;
        "bfind.s32" => HighBitSigned |a| high_bit(if (a as i32) < 0 { !a } else { a });
    }
}

table! {
    /// Two operands.
    Binary, map2, (a: u32, b: u32) -> u32 {
        "add.u32" | "add.s32" => Add |a: u32, b| a.wrapping_add(b);
        "sub.u32" | "sub.s32" => Subtract |a: u32, b| a.wrapping_sub(b);
        "mul.lo.u32" | "mul.lo.s32" => Multiply |a: u32, b| a.wrapping_mul(b);
        "mul.hi.u32" => MultiplyHighUnsigned |a: u32, b: u32| ((u64::from(a) * u64::from(b)) >> 32) as u32;
        "mul.hi.s32" => MultiplyHigh |a: u32, b: u32| ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32;
        "mul24.lo.u32" => Multiply24 |a: u32, b: u32| (a & 0xff_ffff).wrapping_mul(b & 0xff_ffff);
        "mul.wide.u16" => MultiplyWide16Unsigned |a, b| low16(a) * low16(b);
        "mul.wide.s16" => MultiplyWide16 |a, b| (signed16(a) * signed16(b)) as u32;
        "div.u32" => DivideUnsigned divide_u32;
        "div.s32" => Divide divide_s32;
        "rem.u32" => RemainderUnsigned remainder_u32;
        "rem.s32" => Remainder remainder_s32;
        "min.u32" => MinUnsigned |a: u32, b| a.min(b);
        "min.s32" => Min |a: u32, b: u32| (a as i32).min(b as i32) as u32;
        "max.u32" => MaxUnsigned |a: u32, b| a.max(b);
        "min.relu.s32" => MinRelu |a: u32, b: u32| (a as i32).min(b as i32).max(0) as u32;
        "max.relu.s32" => MaxRelu |a: u32, b: u32| (a as i32).max(b as i32).max(0) as u32;
        "max.s32" => Max |a: u32, b: u32| (a as i32).max(b as i32) as u32;
        "and.b32" | "and.b16" => And |a: u32, b: u32| a & b;
        "or.b32" | "or.b16" => Or |a: u32, b: u32| a | b;
        "xor.b32" | "xor.b16" => Xor |a: u32, b: u32| a ^ b;
        "shl.b32" => ShiftLeft |a: u32, n: u32| if n > 31 { 0 } else { a << (n & 31) };
        "shr.u32" | "shr.b32" => ShiftRightUnsigned |a: u32, n: u32| if n > 31 { 0 } else { a >> (n & 31) };
        "shr.s32" => ShiftRight |a: u32, n: u32| ((a as i32) >> n.min(31)) as u32;
        "add.u16" | "add.s16" => Add16 |a: u32, b| low16(a.wrapping_add(b));
        "sub.u16" | "sub.s16" => Subtract16 |a: u32, b| low16(a.wrapping_sub(b));
        "mul.lo.u16" | "mul.lo.s16" => Multiply16 |a: u32, b| low16(a.wrapping_mul(b));
        "mul.hi.u16" => MultiplyHigh16Unsigned |a, b| (low16(a) * low16(b)) >> 16;
        "mul.hi.s16" => MultiplyHigh16 |a, b| low16(((signed16(a) * signed16(b)) >> 16) as u32);
        "div.u16" => Divide16Unsigned |a, b| low16(divide_u32(low16(a), low16(b)));
        "div.s16" => Divide16 |a, b| low16(divide_s32(signed16(a) as u32, signed16(b) as u32));
        "rem.u16" => Remainder16Unsigned |a, b| low16(remainder_u32(low16(a), low16(b)));
        "rem.s16" => Remainder16 |a, b| low16(remainder_s32(signed16(a) as u32, signed16(b) as u32));
        "min.u16" => Min16Unsigned |a, b| low16(a).min(low16(b));
        "min.s16" => Min16 |a, b| low16(signed16(a).min(signed16(b)) as u32);
        "max.u16" => Max16Unsigned |a, b| low16(a).max(low16(b));
        "max.s16" => Max16 |a, b| low16(signed16(a).max(signed16(b)) as u32);
        "shl.b16" => ShiftLeft16 |a: u32, n: u32| if n > 15 { 0 } else { low16(a << n) };
        "shr.u16" | "shr.b16" => ShiftRight16Unsigned |a, n: u32| if n > 15 { 0 } else { low16(a) >> n };
        "shr.s16" => ShiftRight16 |a, n: u32| low16((signed16(a) >> n.min(15)) as u32);
        "bmsk.clamp.b32" => BitMask |pos: u32, len: u32| {
            let ones = if len > 31 { u32::MAX } else { (1 << len) - 1 };
            if pos > 31 { 0 } else { ones << pos }
        };
        "pack16x2" => Pack16 |lo, hi: u32| low16(lo) | (hi << 16);
    }
}

table! {
    /// Three operands.
    Ternary, map3, (a: u32, b: u32, c: u32) -> u32 {
        "mad.lo.u32" | "mad.lo.s32" => MultiplyAdd |a: u32, b: u32, c| a.wrapping_mul(b).wrapping_add(c);
        "mad.hi.u32" => MultiplyHighAddUnsigned
            |a: u32, b: u32, c| (((u64::from(a) * u64::from(b)) >> 32) as u32).wrapping_add(c);
        "mad.hi.s32" => MultiplyHighAdd
            |a: u32, b: u32, c| (((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32).wrapping_add(c);
        "mad.lo.u16" | "mad.lo.s16" => MultiplyAdd16 |a: u32, b: u32, c| low16(a.wrapping_mul(b).wrapping_add(c));
        "mad.wide.u16" => MultiplyAddWide16Unsigned |a, b, c| (low16(a) * low16(b)).wrapping_add(c);
        "mad.wide.s16" => MultiplyAddWide16 |a, b, c| ((signed16(a) * signed16(b)) as u32).wrapping_add(c);
        "sad.u32" => SumAbsoluteUnsigned |a: u32, b: u32, c| a.abs_diff(b).wrapping_add(c);
        "sad.s32" => SumAbsolute |a: u32, b: u32, c| (a as i32).abs_diff(b as i32).wrapping_add(c);
        "bfe.u32" => ExtractUnsigned bfe_u32;
        "bfe.s32" => Extract bfe_s32;
        "prmt.b32" => Permute prmt;
        "shf.l.wrap.b32" => FunnelLeft |lo, hi, n: u32| ((funnel(lo, hi) << (n & 31)) >> 32) as u32;
        "shf.r.wrap.b32" => FunnelRight |lo, hi, n: u32| (funnel(lo, hi) >> (n & 31)) as u32;
        "shf.l.clamp.b32" => FunnelLeftClamp |lo, hi, n: u32| ((funnel(lo, hi) << n.min(32)) >> 32) as u32;
        "shf.r.clamp.b32" => FunnelRightClamp |lo, hi, n: u32| (funnel(lo, hi) >> n.min(32)) as u32;
        "slct.b32.s32" | "slct.u32.s32" | "slct.s32.s32" | "slct.f32.s32" => SelectNonNegative
            |a, b, c| if c as i32 >= 0 { a } else { b };
    }
}

/// `bfi.b32`: the low `len` bits of `a` put into `b` at `pos`.
pub fn insert_bits(a: u32, b: u32, pos: u32, len: u32) -> u32 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    if pos > 31 || len == 0 {
        return b;
    }
    let ones = if len > 31 { u32::MAX } else { (1 << len) - 1 };
    let field = ones << pos;
    (b & !field) | ((a << pos) & field)
}

/// `lop3.b32`: the truth table `lut`, whose bit `4a + 2b + c` is the result.
pub fn lop3(a: u32, b: u32, c: u32, lut: u8) -> u32 {
    (0..8)
        .filter(|row| lut >> row & 1 == 1)
        .map(|row| {
            let pick = |x: u32, bit: u32| if row & bit != 0 { x } else { !x };
            pick(a, 4) & pick(b, 2) & pick(c, 1)
        })
        .fold(0, |out, term| out | term)
}
