use crate::testing::*;
use ir::kernel::{Body as KernelBody, ColumnKernel, Kernel, Reduction, Store, Value};
use ir::scalar::{Binary, DType};
use proptest::prelude::*;

/// For every outer position a and column j: sums of x and of x * s over (i, k), and the maximum of x; the first sum is
/// added to a slot.
fn moments() -> Kernel {
    let mut b = Body::default();
    let x = b.load(0, strides("0", &["I*K*J", "K*J", "J", "1"]));
    let s = b.load(1, strides("0", &["0", "K", "1"]));
    let y = b.binary(Binary::Mul, x, s);
    let g = b.load(2, strides("0", &["0", "0", "0", "1"]));
    let r: Vec<_> = (0..3).map(|i| b.push(Value::Reduced(i))).collect();
    let scaled = b.binary(Binary::Mul, r[1], g);
    let to = strides("0", &["J", "0", "0", "1"]);
    Kernel {
        slots: slots(&[DType::F32; 3], &[DType::F32; 3]),
        body: KernelBody::Column(ColumnKernel {
            outer: vec![d("A")],
            reduced: vec![d("I"), d("K")],
            columns: d("J"),
            values: b.values,
            reduce: vec![(Reduction::Sum, x), (Reduction::Sum, y), (Reduction::Max, x)],
            store: vec![
                Store {
                    slot: 3,
                    index: to.clone(),
                    value: r[0],
                    accumulate: true,
                },
                store(4, to.clone(), scaled),
                store(5, to, r[2]),
            ],
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn reductions_over_leading_axes(
        a in 1usize..3, i in 1usize..9, k in 1usize..70,
        j in prop_oneof![Just(1usize), Just(7), Just(8), Just(9), Just(17), Just(32), 30usize..150],
        pieces in 1i64..4,
    ) {
        thread_local!(static PROGRAM: Program = Program::new(&moments(), &["A", "I", "K", "J"]));
        let (x, s, g, old) = (noise(a * i * k * j, 1), noise(i * k, 2), noise(j, 3), noise(a * j, 4));
        let mut data: Vec<Data> = [x.clone(), s.clone(), g.clone(), old.clone(), vec![9.0; a * j], vec![9.0; a * j]]
            .into_iter().map(Data::F32).collect();
        PROGRAM.with(|p| p.run(&mut data, &[a as i64, i as i64, k as i64, j as i64], pieces));
        let n = (i * k) as f64;
        for (o, old) in old.iter().enumerate() {
            let (a, j0) = (o / j, o % j);
            let terms = || (0..i * k).map(|p| (x[(a * i * k + p) * j + j0] as f64, s[p] as f64));
            let first: f64 = *old as f64 + terms().map(|t| t.0).sum::<f64>();
            let second: f64 = terms().map(|t| t.0 * t.1).sum::<f64>() * g[j0] as f64;
            let max = terms().map(|t| t.0).fold(f64::NEG_INFINITY, f64::max);
            // 64 terms of size 1 are summed in f32.
            let bound = 1e-7 * (1.0 + n.sqrt() * 8.0);
            prop_assert!((data[3].f32()[o] as f64 - first).abs() <= bound, "sum {} of {}", data[3].f32()[o], first);
            prop_assert!((data[4].f32()[o] as f64 - second).abs() <= bound, "product {} of {}", data[4].f32()[o], second);
            prop_assert_eq!(data[5].f32()[o] as f64, max);
        }
    }
}

/// Long sums stay accurate: 2^24 ones plus one are not lost.
#[test]
fn long_sums() {
    let mut b = Body::default();
    let one = b.constant(1.0);
    let r = b.push(Value::Reduced(0));
    let kernel = Kernel {
        slots: slots(&[], &[DType::F32]),
        body: KernelBody::Column(ColumnKernel {
            outer: vec![],
            reduced: vec![d("N")],
            columns: d("3"),
            values: b.values,
            reduce: vec![(Reduction::Sum, one)],
            store: vec![store(0, strides("0", &["0", "1"]), r)],
        }),
    };
    let mut data = [Data::F32(vec![0.0; 3])];
    Program::new(&kernel, &["N"]).run(&mut data, &[20_000_002], 1);
    assert_eq!(data[0].f32(), [20_000_002.0; 3]);
}
