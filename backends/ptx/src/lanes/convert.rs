//! `cvt`: between integers, between floats, and across.

use super::{Lanes, map1, map2, single, table};
use crate::lanes::half::{from_bf16, from_f16, to_bf16, to_f16};

fn f(x: u32) -> f32 {
    f32::from_bits(x)
}

fn d(x: u64) -> f64 {
    f64::from_bits(x)
}

/// Nearest tf32 (10 bits of mantissa), ties away from zero; the low 13 bits are zero.
fn to_tf32(x: u32) -> u32 {
    if f(x).is_finite() {
        x.wrapping_add(0x1000) & !0x1fff
    } else {
        x & !0x1fff
    }
}

fn saturate(x: f32) -> f32 {
    if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) }
}

table! {
    /// 32-bit registers to 32-bit registers.
    Narrow, map1, (a: u32) -> u32 {
        "zext8" => Zext8 |a: u32| a & 0xff;
        "zext16" => Zext16 |a: u32| a & 0xffff;
        "sext8" => Sext8 |a| i32::from(a as i8) as u32;
        "sext8to16" => Sext8To16 |a| u32::from(i16::from(a as i8) as u16);
        "sext16" => Sext16 |a| i32::from(a as i16) as u32;
        "move32" => Move |a| a;
        "cvt.f32.bf16" => SingleFromBf16 |a| from_bf16(a).to_bits();
        "cvt.f32.f16" => SingleFromF16 |a| from_f16(a).to_bits();
        "cvt.rn.bf16.f32" => Bf16FromSingle |a| to_bf16(f(a));
        "cvt.rz.bf16.f32" => Bf16FromSingleTowardsZero |a| if f(a).is_nan() { 0x7fff } else { a >> 16 };
        "cvt.rn.f16.f32" => F16FromSingle |a| to_f16(f(a));
        "cvt.rna.tf32.f32" => Tf32FromSingle to_tf32;
        "cvt.rzi.f32.f32" => Truncate |a| f(a).trunc().to_bits();
        "cvt.rni.f32.f32" => RoundEven |a| f(a).round_ties_even().to_bits();
        "cvt.rmi.f32.f32" => Floor |a| f(a).floor().to_bits();
        "cvt.rpi.f32.f32" => Ceiling |a| f(a).ceil().to_bits();
        "cvt.sat.f32.f32" => Saturate |a| saturate(f(a)).to_bits();
    }
}

table! {
    /// 32-bit registers to 64-bit registers.
    Widen, map1, (a: u32) -> u64 {
        "zext8" => Zext8 |a: u32| u64::from(a as u8);
        "zext16" => Zext16 |a: u32| u64::from(a as u16);
        "zext32" => Zext32 |a: u32| u64::from(a);
        "sext8" => Sext8 |a| i64::from(a as i8) as u64;
        "sext16" => Sext16 |a| i64::from(a as i16) as u64;
        "sext32" => Sext32 |a| i64::from(a as i32) as u64;
        "cvt.f64.f32" => DoubleFromSingle |a| f64::from(f(a)).to_bits();
        "cvt.f64.f16" => DoubleFromF16 |a| f64::from(from_f16(a)).to_bits();
        "cvt.f64.bf16" => DoubleFromBf16 |a| f64::from(from_bf16(a)).to_bits();
    }
}

table! {
    /// 64-bit registers to 32-bit registers.
    Shorten, map1, (a: u64) -> u32 {
        "zext8" => Zext8 |a: u64| u32::from(a as u8);
        "zext16" => Zext16 |a: u64| u32::from(a as u16);
        "zext32" => Low |a: u64| a as u32;
        "sext8" => Sext8 |a| i32::from(a as i8) as u32;
        "sext16" => Sext16 |a| i32::from(a as i16) as u32;
        "cvt.rn.f32.f64" => SingleFromDouble |a| {
            if d(a).is_nan() { single::NAN } else { (d(a) as f32).to_bits() }
        };
    }
}

table! {
    /// 64-bit registers to 64-bit registers.
    Wide, map1, (a: u64) -> u64 {
        "zext8" => Zext8 |a: u64| u64::from(a as u8);
        "zext16" => Zext16 |a: u64| u64::from(a as u16);
        "zext32" => Zext32 |a: u64| u64::from(a as u32);
        "sext8" => Sext8 |a| i64::from(a as i8) as u64;
        "sext16" => Sext16 |a| i64::from(a as i16) as u64;
        "sext32" => Sext32 |a| i64::from(a as i32) as u64;
        "move64" => Move |a| a;
        "cvt.rzi.f64.f64" => Truncate |a| d(a).trunc().to_bits();
        "cvt.rni.f64.f64" => RoundEven |a| d(a).round_ties_even().to_bits();
        "cvt.rmi.f64.f64" => Floor |a| d(a).floor().to_bits();
        "cvt.rpi.f64.f64" => Ceiling |a| d(a).ceil().to_bits();
    }
}

