//! f16 and bf16 arithmetic, one value per register or two (`x2`).
//!
//! Sums and products are computed in single precision and rounded once more, which is exact rounding: 24 bits are at least
//! twice the type's precision plus two. Fused products go through a double rounded to odd, for the same reason.

use super::{map1, map2, map3, single, table};
use half::f16;

/// bf16 bits to single.
pub fn from_bf16(x: u32) -> f32 {
    f32::from_bits(x << 16)
}

/// Single to the nearest bf16, ties to even, NaN to the canonical one.
pub fn to_bf16(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1))) >> 16;
    if x.is_nan() { 0x7fff } else { rounded }
}

/// f16 bits to single.
pub fn from_f16(x: u32) -> f32 {
    f16::from_bits(x as u16).to_f32()
}

/// Single to the nearest f16, ties to even, NaN to the canonical one.
pub fn to_f16(x: f32) -> u32 {
    if x.is_nan() {
        0x7fff
    } else {
        u32::from(f16::from_f32(x).to_bits())
    }
}

/// `a * b + c` in double, rounded to odd, then narrowed by `narrow`.
fn fused(a: f32, b: f32, c: f32) -> f64 {
    // Exact: the operands have at most 11 bits.
    let product = f64::from(a) * f64::from(b);
    let addend = f64::from(c);
    let sum = product + addend;
    if !sum.is_finite() {
        return sum;
    }
    let other = sum - product;
    let error = (product - (sum - other)) + (addend - other);
    if error == 0.0 || sum.to_bits() & 1 == 1 {
        return sum;
    }
    // Inexact and even: the neighbour in the direction of the error is odd.
    let up = (error > 0.0) == (sum > 0.0);
    f64::from_bits(if up { sum.to_bits() + 1 } else { sum.to_bits() - 1 })
}

/// A double rounded to odd is narrowed to single to odd as well, so that the last rounding sees what was lost.
fn narrow_odd(x: f64) -> f32 {
    let nearest = x as f32;
    if !nearest.is_finite() || f64::from(nearest) == x || nearest.to_bits() & 1 == 1 {
        return nearest;
    }
    let up = f64::from(nearest).abs() < x.abs();
    f32::from_bits(if up {
        nearest.to_bits() + 1
    } else {
        nearest.to_bits().saturating_sub(1)
    })
}

fn fma_bf16(a: u32, b: u32, c: u32) -> u32 {
    to_bf16(narrow_odd(fused(from_bf16(a), from_bf16(b), from_bf16(c))))
}

fn fma_f16(a: u32, b: u32, c: u32) -> u32 {
    to_f16(narrow_odd(fused(from_f16(a), from_f16(b), from_f16(c))))
}

#[inline(always)]
fn bf(a: u32, b: u32, f: impl Fn(f32, f32) -> f32) -> u32 {
    to_bf16(f(from_bf16(a), from_bf16(b)))
}

#[inline(always)]
fn hf(a: u32, b: u32, f: impl Fn(f32, f32) -> f32) -> u32 {
    to_f16(f(from_f16(a), from_f16(b)))
}

#[inline(always)]
fn both(a: u32, b: u32, f: impl Fn(u32, u32) -> u32) -> u32 {
    f(a & 0xffff, b & 0xffff) | (f(a >> 16, b >> 16) << 16)
}

#[inline(always)]
fn both3(a: u32, b: u32, c: u32, f: impl Fn(u32, u32, u32) -> u32) -> u32 {
    f(a & 0xffff, b & 0xffff, c & 0xffff) | (f(a >> 16, b >> 16, c >> 16) << 16)
}

fn min(a: f32, b: f32) -> f32 {
    f32::from_bits(single::min(a.to_bits(), b.to_bits()))
}

fn max(a: f32, b: f32) -> f32 {
    f32::from_bits(single::max(a.to_bits(), b.to_bits()))
}

