//! Single-precision instructions; registers hold the bits.
//!
//! NaN results of additions, products and fused products keep the host's payload; minima, maxima and conversions to half
//! types give the canonical NaN.

use super::{map1, map2, map3, table};

/// The NaN that PTX instructions make.
pub const NAN: u32 = 0x7fff_ffff;

fn f(x: u32) -> f32 {
    f32::from_bits(x)
}

/// Subnormals become zero of the same sign.
fn flush(x: u32) -> u32 {
    if x & 0x7f80_0000 == 0 { x & 0x8000_0000 } else { x }
}

fn flushed(x: u32) -> f32 {
    f(flush(x))
}

/// `min.f32`: the number if the other is NaN, -0 below +0.
pub fn min(a: u32, b: u32) -> u32 {
    match (f(a).is_nan(), f(b).is_nan()) {
        (true, true) => NAN,
        (true, false) => b,
        (false, true) => a,
        _ if f(a) == f(b) => a | b,
        _ => f(a).min(f(b)).to_bits(),
    }
}

/// `max.f32`: the number if the other is NaN, -0 below +0.
pub fn max(a: u32, b: u32) -> u32 {
    match (f(a).is_nan(), f(b).is_nan()) {
        (true, true) => NAN,
        (true, false) => b,
        (false, true) => a,
        _ if f(a) == f(b) => a & b,
        _ => f(a).max(f(b)).to_bits(),
    }
}

fn propagate(a: u32, b: u32, value: u32) -> u32 {
    if f(a).is_nan() || f(b).is_nan() { NAN } else { value }
}

fn rsqrt(x: f32) -> u32 {
    ((1.0 / f64::from(x).sqrt()) as f32).to_bits()
}

table! {
    /// One operand.
    Unary, map1, (a: u32) -> u32 {
        "neg.f32" => Negate |a: u32| a ^ 0x8000_0000;
        "abs.f32" => Absolute |a: u32| a & 0x7fff_ffff;
        "sqrt.rn.f32" | "sqrt.approx.f32" => SquareRoot |a| f(a).sqrt().to_bits();
        "sqrt.approx.ftz.f32" | "sqrt.rn.ftz.f32" => SquareRootFlushed |a| flush(flushed(a).sqrt().to_bits());
        "rcp.rn.f32" | "rcp.approx.f32" => Reciprocal |a| (1.0 / f(a)).to_bits();
        "rcp.approx.ftz.f32" | "rcp.rn.ftz.f32" => ReciprocalFlushed |a| flush((1.0 / flushed(a)).to_bits());
        "rsqrt.approx.f32" => ReciprocalRoot |a| rsqrt(f(a));
        "rsqrt.approx.ftz.f32" => ReciprocalRootFlushed |a| flush(rsqrt(flushed(a)));
        "ex2.approx.f32" => Exp2 |a| f(a).exp2().to_bits();
        "ex2.approx.ftz.f32" => Exp2Flushed |a| flush(flushed(a).exp2().to_bits());
        "lg2.approx.f32" => Log2 |a| f(a).log2().to_bits();
        "lg2.approx.ftz.f32" => Log2Flushed |a| flush(flushed(a).log2().to_bits());
        "sin.approx.f32" | "sin.approx.ftz.f32" => Sine |a| f(a).sin().to_bits();
        "cos.approx.f32" | "cos.approx.ftz.f32" => Cosine |a| f(a).cos().to_bits();
        "tanh.approx.f32" => Tanh |a| f(a).tanh().to_bits();
    }
}

table! {
    /// Two operands.
    Binary, map2, (a: u32, b: u32) -> u32 {
        "add.f32" | "add.rn.f32" => Add |a, b| (f(a) + f(b)).to_bits();
        "sub.f32" | "sub.rn.f32" => Subtract |a, b| (f(a) - f(b)).to_bits();
        "mul.f32" | "mul.rn.f32" => Multiply |a, b| (f(a) * f(b)).to_bits();
        "add.ftz.f32" | "add.rn.ftz.f32" => AddFlushed |a, b| flush((flushed(a) + flushed(b)).to_bits());
        "sub.ftz.f32" | "sub.rn.ftz.f32" => SubtractFlushed |a, b| flush((flushed(a) - flushed(b)).to_bits());
        "mul.ftz.f32" | "mul.rn.ftz.f32" => MultiplyFlushed |a, b| flush((flushed(a) * flushed(b)).to_bits());
        "div.rn.f32" | "div.approx.f32" | "div.full.f32" => Divide |a, b| (f(a) / f(b)).to_bits();
        "div.approx.ftz.f32" | "div.full.ftz.f32" | "div.rn.ftz.f32" => DivideFlushed
            |a, b| flush((flushed(a) / flushed(b)).to_bits());
        "min.f32" => Min min;
        "max.f32" => Max max;
        "min.NaN.f32" => MinNan |a, b| propagate(a, b, min(a, b));
        "max.NaN.f32" => MaxNan |a, b| propagate(a, b, max(a, b));
        // The sign of the first operand on the magnitude of the second.
        "copysign.f32" => CopySign |a: u32, b: u32| (a & 0x8000_0000) | (b & 0x7fff_ffff);
    }
}

table! {
    /// Three operands; the fused ones are in [`crate::fused`].
    Ternary, map3, (a: u32, b: u32, c: u32) -> u32 {
        "fma.rn.ftz.f32" => FusedFlushed |a, b, c| flush(flushed(a).mul_add(flushed(b), flushed(c)).to_bits());
        "slct.f32.f32" | "slct.b32.f32" => SelectNonNegative |a, b, c| if f(c) >= 0.0 { a } else { b };
    }
}
