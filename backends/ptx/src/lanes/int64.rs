//! Integer instructions with 64-bit registers.

use super::{map1, map2, map3, table};

fn multiply_high(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> 64) as u64
}

fn multiply_high_signed(a: u64, b: u64) -> u64 {
    ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64
}

fn high_bit(x: u64) -> u32 {
    if x == 0 { u32::MAX } else { 63 - x.leading_zeros() }
}

fn field(a: u64, pos: u32, len: u32) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    let shifted = a.checked_shr(pos).unwrap_or(0);
    if len > 63 { shifted } else { shifted & ((1 << len) - 1) }
}

/// Above the field, and where it reaches beyond the source, stand copies of its highest bit within the source.
fn signed_field(a: u64, pos: u32, len: u32) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    let sign = (a as i64) >> (pos + len).saturating_sub(1).min(63) & 1;
    let valid = len.min(64u32.saturating_sub(pos));
    match len {
        0 => 0,
        _ => field(a, pos, len) | (sign.wrapping_neg() as u64).checked_shl(valid).unwrap_or(0),
    }
}

table! {
    /// One operand.
    Unary, map1, (a: u64) -> u64 {
        "mov.b64" | "mov.u64" | "mov.s64" | "mov.f64" => Move |a| a;
        "not.b64" => Not |a: u64| !a;
        "neg.s64" => Negate |a: u64| a.wrapping_neg();
        "abs.s64" => Absolute |a: u64| (a as i64).wrapping_abs() as u64;
        "brev.b64" => ReverseBits |a: u64| a.reverse_bits();
    }
}

table! {
    /// One 64-bit operand, a 32-bit result.
    Count, map1, (a: u64) -> u32 {
        "popc.b64" => Ones |a: u64| a.count_ones();
        "clz.b64" => LeadingZeros |a: u64| a.leading_zeros();
        "bfind.u64" => HighBit high_bit;
        "bfind.s64" => HighBitSigned |a| high_bit(if (a as i64) < 0 { !a } else { a });
        "low32" => Low |a: u64| a as u32;
        "high32" => High |a: u64| (a >> 32) as u32;
    }
}

table! {
    /// Two operands.
    Binary, map2, (a: u64, b: u64) -> u64 {
        "add.u64" | "add.s64" => Add |a: u64, b| a.wrapping_add(b);
        "sub.u64" | "sub.s64" => Subtract |a: u64, b| a.wrapping_sub(b);
        "mul.lo.u64" | "mul.lo.s64" => Multiply |a: u64, b| a.wrapping_mul(b);
        "mul.hi.u64" => MultiplyHighUnsigned multiply_high;
        "mul.hi.s64" => MultiplyHigh multiply_high_signed;
        "div.u64" => DivideUnsigned |a: u64, b| a.checked_div(b).unwrap_or(u64::MAX);
        "div.s64" => Divide |a: u64, b: u64| if b == 0 { u64::MAX } else { (a as i64).wrapping_div(b as i64) as u64 };
        "rem.u64" => RemainderUnsigned |a: u64, b| a.checked_rem(b).unwrap_or(u64::MAX);
        "rem.s64" => Remainder |a: u64, b: u64| if b == 0 { u64::MAX } else { (a as i64).wrapping_rem(b as i64) as u64 };
        "min.u64" => MinUnsigned |a: u64, b| a.min(b);
        "min.s64" => Min |a: u64, b: u64| (a as i64).min(b as i64) as u64;
        "max.u64" => MaxUnsigned |a: u64, b| a.max(b);
        "max.s64" => Max |a: u64, b: u64| (a as i64).max(b as i64) as u64;
        "and.b64" => And |a: u64, b: u64| a & b;
        "or.b64" => Or |a: u64, b: u64| a | b;
        "xor.b64" => Xor |a: u64, b: u64| a ^ b;
    }
}

table! {
    /// Three operands.
    Ternary, map3, (a: u64, b: u64, c: u64) -> u64 {
        "mad.lo.u64" | "mad.lo.s64" => LowAdd |a: u64, b: u64, c| a.wrapping_mul(b).wrapping_add(c);
        "mad.hi.u64" => HighAddUnsigned |a, b, c| multiply_high(a, b).wrapping_add(c);
        "mad.hi.s64" => HighAdd |a, b, c| multiply_high_signed(a, b).wrapping_add(c);
    }
}

table! {
    /// A 64-bit operand and a 32-bit amount.
    Shift, map2, (a: u64, b: u32) -> u64 {
        "shl.b64" => Left |a: u64, n: u32| if n > 63 { 0 } else { a << (n & 63) };
        "shr.u64" | "shr.b64" => RightUnsigned |a: u64, n: u32| if n > 63 { 0 } else { a >> (n & 63) };
        "shr.s64" => Right |a: u64, n: u32| ((a as i64) >> n.min(63)) as u64;
    }
}

table! {
    /// Two 32-bit operands, a 64-bit result.
    Widening, map2, (a: u32, b: u32) -> u64 {
        "mul.wide.u32" => MultiplyUnsigned |a: u32, b: u32| u64::from(a) * u64::from(b);
        "mul.wide.s32" => Multiply |a: u32, b: u32| (i64::from(a as i32) * i64::from(b as i32)) as u64;
        "pack32x2" => Pack |lo: u32, hi: u32| u64::from(lo) | (u64::from(hi) << 32);
    }
}

table! {
    /// Two 32-bit operands, a 64-bit addend and result.
    WideningAdd, map3, (a: u32, b: u32, c: u64) -> u64 {
        "mad.wide.u32" => MultiplyUnsigned |a: u32, b: u32, c| (u64::from(a) * u64::from(b)).wrapping_add(c);
        "mad.wide.s32" => Multiply
            |a: u32, b: u32, c| ((i64::from(a as i32) * i64::from(b as i32)) as u64).wrapping_add(c);
    }
}

table! {
    /// A 64-bit operand with position and length.
    Extract, map3, (a: u64, pos: u32, len: u32) -> u64 {
        "bfe.u64" => Unsigned field;
        "bfe.s64" => Signed signed_field;
    }
}

/// `bfi.b64`: the low `len` bits of `a` put into `b` at `pos`.
pub fn insert_bits(a: u64, b: u64, pos: u32, len: u32) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    if pos > 63 || len == 0 {
        return b;
    }
    let ones = if len > 63 { u64::MAX } else { (1 << len) - 1 };
    let field = ones << pos;
    (b & !field) | ((a << pos) & field)
}
