//! Instructions on floats.

use crate::cases::{Case, agree, program, results, single};
use half::{bf16, f16};
use proptest::prelude::*;
use std::cmp::Ordering;

fn same_single(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

#[test]
fn single_precision() {
    let cases: &[Case<f32>] = &[
        ("add.rn.f32 %d, %a, %b;", |a, b, _| a + b),
        ("sub.f32 %d, %a, %b;", |a, b, _| a - b),
        ("mul.f32 %d, %a, 0f40400000;", |a, _, _| a * 3.0),
        ("div.rn.f32 %d, %a, %b;", |a, b, _| a / b),
        ("fma.rn.f32 %d, %a, %b, %c;", f32::mul_add),
        ("sqrt.rn.f32 %d, %a;", |a, _, _| a.sqrt()),
        ("rcp.rn.f32 %d, %a;", |a, _, _| 1.0 / a),
        ("neg.f32 %d, %a;", |a, _, _| -a),
        ("abs.f32 %d, %a;", |a, _, _| a.abs()),
        ("copysign.f32 %d, %a, %b;", |a, b, _| b.copysign(a)),
        ("cvt.rmi.f32.f32 %d, %a;", |a, _, _| a.floor()),
        ("cvt.rpi.f32.f32 %d, %a;", |a, _, _| a.ceil()),
        ("cvt.rni.f32.f32 %d, %a;", |a, _, _| a.round_ties_even()),
        ("cvt.rzi.f32.f32 %d, %a;", |a, _, _| a.trunc()),
        (
            "cvt.f64.f32 %rd1, %a; cvt.f64.f32 %rd2, %b; add.f64 %rd1, %rd1, %rd2; cvt.rn.f32.f64 %d, %rd1;",
            |a, b, _| (a as f64 + b as f64) as f32,
        ),
        (
            "cvt.f64.f32 %rd1, %a; cvt.f64.f32 %rd2, %b; fma.rn.f64 %rd1, %rd1, %rd2, %rd2; cvt.rn.f32.f64 %d, %rd1;",
            |a, b, _| (a as f64).mul_add(b as f64, b as f64) as f32,
        ),
        ("cvt.rzi.s32.f32 %r1, %a; cvt.rn.f32.s32 %d, %r1;", |a, _, _| {
            a as i32 as f32
        }),
        ("cvt.rni.u32.f32 %r1, %a; cvt.rn.f32.u32 %d, %r1;", |a, _, _| {
            a.round_ties_even() as u32 as f32
        }),
        ("cvt.rmi.s16.f32 %rs1, %a; cvt.rn.f32.s16 %d, %rs1;", |a, _, _| {
            a.floor() as i16 as f32
        }),
        ("min.NaN.f32 %d, %a, %b;", |a, b, _| {
            if a.is_nan() || b.is_nan() {
                f32::NAN
            } else {
                a.min(b).min(b.min(a)) + 0.0
            }
        }),
        (
            "setp.lt.f32 %p1, %a, %b; selp.f32 %d, 0f3F800000, 0f00000000, %p1;",
            |a, b, _| f32::from(a < b),
        ),
        (
            "setp.geu.f32 %p1, %a, %b; selp.f32 %d, 0f3F800000, 0f00000000, %p1;",
            |a, b, _| f32::from(a.partial_cmp(&b) != Some(Ordering::Less)),
        ),
        (
            "setp.ne.f32 %p1, %a, %b; selp.f32 %d, 0f3F800000, 0f00000000, %p1;",
            |a, b, _| f32::from(matches!(a.partial_cmp(&b), Some(Ordering::Less | Ordering::Greater))),
        ),
        (
            "setp.neu.f32 %p1, %a, %b; selp.f32 %d, 0f3F800000, 0f00000000, %p1;",
            |a, b, _| f32::from(a != b),
        ),
        (
            "setp.num.f32 %p1, %a, %b; selp.f32 %d, 0f3F800000, 0f00000000, %p1;",
            |a, b, _| f32::from(!a.is_nan() && !b.is_nan()),
        ),
        (
            "testp.subnormal.f32 %p1, %a; selp.f32 %d, 0f3F800000, 0f00000000, %p1;",
            |a, _, _| f32::from(a.is_subnormal()),
        ),
        ("cvt.rn.bf16.f32 %rs1, %a; cvt.f32.bf16 %d, %rs1;", |a, _, _| {
            bf16::from_f32(a).to_f32()
        }),
        ("cvt.rn.f16.f32 %rs1, %a; cvt.f32.f16 %d, %rs1;", |a, _, _| {
            f16::from_f32(a).to_f32()
        }),
        (
            "cvt.rn.bf16x2.f32 %r1, %a, %b; mov.b32 {%rs1, %rs2}, %r1; cvt.f32.bf16 %d, %rs2;",
            |a, _, _| bf16::from_f32(a).to_f32(),
        ),
        (
            "cvt.rn.f16x2.f32 %r1, %a, %b; mov.b32 {%rs1, %rs2}, %r1; cvt.f32.f16 %d, %rs1;",
            |_, b, _| f16::from_f32(b).to_f32(),
        ),
    ];
    let same = |a: f32, b: f32| same_single(a, b) || a == 0.0 && b == 0.0;
    agree(32, cases, single(), |x| f32::from_bits(x as u32), same);
}

#[test]
fn minima_and_maxima_of_zeros_and_nans() {
    let text = "min.f32 %d, %a, %b;";
    let module = program(32, &[text, "max.f32 %d, %a, %b;", "max.NaN.f32 %d, %a, %b;"]);
    let nan = 0x7fc0_0001;
    let pairs = [
        (0x8000_0000, 0),
        (0, 0x8000_0000),
        (nan, 5),
        (5, nan),
        (nan, nan),
        (3f32.to_bits(), 2f32.to_bits()),
    ];
    let expected = [
        [0x8000_0000, 0, 0],
        [0x8000_0000, 0, 0],
        [5, 5, 0x7fff_ffff],
        [5, 5, 0x7fff_ffff],
        [0x7fff_ffff, 0x7fff_ffff, 0x7fff_ffff],
        [2f32.to_bits(), 3f32.to_bits(), 3f32.to_bits()],
    ];
    let operand = |pick: fn((u32, u32)) -> u32| (0..32).map(|i| u64::from(pick(pairs[i % 6]))).collect::<Vec<_>>();
    let found = results(&module, 32, &[operand(|p| p.0), operand(|p| p.1), vec![0; 32]], 3);
    for lane in 0..6 {
        assert_eq!(
            [0, 1, 2].map(|i: usize| found[i][lane] as u32),
            expected[lane],
            "{:x?}",
            pairs[lane]
        );
    }
}

#[test]
fn halves() {
    // Operands are whole eighths, so that doubles hold sums of products exactly and `half` rounds once.
    fn b(x: u32) -> bf16 {
        bf16::from_f64(f64::from(x as i8) / 8.0)
    }
    fn h(x: u32) -> f16 {
        f16::from_f64(f64::from(x as i16) / 64.0)
    }
    macro_rules! bf {
        ($op:literal, $f:expr) => {
            (
                concat!(
                    "cvt.s32.s8 %r1, %a; cvt.rn.f32.s32 %r1, %r1; mul.f32 %r1, %r1, 0f3E000000; cvt.rn.bf16.f32 %rs1, %r1;",
                    "cvt.s32.s8 %r1, %b; cvt.rn.f32.s32 %r1, %r1; mul.f32 %r1, %r1, 0f3E000000; cvt.rn.bf16.f32 %rs2, %r1;",
                    "cvt.s32.s8 %r1, %c; cvt.rn.f32.s32 %r1, %r1; mul.f32 %r1, %r1, 0f3E000000; cvt.rn.bf16.f32 %rs3, %r1;",
                    $op, " cvt.u32.u16 %d, %rs4;"
                ),
                |x, y, z| {
                    let f: fn(f64, f64, f64) -> f64 = $f;
                    u32::from(bf16::from_f64(f(b(x).to_f64(), b(y).to_f64(), b(z).to_f64())).to_bits())
                },
            )
        };
    }
    macro_rules! hf {
        ($op:literal, $f:expr) => {
            (
                concat!(
                    "cvt.s32.s16 %r1, %a; cvt.rn.f32.s32 %r1, %r1; mul.f32 %r1, %r1, 0f3C800000; cvt.rn.f16.f32 %rs1, %r1;",
                    "cvt.s32.s16 %r1, %b; cvt.rn.f32.s32 %r1, %r1; mul.f32 %r1, %r1, 0f3C800000; cvt.rn.f16.f32 %rs2, %r1;",
                    "cvt.s32.s16 %r1, %c; cvt.rn.f32.s32 %r1, %r1; mul.f32 %r1, %r1, 0f3C800000; cvt.rn.f16.f32 %rs3, %r1;",
                    $op, " cvt.u32.u16 %d, %rs4;"
                ),
                |x, y, z| {
                    let f: fn(f64, f64, f64) -> f64 = $f;
                    u32::from(f16::from_f64(f(h(x).to_f64(), h(y).to_f64(), h(z).to_f64())).to_bits())
                },
            )
        };
    }
    let cases: &[Case<u32>] = &[
        bf!("add.rn.bf16 %rs4, %rs1, %rs2;", |a, b, _| a + b),
        bf!("mul.rn.bf16 %rs4, %rs1, %rs2;", |a, b, _| a * b),
        bf!("fma.rn.bf16 %rs4, %rs1, %rs2, %rs3;", |a, b, c| a * b + c),
        bf!(
            "mov.b32 %r2, {%rs1, %rs2}; mov.b32 %r3, {%rs3, %rs1}; sub.rn.bf16x2 %r2, %r2, %r3; mov.b32 {_, %rs4}, %r2;",
            |a, b, _| b - a
        ),
        hf!("add.rn.f16 %rs4, %rs1, %rs2;", |a, b, _| a + b),
        hf!("mul.rn.f16 %rs4, %rs1, %rs2;", |a, b, _| a * b),
        hf!("fma.rn.f16 %rs4, %rs1, %rs2, %rs3;", |a, b, c| a * b + c),
        hf!(
            "mov.b32 %r2, {%rs1, %rs2}; fma.rn.f16x2 %r2, %r2, %r2, %r2; mov.b32 {%rs4, _}, %r2;",
            |a, _, _| a * a + a
        ),
    ];
    // A zero's sign may differ: `f64` and the type agree on it, but the operands' conversion does not.
    agree(
        32,
        cases,
        any::<u64>(),
        |x| x as u32,
        |a, b| a == b || (a | b) & 0x7fff == 0,
    );
}

/// Approximations: within the PTX ISA's bounds of the true value; recorded vectors say which bits a GPU gives.
#[test]
fn approximations_are_near() {
    let cases: &[Case<f32>] = &[
        ("ex2.approx.ftz.f32 %d, %a;", |a, _, _| (a as f64).exp2() as f32),
        ("lg2.approx.f32 %d, %a;", |a, _, _| (a as f64).log2() as f32),
        ("rsqrt.approx.f32 %d, %a;", |a, _, _| (1.0 / (a as f64).sqrt()) as f32),
        ("rcp.approx.ftz.f32 %d, %a;", |a, _, _| 1.0 / a),
        ("sqrt.approx.f32 %d, %a;", |a, _, _| a.sqrt()),
        ("div.full.f32 %d, %a, %b;", |a, b, _| a / b),
        ("tanh.approx.f32 %d, %a;", |a, _, _| (a as f64).tanh() as f32),
    ];
    let near = |a: f32, b: f32| same_single(a, b) || (a - b).abs() <= 4e-7 * b.abs().max(1e-30);
    let moderate = (1e-3f32..50.0).prop_map(|x| u64::from(x.to_bits()));
    agree(32, cases, moderate, |x| f32::from_bits(x as u32), near);
}
