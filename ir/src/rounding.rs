//! Rounding of the operands of a matrix multiplication, and the arithmetic of 8-bit multiplication.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Rounding {
    /// They stay as they are.
    F32,
    Bf16,
    /// Integers of at most 8 bits with scales of their own in every block of the summed axis.
    Int8(Levels),
}

/// How rows of a and columns of b are divided into levels, each block of `block` steps of the summed axis by itself (steps
/// are counted over `k_outer` and `k` as one axis; the last block may be shorter).
///
/// A block of a row becomes `low + scale * q` with q in 0..=`a`, where `low` is its least element and `low + scale * a` its
/// greatest. A block of a column becomes `scale * r` with r in -`b`..=`b`, where `scale * b` is its greatest magnitude. So a
/// block of the sum is `scale_a * scale_b * sum(q r) + low_a * scale_b * sum(r)`, the sums being exact. All of a block that
/// holds an infinity or NaN becomes NaN.
///
/// Every backend computes the same q and r: scales are quotients in f32, and q is the integer nearest to
/// `(x - low) * (a / (greatest - low))`, whose difference and quotient are rounded to f32 and whose product is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Levels {
    pub a: u8,
    pub b: u8,
    /// A multiple of 8.
    pub block: u32,
}

/// Ranges that are smaller count as 0: their reciprocals would overflow.
pub const LEAST_RANGE: f32 = 1e-36;

impl Levels {
    /// For processors without instructions that add up products of bytes in 32 bits: sums of four products fit 16 bits.
    pub const PAIRS: Levels = Levels {
        a: 127,
        b: 64,
        block: 256,
    };
    /// All that a byte holds.
    pub const BYTES: Levels = Levels {
        a: 255,
        b: 127,
        block: 256,
    };

    /// Whether bytes hold the levels and 32 bits the sums of a block.
    pub fn is_valid(self) -> bool {
        let most = (self.a as u64 * self.b as u64).checked_mul(self.block as u64);
        let fits = most.is_some_and(|most| most <= i32::MAX as u64);
        self.a > 0 && (1..=127).contains(&self.b) && self.block > 0 && self.block.is_multiple_of(8) && fits
    }

    /// What a row of a becomes.
    pub fn row(self, x: &[f32]) -> Vec<f64> {
        self.blocks(x, |block| {
            let (low, high) = (least(block), greatest(block));
            let (scale, steps) = scales(high - low, self.a);
            let q = |x: f32| (((x - low) as f64) * steps as f64).round_ties_even();
            block.iter().map(|x| scale as f64 * q(*x) + low as f64).collect()
        })
    }

    /// What a column of b becomes.
    pub fn column(self, x: &[f32]) -> Vec<f64> {
        self.blocks(x, |block| {
            let most = block.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            let (scale, steps) = scales(most, self.b);
            let r = |x: f32| (x as f64 * steps as f64).round_ties_even();
            block.iter().map(|x| scale as f64 * r(*x)).collect()
        })
    }

    fn blocks(self, x: &[f32], round: impl Fn(&[f32]) -> Vec<f64>) -> Vec<f64> {
        let block = |block: &[f32]| {
            if block.iter().all(|x| x.is_finite()) {
                round(block)
            } else {
                vec![f64::NAN; block.len()]
            }
        };
        x.chunks(self.block as usize).flat_map(block).collect()
    }
}

fn least(x: &[f32]) -> f32 {
    x.iter().copied().fold(f32::INFINITY, f32::min)
}

fn greatest(x: &[f32]) -> f32 {
    x.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// The size of a level and how many of them 1 is.
fn scales(range: f32, levels: u8) -> (f32, f32) {
    let steps = if range < LEAST_RANGE {
        0.0
    } else {
        levels as f32 / range
    };
    (range / levels as f32, steps)
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "int8 {} x {} by {}", self.a, self.b, self.block)
    }
}

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Rounding::F32 => write!(f, "f32"),
            Rounding::Bf16 => write!(f, "bf16"),
            Rounding::Int8(levels) => write!(f, "{levels}"),
        }
    }
}

impl FromStr for Rounding {
    type Err = String;

    fn from_str(s: &str) -> Result<Rounding, String> {
        let levels = || {
            let (a, rest) = s.strip_prefix("int8 ")?.split_once(" x ")?;
            let (b, block) = rest.split_once(" by ")?;
            Some(Levels {
                a: a.parse().ok()?,
                b: b.parse().ok()?,
                block: block.parse().ok()?,
            })
        };
        match s {
            "f32" => Ok(Rounding::F32),
            "bf16" => Ok(Rounding::Bf16),
            _ => levels()
                .map(Rounding::Int8)
                .ok_or_else(|| format!("`{s}`: products round to f32, bf16 or `int8 LEVELS x LEVELS by BLOCK`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_moves_by_more_than_half_a_level(
            x in proptest::collection::vec(-100f32..100.0, 0..40), a in 1u8.., b in 1..=127u8,
        ) {
            let levels = Levels { a, b, block: 8 };
            for (block, (row, column)) in x.chunks(8).zip(levels.row(&x).chunks(8).zip(levels.column(&x).chunks(8))) {
                let range = (greatest(block) - least(block)) as f64;
                let most = block.iter().fold(0.0f64, |m, x| m.max(x.abs() as f64));
                for ((x, row), column) in block.iter().zip(row).zip(column) {
                    prop_assert!((*x as f64 - row).abs() <= range / a as f64 * 0.5001 + 1e-6 * most, "{x} {row}");
                    prop_assert!((*x as f64 - column).abs() <= most / b as f64 * 0.5001, "{x} {column}");
                }
            }
        }

        #[test]
        fn roundings_print_and_parse(a in 0u8.., b in 0u8.., block in 0u32..5000) {
            let rounding = Rounding::Int8(Levels { a, b, block });
            prop_assert_eq!(rounding.to_string().parse(), Ok(rounding));
        }
    }

    #[test]
    fn constant_blocks_stay_and_what_is_not_finite_is_seen() {
        let levels = Levels::PAIRS;
        assert_eq!(levels.row(&[3.5; 9]), vec![3.5; 9]);
        assert_eq!(levels.column(&[0.0; 9]), vec![0.0; 9]);
        assert!(levels.row(&[1.0, f32::NAN, 2.0]).iter().all(|x| x.is_nan()));
        assert!(levels.column(&[1.0, f32::INFINITY]).iter().all(|x| x.is_nan()));
    }

    #[test]
    fn the_levels_in_use_fit() {
        assert!(Levels::PAIRS.is_valid() && Levels::BYTES.is_valid());
        // Four products at once, for processors that add pairs in 16 bits.
        assert!(4 * Levels::PAIRS.a as i32 * Levels::PAIRS.b as i32 <= i16::MAX as i32);
    }
}
