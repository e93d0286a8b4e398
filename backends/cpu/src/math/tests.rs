use crate::testing::*;
use ir::kernel::{Body as KernelBody, Kernel, Phase, RowKernel};
use ir::scalar::{DType, Unary};

fn map(f: Unary, dtype: DType) -> Program {
    let mut b = Body::default();
    let x = b.load(0, strides("0", &["1"]));
    let y = b.unary(f, x);
    let store = vec![store(1, strides("0", &["1"]), y)];
    let body = RowKernel {
        axes: vec![d("N")],
        values: b.values,
        phases: vec![Phase::Columns { reduce: vec![], store }],
    };
    Program::new(
        &Kernel {
            slots: slots(&[dtype], &[dtype]),
            body: KernelBody::Row(body),
        },
        &["N"],
    )
}

fn map_f32(f: Unary, x: Vec<f32>) -> Vec<(f32, f32)> {
    let mut data = [Data::F32(x.clone()), Data::F32(vec![0.5; x.len()])];
    map(f, DType::F32).run(&mut data, &[x.len() as i64], 3);
    x.into_iter().zip(data[1].f32().iter().copied()).collect()
}

fn map_f64(f: Unary, x: Vec<f64>) -> Vec<(f64, f64)> {
    let mut data = [Data::F64(x.clone()), Data::F64(vec![0.5; x.len()])];
    map(f, DType::F64).run(&mut data, &[x.len() as i64], 3);
    x.into_iter().zip(data[1].f64().iter().copied()).collect()
}

/// Distance in units in the last place of the exact value.
fn ulps(got: f32, exact: f64) -> f64 {
    let rounded = exact as f32;
    if !rounded.is_finite() || !got.is_finite() {
        return if got.to_bits() == rounded.to_bits() || (got.is_nan() && rounded.is_nan()) {
            0.0
        } else {
            f64::INFINITY
        };
    }
    let exponent = (rounded.abs().max(f32::MIN_POSITIVE).to_bits() >> 23) as i32 - 127 - 23;
    (got as f64 - exact).abs() / 2f64.powi(exponent)
}

/// Evenly spaced samples, and numbers of all magnitudes within the bounds.
fn samples(low: f64, high: f64) -> Vec<f64> {
    let n = 100_000;
    let linear = (0..=n).map(|i| low + (high - low) * i as f64 / n as f64);
    let magnitudes = (0..20_000).flat_map(|i| {
        let m = 2f64.powf(-149.0 + 277.9 * i as f64 / 20_000.0);
        [m, -m]
    });
    linear.chain(magnitudes.filter(|m| (low..=high).contains(m))).collect()
}

#[test]
fn f32_functions_keep_their_error_bounds() {
    for (f, low, high, bound) in [
        (Unary::Exp, -87.0, 89.5, 2.0),
        (Unary::Exp, -105.0, -87.0, 3.0),
        (Unary::Log, 0.0, 3e38, 2.0),
        (Unary::Log, 0.4, 2.5, 2.0),
        (Unary::Erf, -5.0, 5.0, 6.0),
        (Unary::Tanh, -11.0, 11.0, 3.0),
    ] {
        let xs: Vec<f32> = samples(low, high).into_iter().map(|x| x as f32).collect();
        let (mut worst, mut at) = (0.0, 0.0);
        for (x, y) in map_f32(f, xs) {
            let error = ulps(y, f.eval(x as f64));
            if error > worst {
                (worst, at) = (error, x);
            }
        }
        println!("{} on [{low}, {high}]: {worst:.2} ULP at {at:e}", f.name());
        assert!(worst <= bound, "{} on [{low}, {high}]: {worst} ULP at {at:e}", f.name());
    }
}

#[test]
fn f64_functions_keep_their_error_bounds() {
    for (f, low, high, bound) in [
        (Unary::Exp, -700.0, 709.0, 1e-15),
        (Unary::Log, 0.0, 1e300, 1e-15),
        (Unary::Log, 0.4, 2.5, 1e-15),
        (Unary::Erf, -7.0, 7.0, 1e-13),
        (Unary::Tanh, -20.0, 20.0, 1e-13),
    ] {
        let (mut worst, mut at) = (0.0, 0.0);
        for (x, y) in map_f64(f, samples(low, high)) {
            let exact = f.eval(x);
            let error = if y == exact { 0.0 } else { ((y - exact) / exact).abs() };
            if error.is_nan() || error > worst {
                (worst, at) = (error, x);
            }
        }
        println!("{} on [{low}, {high}]: {worst:.1e} at {at:e}", f.name());
        assert!(worst <= bound, "{} on [{low}, {high}]: {worst:e} at {at:e}", f.name());
    }
}

#[test]
fn special_values() {
    const INF: f64 = f64::INFINITY;
    for (f, cases) in [
        (
            Unary::Exp,
            vec![(-INF, 0.0), (INF, INF), (0.0, 1.0), (1000.0, INF), (-1000.0, 0.0)],
        ),
        (
            Unary::Log,
            vec![
                (0.0, -INF),
                (-0.0, -INF),
                (INF, INF),
                (1.0, 0.0),
                (-1.0, f64::NAN),
                (-INF, f64::NAN),
            ],
        ),
        (Unary::Erf, vec![(INF, 1.0), (-INF, -1.0), (0.0, 0.0)]),
        (Unary::Tanh, vec![(INF, 1.0), (-INF, -1.0), (0.0, 0.0), (100.0, 1.0)]),
        (Unary::Sqrt, vec![(4.0, 2.0), (INF, INF), (-1.0, f64::NAN)]),
    ] {
        let cases = || cases.iter().copied().chain([(f64::NAN, f64::NAN)]);
        let same = |got: f64, want: f64| got == want || (got.is_nan() && want.is_nan());
        for ((x, y), (_, want)) in map_f32(f, cases().map(|c| c.0 as f32).collect())
            .into_iter()
            .zip(cases())
        {
            assert!(same(y as f64, want), "{}({x}) = {y} in f32, not {want}", f.name());
        }
        for ((x, y), (_, want)) in map_f64(f, cases().map(|c| c.0).collect()).into_iter().zip(cases()) {
            assert!(same(y, want), "{}({x}) = {y} in f64, not {want}", f.name());
        }
    }
}