table! {
    /// Two singles to a pair; the first goes to the upper half.
    Pair, map2, (a: u32, b: u32) -> u32 {
        "cvt.rn.bf16x2.f32" => Bf16x2 |a, b| (to_bf16(f(a)) << 16) | to_bf16(f(b));
        "cvt.rn.f16x2.f32" => F16x2 |a, b| (to_f16(f(a)) << 16) | to_f16(f(b));
        "cvt.rn.relu.bf16x2.f32" => Bf16x2Relu |a, b| {
            let relu = |x: f32| if x.is_nan() { x } else { x.max(0.0) };
            (to_bf16(relu(f(a))) << 16) | to_bf16(relu(f(b)))
        };
    }
}

/// An integer type of `cvt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Integer {
    /// 8, 16, 32 or 64.
    pub bits: u32,
    pub signed: bool,
}

impl Integer {
    /// `s32`, `u8`, ...
    pub fn named(text: &str) -> Option<Self> {
        let signed = match text.as_bytes().first()? {
            b's' => true,
            b'u' | b'b' => false,
            _ => return None,
        };
        let bits = text[1..].parse().ok().filter(|b| [8, 16, 32, 64].contains(b))?;
        Some(Self { bits, signed })
    }

    /// The name of the extension that turns a value of this type, in the low bits of a register, into a register.
    pub fn extension(self) -> String {
        format!("{}ext{}", if self.signed { "s" } else { "z" }, self.bits)
    }
}

/// A floating-point type of `cvt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Float {
    Half,
    Brain,
    Single,
    Double,
}

impl Float {
    /// `f16`, `bf16`, `f32`, `f64`.
    pub fn named(text: &str) -> Option<Self> {
        Some(match text {
            "f16" => Self::Half,
            "bf16" => Self::Brain,
            "f32" => Self::Single,
            "f64" => Self::Double,
            _ => return None,
        })
    }
}

/// How a float becomes an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    Nearest,
    Zero,
    Down,
    Up,
}

impl Rounding {
    /// `rni`, `rzi`, `rmi`, `rpi`.
    pub fn named(text: &str) -> Option<Self> {
        Some(match text {
            "rni" => Self::Nearest,
            "rzi" => Self::Zero,
            "rmi" => Self::Down,
            "rpi" => Self::Up,
            _ => return None,
        })
    }
}

/// Floats, as the bits their registers hold, to integers: saturated; NaN gives 0, or the top bit where the source is a
/// double or the result has 64 bits.
pub fn float_to_int(a: &Lanes<u64>, from: Float, round: Rounding, to: Integer) -> Lanes<u64> {
    let values = match from {
        Float::Half => map1(a, |x| f64::from(from_f16(x as u32))),
        Float::Brain => map1(a, |x| f64::from(from_bf16(x as u32))),
        Float::Single => map1(a, |x| f64::from(f(x as u32))),
        Float::Double => map1(a, d),
    };
    let whole = match round {
        Rounding::Nearest => map1(&values, f64::round_ties_even),
        Rounding::Zero => map1(&values, f64::trunc),
        Rounding::Down => map1(&values, f64::floor),
        Rounding::Up => map1(&values, f64::ceil),
    };
    let nan = if from == Float::Double || to.bits == 64 {
        1 << (to.bits - 1)
    } else {
        0
    };
    map1(&whole, |x| {
        if x.is_nan() {
            return nan;
        }
        match (to.bits, to.signed) {
            (8, true) => u64::from(x as i8 as u16),
            (8, false) => u64::from(x as u8),
            (16, true) => u64::from(x as i16 as u16),
            (16, false) => u64::from(x as u16),
            (32, true) => u64::from(x as i32 as u32),
            (32, false) => u64::from(x as u32),
            (_, true) => x as i64 as u64,
            (_, false) => x as u64,
        }
    })
}

/// Integers to the nearest float, as the bits its register holds.
pub fn int_to_float(a: &Lanes<u64>, from: Integer, to: Float) -> Lanes<u64> {
    let spare = 64 - from.bits;
    if from.signed {
        let values = map1(a, |x| ((x << spare) as i64) >> spare);
        match to {
            Float::Single => map1(&values, |x| u64::from((x as f32).to_bits())),
            Float::Double => map1(&values, |x| (x as f64).to_bits()),
            Float::Half => map1(&values, |x| u64::from(to_f16(x as f32))),
            Float::Brain => map1(&values, |x| u64::from(to_bf16(x as f32))),
        }
    } else {
        let values = map1(a, |x| (x << spare) >> spare);
        match to {
            Float::Single => map1(&values, |x| u64::from((x as f32).to_bits())),
            Float::Double => map1(&values, |x| (x as f64).to_bits()),
            Float::Half => map1(&values, |x| u64::from(to_f16(x as f32))),
            Float::Brain => map1(&values, |x| u64::from(to_bf16(x as f32))),
        }
    }
}
