//! Every tile of the tables of products for all GPUs is used by some kernel here: samples are too small for the large ones.

use crate::harness::{check_code, compile};
use ir::dim::Env;
use ir::kernel_sample::{Operand, Sample};
use ir::kernel_text::parse;
use ir::sample::Rand;
use ir::scalar::DType;

/// A product with operands of small whole numbers, whose sums are exact in any order.
pub fn sample<const N: usize>(text: &str, sizes: &[(&str, i64)], lengths: [usize; N]) -> Sample {
    let kernel = parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let mut r = Rand::new(lengths[0] as u32);
    let operands = kernel.slots.iter().zip(lengths).map(|(slot, n)| Operand {
        dtype: slot.dtype,
        values: (0..n).map(|_| r.int(-4, 4) as f64).collect(),
        tolerance: 0.0,
        tolerances: vec![],
    });
    let mut env: Env = sizes.iter().map(|(n, v)| ((*n).into(), *v)).collect();
    env.insert("layer".into(), 0);
    Sample {
        operands: operands.collect(),
        sizes: env,
        kernel,
    }
}

/// Checks a product, and that it is cut as it should be.
pub fn check_tile(sample: &Sample, arch: &str, schedule: &str) {
    let code = compile(sample, true, arch).unwrap_or_else(|e| panic!("{e}"));
    let got: Vec<&str> = code.grids.iter().map(|g| g.schedule.as_str()).collect();
    assert!(
        got.iter().any(|s| s.contains(schedule)),
        "{got:?} instead of {schedule} for\n{}",
        sample.kernel
    );
    check_code(&code, sample).unwrap_or_else(|e| panic!("{schedule}: {e}"));
}

/// The same of the code for all GPUs, and that other code is right too.
fn check(sample: &Sample, schedule: &str) {
    check_tile(sample, "sm_80", schedule);
    check_tile(sample, "sm_90a", "tile");
}

/// Rows of `a` and columns of `b` are contiguous along the sum.
fn along(batch: usize, n: usize, k: usize, dtype: DType) -> String {
    let d = dtype.name();
    let round = if dtype == DType::Bf16 { ", round bf16" } else { "" };
    format!(
        "contract batch [{batch}], m T, n {n}, k_outer 1, k {k}{round}\n  s0 read {d}\n  s1 read {d}\n  s2 write f32\n  \
         a = s0[{k}*T*b0 + {k}*i + p]\n  b = s1[{nk}*b0 + {k}*j + p]\n  v0 = acc\n  store\n    \
         s2[{n}*T*a0 + {n}*a1 + a2] = v0\n",
        nk = n * k
    )
}

/// Rows are contiguous along the result, and the sum is long: the gradient of a weight.
fn across(m: usize, n: usize, dtype: DType) -> String {
    let d = dtype.name();
    let round = if dtype == DType::Bf16 { ", round bf16" } else { "" };
    format!(
        "contract batch [], m {m}, n {n}, k_outer 1, k T{round}\n  s0 read {d}\n  s1 read {d}\n  s2 write f32\n  \
         a = s0[{m}*p + i]\n  b = s1[{n}*p + j]\n  v0 = acc\n  store\n    s2[{n}*a0 + a1] = v0\n"
    )
}

#[test]
fn products_along_the_sum() {
    for (batch, t, n, k, dtype, schedule) in [
        (1, 300, 768, 160, DType::Bf16, "tile 256x128x32"),
        (1, 300, 768, 64, DType::Bf16, "tile 128x128x32"),
        (1, 300, 192, 64, DType::Bf16, "tile 128x64x32"),
        (1, 300, 64, 64, DType::Bf16, "tile 64x64x32"),
        (16, 140, 48, 64, DType::Bf16, "tile 128x48x32"),
        (16, 140, 32, 64, DType::Bf16, "tile 128x32x32"),
        (16, 140, 16, 64, DType::Bf16, "tile 128x16x32"),
        (1, 300, 768, 64, DType::F32, "tile 128x128x8"),
        (1, 300, 64, 64, DType::F32, "tile 64x64x16"),
        (16, 140, 48, 64, DType::F32, "tile 128x48x16"),
    ] {
        let lengths = [batch * t * k, batch * n * k, batch * t * n];
        let s = sample(&along(batch, n, k, dtype), &[("T", t as i64)], lengths);
        check(&s, schedule);
    }
}

#[test]
fn long_sums_in_pieces() {
    let t = 333;
    for (m, n, dtype, schedule) in [
        (768, 256, DType::Bf16, "tile 256x128x32, 3 stages, sum in"),
        (64, 128, DType::Bf16, "sum in"),
        (64, 64, DType::F32, "sum in"),
    ] {
        let s = sample(&across(m, n, dtype), &[("T", t as i64)], [m * t, n * t, m * n]);
        check(&s, schedule);
    }
}
