//! exp, log, erf, tanh as straight code: no library is called, NaN and infinities come out as they should.
//!
//! | function | error bound against exact, f32 | f64 |
//! |-|-|-|
//! | exp | 2 ULP (denormal results: 1 more) | 1e-15 relative |
//! | log | 2 ULP | 1e-15 relative |
//! | erf | 6 ULP | 1e-13 relative |
//! | tanh | 3 ULP | 1e-13 relative |
//!
//! exp(-inf) = 0, exp overflows to inf, log(0) = -inf, log of a negative number is NaN; NaN gives NaN.

use super::Build;
use crate::expansions::{ERF_BOUND, ERF_DENOMINATOR, ERF_NUMERATOR, EXP, LN2_F32, LN2_F64, LOG, TANH, TANH_SERIES};

/// Horner's rule, highest power first.
fn poly<B: Build>(b: &B, x: B::V, coefficients: &[f64]) -> B::V {
    let (first, rest) = coefficients.split_first().expect("a polynomial has coefficients");
    rest.iter()
        .fold(b.float(x, *first), |acc, k| b.fma(acc, x, b.float(x, *k)))
}

/// `x` kept within bounds; NaN stays.
fn clamp<B: Build>(b: &B, x: B::V, low: f64, high: f64) -> B::V {
    let (low, high) = (b.float(x, low), b.float(x, high));
    let x = b.select(b.is_less(x, low), low, x);
    b.select(b.is_greater(x, high), high, x)
}

/// e^x.
pub fn exp<B: Build>(b: &B, x: B::V) -> B::V {
    let wide = b.is_f64(x);
    let c = |v| b.float(x, v);
    // Beyond these bounds the result is 0 or inf all the same.
    let (low, high) = if wide { (-746.0, 710.0) } else { (-104.0, 89.0) };
    let x = clamp(b, x, low, high);
    // Adding 1.5 * 2^(mantissa bits) rounds to an integer, which then is in the low bits; NaN does no harm.
    let magic = c(if wide { 6_755_399_441_055_744.0 } else { 12_582_912.0 });
    let shifted = b.fma(x, c(std::f64::consts::LOG2_E), magic);
    let n = b.fsub(shifted, magic);
    let (high, low) = if wide { LN2_F64 } else { LN2_F32 };
    let r = b.fma(n, c(-high), x);
    let r = b.fma(n, c(-low), r);
    let y = if wide {
        let factorial = |k: i32| (1..=k).map(f64::from).product::<f64>();
        let taylor: Vec<f64> = (0..=13).rev().map(|k| 1.0 / factorial(k)).collect();
        poly(b, r, &taylor)
    } else {
        let q = poly(b, r, &EXP);
        let tail = b.fma(q, b.fmul(r, r), r);
        b.fadd(tail, c(1.0))
    };
    // 2^n as the product of two halves, so that denormal results and overflow come out right.
    let n = b.isub(b.to_bits(shifted), b.to_bits(magic));
    let half = b.ashr(n, 1);
    let rest = b.isub(n, half);
    b.fmul(b.fmul(y, power_of_two(b, half, wide)), power_of_two(b, rest, wide))
}

/// 2^n for n within the exponents of normal numbers.
fn power_of_two<B: Build>(b: &B, n: B::V, wide: bool) -> B::V {
    let (bias, mantissa) = if wide { (1023, 52) } else { (127, 23) };
    b.of_bits(b.shl(b.iadd(n, b.int(n, bias)), mantissa))
}

