//! The list of micro-kernels: of each instruction that the compiler emits and that is more than a copy, and of relatives.

use super::inputs::Inputs::{Columns, Made};
use super::inputs::*;
use super::{Compare, MicroKernel};
use crate::vectors::fragments::{self, HALF_MAGNITUDES, MMA_MAGNITUDES};
use Compare::{Bits, Doubles, Near, Singles, Sums};

/// The manual's bound of `ex2.approx`, relative, and of `lg2.approx`, absolute where the result is below 1 and relative
/// beyond.
const TWO_POW_M22: f64 = 1.0 / (1 << 22) as f64;
/// Its bound of `rsqrt.approx`: 2^-22.9.
const TWO_POW_M22_9: f64 = 1.277_6e-7;

/// In a block of so many threads with a record each; the text is `tests/recorded/kernels/NAME.ptx`.
macro_rules! kernels {
    ($($name:literal, $blocks:literal x $threads:literal, $results:literal, $compare:expr, $inputs:expr;)+) => {
        &[$(MicroKernel {
            name: $name,
            ptx: include_str!(concat!("../../tests/recorded/kernels/", $name, ".ptx")),
            blocks: $blocks,
            threads: $threads,
            results: $results,
            compare: $compare,
            inputs: $inputs,
        }),+]
    };
}

/// Names, blocks x threads, words of a thread's result, how results compare, inputs.
///
/// Two comparisons are wider than a bit. A product and a sum without `.rn` round once or twice. Of 16 products and C, the
/// emulator rounds 16 sums to nearest, 8 units of 2^-23; a tensor core truncates at most the 9 terms of each of two sums,
/// 18 units.
pub const KERNELS: &[MicroKernel] = kernels! {
    "single_arithmetic", 8 x 128, 4, Singles,
        Columns(&[SINGLE, SINGLE]);
    "single_unary", 4 x 128, 4, Singles,
        Columns(&[SINGLE]);
    "single_fused", 4 x 128, 2, Singles,
        Made { words: 3, make: fragments::fused_singles, magnitudes: &[] };
    "single_contraction", 4 x 128, 1, Sums { roundings: 2 },
        Columns(&[MODERATE, MODERATE, MODERATE]);
    "single_min_max", 8 x 128, 5, Bits,
        Columns(&[SINGLE, SINGLE]);
    "single_compare", 8 x 128, 1, Bits,
        Columns(&[SINGLE, SINGLE]);
    "single_to_int", 4 x 128, 10, Bits,
        Columns(&[NEAR_INT]);
    "single_to_whole", 4 x 128, 4, Singles,
        Columns(&[NEAR_INT]);
    "single_to_double", 4 x 128, 2, Doubles,
        Columns(&[SINGLE]);
    "double_arithmetic", 8 x 128, 8, Doubles,
        Columns(&[DOUBLE, DOUBLE]);
    "double_unary", 4 x 128, 4, Doubles,
        Columns(&[DOUBLE]);
    "double_fused", 4 x 128, 2, Doubles,
        Made { words: 6, make: fragments::fused_doubles, magnitudes: &[] };
    "double_compare", 8 x 128, 1, Bits,
        Columns(&[DOUBLE, DOUBLE]);
    "double_to_int", 4 x 128, 6, Bits,
        Columns(&[NEAR_INT_DOUBLE]);
    "double_to_single", 4 x 128, 1, Singles,
        Columns(&[DOUBLE]);
    "bf16_round", 8 x 128, 2, Bits,
        Columns(&[NEAR_BF16, NEAR_BF16]);
    "ex2_approx", 4 x 128, 1, Near { relative: TWO_POW_M22, absolute: 0.0 },
        Columns(&[EXPONENT]);
    "ex2_approx_ftz", 4 x 128, 1, Near { relative: TWO_POW_M22, absolute: 0.0 },
        Columns(&[EXPONENT]);
    "lg2_approx", 4 x 128, 1, Near { relative: TWO_POW_M22, absolute: TWO_POW_M22 },
        Columns(&[POSITIVE]);
    "rsqrt_approx", 4 x 128, 1, Near { relative: TWO_POW_M22_9, absolute: 0.0 },
        Columns(&[POSITIVE]);
    "int_to_float", 4 x 128, 12, Bits,
        Columns(&[ROUNDED_INT]);
    "int16_arithmetic", 4 x 128, 8, Bits,
        Columns(&[INT32, INT32]);
    "int32_multiply", 4 x 128, 12, Bits,
        Columns(&[INT32, INT32, INT32]);
    "int32_divide", 4 x 128, 4, Bits,
        Columns(&[INT32, DIVISOR32]);
    "int32_divide_by_zero", 4 x 128, 4, Bits,
        Columns(&[INT32]);
    "int64_multiply", 4 x 128, 8, Bits,
        Columns(&[INT64, INT64, INT64]);
    "int64_divide", 4 x 128, 8, Bits,
        Columns(&[INT64, DIVISOR64]);
    "int64_divide_by_zero", 4 x 128, 8, Bits,
        Columns(&[INT64]);
    "int_min_max", 4 x 128, 12, Bits,
        Columns(&[INT64, INT64]);
    "int_min_relu", 4 x 128, 2, Bits,
        Columns(&[INT32, INT32]);
    "shifts", 4 x 128, 9, Bits,
        Columns(&[INT64, AMOUNT]);
    "bits", 4 x 128, 9, Bits,
        Columns(&[INT32, INT32, INT32]);
    "bit_fields", 4 x 128, 7, Bits,
        Columns(&[INT64, INT32, BYTE, BYTE]);
    "shuffle", 24 x 32, 8, Bits,
        Made { words: 4, make: fragments::shuffle, magnitudes: &[] };
    "vote", 8 x 32, 4, Bits,
        Made { words: 1, make: fragments::vote, magnitudes: &[] };
    "redux", 8 x 32, 9, Bits,
        Columns(&[INT32]);
    "ldmatrix", 4 x 32, 14, Bits,
        Made { words: 4, make: fragments::words::<4>, magnitudes: &[] };
    "cp_async", 5 x 32, 12, Bits,
        Made { words: 8, make: fragments::cp_async, magnitudes: &[] };
    "mma_layout", 4 x 32, 4, Bits,
        Made { words: 10, make: fragments::mma_layout, magnitudes: &[] };
    "mma_rounding", 16 x 32, 4, Sums { roundings: 26 },
        Made { words: 10, make: fragments::mma_rounding, magnitudes: &MMA_MAGNITUDES };
    "mma_special", 16 x 32, 4, Sums { roundings: 26 },
        Made { words: 10, make: fragments::mma_special, magnitudes: &MMA_MAGNITUDES };
    "wgmma_layout", 4 x 128, 32, Bits,
        Made { words: 20, make: fragments::whole_halves::<20>, magnitudes: &[] };
    "wgmma_rounding", 4 x 128, 8, Sums { roundings: 26 },
        Made { words: 20, make: fragments::halves::<20>, magnitudes: &HALF_MAGNITUDES };
};
