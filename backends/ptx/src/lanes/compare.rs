//! `setp`: comparisons to predicates.

use super::half::{from_bf16, from_f16};
use super::{Lanes, map1, mask2};
use std::cmp::Ordering;

/// A comparison operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// Both are numbers.
    Num,
    /// Either is NaN.
    Nan,
    /// The comparison holds or either is NaN.
    EqOrNan,
    NeOrNan,
    LtOrNan,
    LeOrNan,
    GtOrNan,
    GeOrNan,
}

impl Compare {
    /// `eq`, `ltu`, `lo`, ...
    pub fn named(text: &str) -> Option<Self> {
        Some(match text {
            "eq" => Self::Eq,
            "ne" => Self::Ne,
            "lt" | "lo" => Self::Lt,
            "le" | "ls" => Self::Le,
            "gt" | "hi" => Self::Gt,
            "ge" | "hs" => Self::Ge,
            "num" => Self::Num,
            "nan" => Self::Nan,
            "equ" => Self::EqOrNan,
            "neu" => Self::NeOrNan,
            "ltu" => Self::LtOrNan,
            "leu" => Self::LeOrNan,
            "gtu" => Self::GtOrNan,
            "geu" => Self::GeOrNan,
            _ => return None,
        })
    }

    /// With NaN, `ne` is false and `neu` true.
    fn masks<T: Copy + PartialOrd>(self, a: &Lanes<T>, b: &Lanes<T>) -> u32 {
        let nan = |a: T, b: T| a.partial_cmp(&b).is_none();
        match self {
            Self::Eq => mask2(a, b, |a, b| a == b),
            Self::Ne => mask2(a, b, |a, b| a.partial_cmp(&b).is_some_and(Ordering::is_ne)),
            Self::Lt => mask2(a, b, |a, b| a < b),
            Self::Le => mask2(a, b, |a, b| a <= b),
            Self::Gt => mask2(a, b, |a, b| a > b),
            Self::Ge => mask2(a, b, |a, b| a >= b),
            Self::Num => mask2(a, b, |a, b| !nan(a, b)),
            Self::Nan => mask2(a, b, nan),
            Self::EqOrNan => mask2(a, b, |a, b| a == b || nan(a, b)),
            Self::NeOrNan => mask2(a, b, |a, b| a != b),
            Self::LtOrNan => mask2(a, b, |a, b| a < b || nan(a, b)),
            Self::LeOrNan => mask2(a, b, |a, b| a <= b || nan(a, b)),
            Self::GtOrNan => mask2(a, b, |a, b| a > b || nan(a, b)),
            Self::GeOrNan => mask2(a, b, |a, b| a >= b || nan(a, b)),
        }
    }
}

/// The type compared, in a register of up to 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type32 {
    U16,
    S16,
    U32,
    S32,
    F16,
    Bf16,
    F32,
}

impl Type32 {
    /// `b16`, `s32`, `f32`, ...
    pub fn named(text: &str) -> Option<Self> {
        Some(match text {
            "b16" | "u16" => Self::U16,
            "s16" => Self::S16,
            "b32" | "u32" => Self::U32,
            "s32" => Self::S32,
            "f16" => Self::F16,
            "bf16" => Self::Bf16,
            "f32" => Self::F32,
            _ => return None,
        })
    }

    /// Compares all lanes.
    pub fn compare(self, by: Compare, a: &Lanes<u32>, b: &Lanes<u32>) -> u32 {
        match self {
            Self::U16 => by.masks(&map1(a, |x| x as u16), &map1(b, |x| x as u16)),
            Self::S16 => by.masks(&map1(a, |x| x as i16), &map1(b, |x| x as i16)),
            Self::U32 => by.masks(a, b),
            Self::S32 => by.masks(&map1(a, |x| x as i32), &map1(b, |x| x as i32)),
            Self::F16 => by.masks(&map1(a, from_f16), &map1(b, from_f16)),
            Self::Bf16 => by.masks(&map1(a, from_bf16), &map1(b, from_bf16)),
            Self::F32 => by.masks(&map1(a, f32::from_bits), &map1(b, f32::from_bits)),
        }
    }
}

/// The type compared, in a 64-bit register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type64 {
    U64,
    S64,
    F64,
}

impl Type64 {
    /// `b64`, `u64`, `s64`, `f64`.
    pub fn named(text: &str) -> Option<Self> {
        Some(match text {
            "b64" | "u64" => Self::U64,
            "s64" => Self::S64,
            "f64" => Self::F64,
            _ => return None,
        })
    }

    /// Compares all lanes.
    pub fn compare(self, by: Compare, a: &Lanes<u64>, b: &Lanes<u64>) -> u32 {
        match self {
            Self::U64 => by.masks(a, b),
            Self::S64 => by.masks(&map1(a, |x| x as i64), &map1(b, |x| x as i64)),
            Self::F64 => by.masks(&map1(a, f64::from_bits), &map1(b, f64::from_bits)),
        }
    }
}

/// `testp.*.f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    Finite,
    Infinite,
    Number,
    NotANumber,
    Normal,
    Subnormal,
}

impl Test {
    /// `finite`, `infinite`, `number`, `notanumber`, `normal`, `subnormal`.
    pub fn named(text: &str) -> Option<Self> {
        Some(match text {
            "finite" => Self::Finite,
            "infinite" => Self::Infinite,
            "number" => Self::Number,
            "notanumber" => Self::NotANumber,
            "normal" => Self::Normal,
            "subnormal" => Self::Subnormal,
            _ => return None,
        })
    }

    /// Whether it holds of `x`.
    pub fn holds(self, x: f32) -> bool {
        match self {
            Self::Finite => x.is_finite(),
            Self::Infinite => x.is_infinite(),
            Self::Number => !x.is_nan(),
            Self::NotANumber => x.is_nan(),
            Self::Normal => x.is_normal(),
            Self::Subnormal => x.is_subnormal(),
        }
    }
}
