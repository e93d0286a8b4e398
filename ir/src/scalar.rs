//! Element types and scalar functions, shared by tensor IR and kernel IR.

use crate::ops::Example;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    F32,
    F64,
    I32,
    /// Half the bytes of f32, with its exponent: only how numbers lie in memory. Loads from it give f32, stores to it take
    /// f32 and round to nearest, ties to even.
    Bf16,
}

impl DType {
    pub fn bytes(self) -> usize {
        match self {
            DType::Bf16 => 2,
            DType::F32 | DType::I32 => 4,
            DType::F64 => 8,
        }
    }
    /// The type of a number of this type once it is loaded.
    pub fn loaded(self) -> DType {
        if self == DType::Bf16 { DType::F32 } else { self }
    }
    pub fn is_float(self) -> bool {
        self != DType::I32
    }
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I32 => "i32",
            DType::Bf16 => "bf16",
        }
    }
    pub fn parse(s: &str) -> Option<DType> {
        [DType::F32, DType::F64, DType::I32, DType::Bf16]
            .into_iter()
            .find(|d| d.name() == s)
    }
}

/// An f64 attribute, compared and hashed by its bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Float(u64);

impl Float {
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
    pub fn bits(self) -> u64 {
        self.0
    }
}
impl From<f64> for Float {
    fn from(v: f64) -> Float {
        Float(v.to_bits())
    }
}
impl std::fmt::Debug for Float {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{:?}", self.get())
    }
}
impl Serialize for Float {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(self.get())
    }
}
impl<'de> Deserialize<'de> for Float {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Float, D::Error> {
        f64::deserialize(d).map(Float::from)
    }
}

macro_rules! functions {
    ($(#[$doc:meta])* $ty:ident { $($var:ident $name:literal)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $ty { $($var),* }
        impl $ty {
            pub const ALL: &'static [$ty] = &[$($ty::$var),*];
            pub fn name(self) -> &'static str {
                match self { $($ty::$var => $name),* }
            }
            pub fn parse(s: &str) -> Option<$ty> {
                Self::ALL.iter().copied().find(|f| f.name() == s)
            }
        }
    };
}

functions! {
    /// Functions of one value. All but `Neg`, `Abs` and `Not` are on floats; `Not` is on i32 truth values.
    Unary {
        Neg "neg"
        Abs "abs"
        Exp "exp"
        Log "log"
        Sqrt "sqrt"
        Rsqrt "rsqrt"
        Erf "erf"
        Tanh "tanh"
        Not "not"
    }
}

functions! {
    /// Functions of two values of one dtype. Comparisons give i32 0 or 1; `And` and `Or` are on i32 truth values;
    /// `Div` is on floats and `FloorDiv` on i32 (rounding down; a divisor below 1 counts as 1).
    Binary {
        Add "add"
        Sub "sub"
        Mul "mul"
        Div "div"
        FloorDiv "floor_div"
        Max "max"
        Min "min"
        Less "less"
        LessEq "less_eq"
        Equal "equal"
        And "and"
        Or "or"
    }
}

impl Unary {
    /// What a model author reads of it.
    pub fn about(self) -> &'static str {
        match self {
            Unary::Neg => "-x; written `-x`.",
            Unary::Abs => "The absolute value of x.",
            Unary::Exp => "e to the power of x.",
            Unary::Log => "The natural logarithm of x.",
            Unary::Sqrt => "The square root of x.",
            Unary::Rsqrt => "1 / sqrt(x).",
            Unary::Erf => "The error function: 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x.",
            Unary::Tanh => "The hyperbolic tangent of x.",
            Unary::Not => "1 where x is 0, else 0; x is i32.",
        }
    }
    /// A statement that uses it.
    pub fn example(self) -> Example {
        let inputs: &[_] = if self == Unary::Not {
            &[("x", "i32[B, T]")]
        } else {
            &[("x", "f32[B, T]")]
        };
        let body = match self {
            Unary::Neg => "y = neg(x)",
            Unary::Abs => "y = abs(x)",
            Unary::Exp => "y = exp(x)",
            Unary::Log => "y = log(x)",
            Unary::Sqrt => "y = sqrt(x)",
            Unary::Rsqrt => "y = rsqrt(x)",
            Unary::Erf => "y = erf(x)",
            Unary::Tanh => "y = tanh(x)",
            Unary::Not => "y = not(x)",
        };
        Example { inputs, body }
    }
    pub fn eval(self, x: f64) -> f64 {
        match self {
            Unary::Neg => -x,
            Unary::Abs => x.abs(),
            Unary::Exp => x.exp(),
            Unary::Log => x.ln(),
            Unary::Sqrt => x.sqrt(),
            Unary::Rsqrt => 1.0 / x.sqrt(),
            Unary::Erf => erf(x),
            Unary::Tanh => x.tanh(),
            Unary::Not => (x == 0.0) as i64 as f64,
        }
    }
}