/// The natural logarithm.
pub fn log<B: Build>(b: &B, x: B::V) -> B::V {
    let wide = b.is_f64(x);
    let c = |v| b.float(x, v);
    // Denormals are scaled into the normal range first.
    let (tiny, scale, lift) = if wide {
        (f64::MIN_POSITIVE, 18_014_398_509_481_984.0, 54.0)
    } else {
        (f32::MIN_POSITIVE as f64, 33_554_432.0, 25.0)
    };
    let small = b.is_less(x, c(tiny));
    let scaled = b.select(small, b.fmul(x, c(scale)), x);
    let adjust = b.select(small, c(-lift), c(0.0));
    // x = m 2^e with sqrt(1/2) <= m < sqrt(2): subtract the bits of sqrt(1/2), what is above the mantissa is e.
    let (half_root, mantissa) = if wide {
        (0x3fe6_a09e_667f_3bcd, 52)
    } else {
        (0x3f35_04f3, 23)
    };
    let bits = b.to_bits(scaled);
    let e = b.ashr(b.isub(bits, b.int(bits, half_root)), mantissa);
    let m = b.of_bits(b.isub(bits, b.shl(e, mantissa)));
    let e = b.fadd(b.to_float(e), adjust);
    let r = b.fsub(m, c(1.0));
    let y = if wide {
        // log(m) = 2 artanh(s), s = (m - 1) / (m + 1)
        let s = b.fdiv(r, b.fadd(m, c(1.0)));
        let series: Vec<f64> = (0..=11).rev().map(|i| 2.0 / (2 * i + 1) as f64).collect();
        let y = b.fmul(s, poly(b, b.fmul(s, s), &series));
        b.fma(e, c(LN2_F64.0), b.fma(e, c(LN2_F64.1), y))
    } else {
        let z = b.fmul(r, r);
        let y = b.fmul(b.fmul(r, z), poly(b, r, &LOG));
        let y = b.fma(e, c(LN2_F32.1), y);
        let y = b.fma(z, c(-0.5), y);
        b.fma(e, c(LN2_F32.0), b.fadd(r, y))
    };
    let y = b.select(b.is_equal(x, c(0.0)), c(f64::NEG_INFINITY), y);
    let y = b.select(b.is_equal(x, c(f64::INFINITY)), x, y);
    b.select(b.is_less_or_nan(x, c(0.0)), c(f64::NAN), y)
}

/// The error function.
pub fn erf<B: Build>(b: &B, x: B::V) -> B::V {
    if b.is_f64(x) {
        return erf_series(b, x, clamp(b, b.fabs(x), 0.0, 6.0));
    }
    let t = clamp(b, x, -ERF_BOUND, ERF_BOUND);
    let square = b.fmul(t, t);
    let numerator = b.fmul(t, poly(b, square, &ERF_NUMERATOR));
    b.fdiv(numerator, poly(b, square, &ERF_DENOMINATOR))
}

/// erf(t) = 2 / sqrt(pi) exp(-t^2) sum of t (2 t^2)^n / (2n + 1)!! (Abramowitz & Stegun 7.1.6), all terms positive.
fn erf_series<B: Build>(b: &B, x: B::V, t: B::V) -> B::V {
    let c = |v| b.float(x, v);
    let square = b.fmul(t, t);
    let sum = b.count_down(150, c(1.0), |n, sum| {
        let odd = b.fadd(n, b.float(n, 0.5));
        b.fma(sum, b.fdiv(square, odd), c(1.0))
    });
    let scale = b.fmul(exp(b, b.fneg(square)), c(std::f64::consts::FRAC_2_SQRT_PI));
    let series = b.fmul(b.fmul(sum, scale), t);
    let whole = b.is_at_least(t, c(6.0));
    b.copysign(b.select(whole, c(1.0), series), x)
}

