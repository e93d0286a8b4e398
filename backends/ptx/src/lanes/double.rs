//! Double-precision instructions; registers hold the bits.

use super::{map1, map2, table};

fn f(x: u64) -> f64 {
    f64::from_bits(x)
}

fn min(a: u64, b: u64) -> u64 {
    if f(a) == f(b) { a | b } else { f(a).min(f(b)).to_bits() }
}

fn max(a: u64, b: u64) -> u64 {
    if f(a) == f(b) { a & b } else { f(a).max(f(b)).to_bits() }
}

table! {
    /// One operand.
    Unary, map1, (a: u64) -> u64 {
        "neg.f64" => Negate |a: u64| a ^ (1 << 63);
        "abs.f64" => Absolute |a: u64| a & !(1 << 63);
        "sqrt.rn.f64" => SquareRoot |a| f(a).sqrt().to_bits();
        "rcp.rn.f64" => Reciprocal |a| (1.0 / f(a)).to_bits();
        "rsqrt.approx.f64" => ReciprocalRoot |a| (1.0 / f(a).sqrt()).to_bits();
    }
}

table! {
    /// Two operands.
    Binary, map2, (a: u64, b: u64) -> u64 {
        "add.f64" | "add.rn.f64" => Add |a, b| (f(a) + f(b)).to_bits();
        "sub.f64" | "sub.rn.f64" => Subtract |a, b| (f(a) - f(b)).to_bits();
        "mul.f64" | "mul.rn.f64" => Multiply |a, b| (f(a) * f(b)).to_bits();
        "div.rn.f64" => Divide |a, b| (f(a) / f(b)).to_bits();
        "min.f64" => Min min;
        "max.f64" => Max max;
        "copysign.f64" => CopySign |a: u64, b: u64| (a & (1 << 63)) | (b & !(1 << 63));
    }
}