impl Binary {
    /// What a model author reads of it.
    pub fn about(self) -> &'static str {
        match self {
            Binary::Add => "a + b.",
            Binary::Sub => "a - b.",
            Binary::Mul => "a * b.",
            Binary::Div => "a / b, on floats.",
            Binary::FloorDiv => "a / b rounded down, on i32. A divisor below 1 counts as 1.",
            Binary::Max => "The larger of a and b.",
            Binary::Min => "The smaller of a and b.",
            Binary::Less => "i32: 1 where a < b, else 0.",
            Binary::LessEq => "i32: 1 where a <= b, else 0.",
            Binary::Equal => "i32: 1 where a = b, else 0.",
            Binary::And => "1 where both are not 0, else 0, on i32.",
            Binary::Or => "1 where one is not 0, else 0, on i32.",
        }
    }
    /// A statement that uses it.
    pub fn example(self) -> Example {
        let inputs: &[_] = match self {
            Binary::FloorDiv | Binary::And | Binary::Or => &[("a", "i32[B, T]"), ("b", "i32[T]")],
            _ => &[("a", "f32[B, T]"), ("b", "f32[T]")],
        };
        let body = match self {
            Binary::Add => "y = a + b",
            Binary::Sub => "y = a - b",
            Binary::Mul => "y = a * b",
            Binary::Div => "y = a / b",
            Binary::FloorDiv => "y = floor_div(a, b)",
            Binary::Max => "y = max(a, b)",
            Binary::Min => "y = min(a, b)",
            Binary::Less => "y = less(a, b)",
            Binary::LessEq => "y = less_eq(a, b)",
            Binary::Equal => "y = equal(a, b)",
            Binary::And => "y = and(a, b)",
            Binary::Or => "y = or(a, b)",
        };
        Example { inputs, body }
    }
    pub fn is_comparison(self) -> bool {
        matches!(self, Binary::Less | Binary::LessEq | Binary::Equal)
    }
    /// NaN in either operand of `Max` or `Min` gives NaN: a NaN must be seen, not lost.
    pub fn eval(self, a: f64, b: f64) -> f64 {
        let truth = |t: bool| t as i64 as f64;
        match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::FloorDiv => (a / b.max(1.0)).floor(),
            Binary::Max => {
                if a.is_nan() || a > b {
                    a
                } else {
                    b
                }
            }
            Binary::Min => {
                if a.is_nan() || a < b {
                    a
                } else {
                    b
                }
            }
            Binary::Less => truth(a < b),
            Binary::LessEq => truth(a <= b),
            Binary::Equal => truth(a == b),
            Binary::And => truth(a != 0.0 && b != 0.0),
            Binary::Or => truth(a != 0.0 || b != 0.0),
        }
    }
}

/// Error function to fp64 accuracy (relative error below 1e-14): Maclaurin series for |x| < 2.5, else the continued
/// fraction of erfc (Abramowitz & Stegun 7.1.5 and 7.1.14).
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() {
        return x;
    }
    if a < 2.5 {
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term.abs() > 1e-18 * sum.abs() {
            n += 1.0;
            term *= -a * a / n;
            sum += term / (2.0 * n + 1.0);
            if n > 100.0 {
                break;
            }
        }
        return (sum * std::f64::consts::FRAC_2_SQRT_PI).copysign(x);
    }
    if a > 6.0 {
        return 1f64.copysign(x);
    }
    let mut f = a;
    for k in (1..=60).rev() {
        f = a + (k as f64 / 2.0) / f;
    }
    let erfc = (-a * a).exp() / (f * std::f64::consts::PI.sqrt());
    (1.0 - erfc).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn erf_known_values() {
        // Abramowitz & Stegun, table 7.1
        for (x, want) in [
            (0.1, 0.1124629160182849),
            (0.5, 0.5204998778130465),
            (1.0, 0.8427007929497149),
            (2.0, 0.9953222650189527),
            (3.0, 0.9999779095030014),
        ] {
            assert!((erf(x) - want).abs() < 1e-14, "{x}: {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
    }
}