/// The hyperbolic tangent.
pub fn tanh<B: Build>(b: &B, x: B::V) -> B::V {
    let c = |v| b.float(x, v);
    let magnitude = b.fabs(x);
    let square = b.fmul(x, x);
    let (small, bound) = if b.is_f64(x) {
        (poly(b, square, &TANH_SERIES.map(|(n, d)| n / d)), 0.3)
    } else {
        (poly(b, square, &TANH), 0.625)
    };
    let small = b.fma(b.fmul(small, square), x, x);
    let e = exp(b, b.fadd(magnitude, magnitude));
    let large = b.fsub(c(1.0), b.fdiv(c(2.0), b.fadd(e, c(1.0))));
    let is_small = b.is_less(magnitude, c(bound));
    b.select(is_small, small, b.copysign(large, x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::host::{Host, Num};
    use proptest::prelude::*;

    fn f32_of(f: impl Fn(&Host, Num) -> Num, x: f32) -> f64 {
        match f(&Host, Num::F32(x)) {
            Num::F32(y) => f64::from(y),
            y => panic!("f32, not {y:?}"),
        }
    }

    fn f64_of(f: impl Fn(&Host, Num) -> Num, x: f64) -> f64 {
        match f(&Host, Num::F64(x)) {
            Num::F64(y) => y,
            y => panic!("f64, not {y:?}"),
        }
    }

    /// Of f32, in units of the last place of `want`.
    fn ulps(got: f64, want: f64) -> f64 {
        if got == f64::from(want as f32) || got.is_nan() && want.is_nan() {
            return 0.0;
        }
        let exponent = want.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor() as i32;
        (got - want).abs() / 2f64.powi(exponent - 23)
    }

    proptest! {
        #[test]
        fn functions_of_f32_keep_their_bounds(x in -100f32..100.0, small in -1f32..1.0, scale in -30i32..30) {
            for x in [x, small * 2f32.powi(scale)] {
                let wide = f64::from(x);
                prop_assert!(ulps(f32_of(exp, x), wide.exp()) <= 3.0, "exp {x}");
                prop_assert!(ulps(f32_of(log, x.abs()), wide.abs().ln()) <= 2.0, "log {x}");
                prop_assert!(ulps(f32_of(tanh, x), wide.tanh()) <= 3.0, "tanh {x}");
                prop_assert!(ulps(f32_of(erf, x), f64_of(erf, wide)) <= 6.0, "erf {x}");
            }
        }

        #[test]
        fn functions_of_f64_keep_their_bounds(x in -600f64..600.0, small in -1f64..1.0) {
            let off = |got: f64, want: f64| (got / want - 1.0).abs();
            for x in [x, small] {
                prop_assert!(off(f64_of(exp, x), x.exp()) < 1e-15, "exp {x}");
                prop_assert!((f64_of(log, x.abs()) - x.abs().ln()).abs() <= 1e-15 * x.abs().ln().abs().max(1.0), "log {x}");
                prop_assert!(off(f64_of(tanh, x), x.tanh()) < 1e-13, "tanh {x}");
            }
        }
    }

    #[test]
    fn nothing_and_infinity_come_out_as_they_should() {
        let all: [(fn(&Host, Num) -> Num, [f64; 4]); 4] = [
            (exp, [1.0, f64::INFINITY, 0.0, f64::NAN]),
            (log, [f64::NEG_INFINITY, f64::INFINITY, f64::NAN, f64::NAN]),
            (erf, [0.0, 1.0, -1.0, f64::NAN]),
            (tanh, [0.0, 1.0, -1.0, f64::NAN]),
        ];
        for (n, (f, wanted)) in all.into_iter().enumerate() {
            for (x, want) in [0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN]
                .into_iter()
                .zip(wanted)
            {
                for got in [f32_of(f, x as f32), f64_of(f, x)] {
                    let same = got == want || got.is_nan() && want.is_nan() || (got - want).abs() < 1e-7;
                    assert!(same, "function {n} of {x} is {got}, not {want}");
                }
            }
        }
    }

    /// Abramowitz & Stegun, table 7.1.
    #[test]
    fn erf_is_that_of_the_tables() {
        for (x, want) in [(0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (2.0, 0.995_322_265_0)] {
            assert!((f64_of(erf, x) - want).abs() < 1e-10, "erf {x}");
            assert!((f32_of(erf, x as f32) - want).abs() < 1e-6, "erf {x}");
        }
    }
}