table! {
    /// One operand.
    Unary, map1, (a: u32) -> u32 {
        "neg.bf16" | "neg.f16" => Negate |a: u32| a ^ 0x8000;
        "neg.bf16x2" | "neg.f16x2" => NegateBoth |a: u32| a ^ 0x8000_8000;
        "abs.bf16" | "abs.f16" => Absolute |a: u32| a & 0x7fff;
        "abs.bf16x2" | "abs.f16x2" => AbsoluteBoth |a: u32| a & 0x7fff_7fff;
        "ex2.approx.ftz.bf16" => Exp2Bf16 |a| to_bf16(from_bf16(a).exp2());
        "ex2.approx.f16" => Exp2F16 |a| to_f16(from_f16(a).exp2());
        "tanh.approx.bf16" => TanhBf16 |a| to_bf16(from_bf16(a).tanh());
        "tanh.approx.f16" => TanhF16 |a| to_f16(from_f16(a).tanh());
    }
}

table! {
    /// Two operands.
    Binary, map2, (a: u32, b: u32) -> u32 {
        "add.bf16" | "add.rn.bf16" => AddBf16 |a, b| bf(a, b, |a, b| a + b);
        "sub.bf16" | "sub.rn.bf16" => SubtractBf16 |a, b| bf(a, b, |a, b| a - b);
        "mul.bf16" | "mul.rn.bf16" => MultiplyBf16 |a, b| bf(a, b, |a, b| a * b);
        "min.bf16" => MinBf16 |a, b| bf(a, b, min);
        "max.bf16" => MaxBf16 |a, b| bf(a, b, max);
        "add.f16" | "add.rn.f16" => AddF16 |a, b| hf(a, b, |a, b| a + b);
        "sub.f16" | "sub.rn.f16" => SubtractF16 |a, b| hf(a, b, |a, b| a - b);
        "mul.f16" | "mul.rn.f16" => MultiplyF16 |a, b| hf(a, b, |a, b| a * b);
        "min.f16" => MinF16 |a, b| hf(a, b, min);
        "max.f16" => MaxF16 |a, b| hf(a, b, max);
        "add.bf16x2" | "add.rn.bf16x2" => AddBf16x2 |a, b| both(a, b, |a, b| bf(a, b, |a, b| a + b));
        "sub.bf16x2" | "sub.rn.bf16x2" => SubtractBf16x2 |a, b| both(a, b, |a, b| bf(a, b, |a, b| a - b));
        "mul.bf16x2" | "mul.rn.bf16x2" => MultiplyBf16x2 |a, b| both(a, b, |a, b| bf(a, b, |a, b| a * b));
        "min.bf16x2" => MinBf16x2 |a, b| both(a, b, |a, b| bf(a, b, min));
        "max.bf16x2" => MaxBf16x2 |a, b| both(a, b, |a, b| bf(a, b, max));
        "add.f16x2" | "add.rn.f16x2" => AddF16x2 |a, b| both(a, b, |a, b| hf(a, b, |a, b| a + b));
        "sub.f16x2" | "sub.rn.f16x2" => SubtractF16x2 |a, b| both(a, b, |a, b| hf(a, b, |a, b| a - b));
        "mul.f16x2" | "mul.rn.f16x2" => MultiplyF16x2 |a, b| both(a, b, |a, b| hf(a, b, |a, b| a * b));
        "min.f16x2" => MinF16x2 |a, b| both(a, b, |a, b| hf(a, b, min));
        "max.f16x2" => MaxF16x2 |a, b| both(a, b, |a, b| hf(a, b, max));
    }
}

table! {
    /// Three operands.
    Ternary, map3, (a: u32, b: u32, c: u32) -> u32 {
        "fma.rn.bf16" => FusedBf16 fma_bf16;
        "fma.rn.f16" => FusedF16 fma_f16;
        "fma.rn.bf16x2" => FusedBf16x2 |a, b, c| both3(a, b, c, fma_bf16);
        "fma.rn.f16x2" => FusedF16x2 |a, b, c| both3(a, b, c, fma_f16);
    }
}
