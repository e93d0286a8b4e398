use crate::testing::*;
use ir::kernel::{
    Access, Body as KernelBody, Coord, Index, Kernel, Phase, Reduction, RowKernel, SlotDecl, Store, Value,
};
use ir::scalar::{Binary, DType, Unary};
use proptest::prelude::*;

const SIZES: [usize; 7] = [1, 7, 8, 9, 17, 64, 100];

fn kernel(slots: Vec<SlotDecl>, axes: &[&str], values: Vec<Value>, phases: Vec<Phase>) -> Kernel {
    let axes = axes.iter().map(|a| d(a)).collect();
    Kernel {
        slots,
        body: KernelBody::Row(RowKernel { axes, values, phases }),
    }
}

/// Errors below `tolerance` relative to the larger of the wanted value and `floor`.
fn close(got: &[f32], want: &[f64], tolerance: f64, floor: f64) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let same = *g as f64 == *w || (g.is_nan() && w.is_nan());
        prop_assert!(
            same || (*g as f64 - w).abs() <= tolerance * w.abs().max(floor),
            "element {}: {} is not {}",
            i,
            g,
            w
        );
    }
    Ok(())
}

/// softmax over columns below a length per row, 0 beyond; the log of the sum goes to a second slot.
fn softmax() -> Kernel {
    let mut b = Body::default();
    let length = b.load(1, strides("0", &["1"]));
    let column = b.push(Value::Axis(1));
    let inside = b.binary(Binary::Less, column, length);
    let x = b.push(Value::Load {
        slot: 0,
        index: strides("0", &["C", "1"]),
        guard: Some(inside),
    });
    let low = b.constant(f64::NEG_INFINITY);
    let masked = b.push(Value::Select {
        cond: inside,
        then: x,
        other: low,
    });
    let max = b.push(Value::Reduced(0));
    let x = b.binary(Binary::Sub, masked, max);
    let e = b.unary(Unary::Exp, x);
    let sum = b.push(Value::Reduced(1));
    let y = b.binary(Binary::Div, e, sum);
    let log = b.unary(Unary::Log, sum);
    kernel(
        slots(&[DType::F32, DType::I32], &[DType::F32, DType::F32]),
        &["R", "C"],
        b.values,
        vec![
            Phase::Columns {
                reduce: vec![(Reduction::Max, masked)],
                store: vec![],
            },
            Phase::Columns {
                reduce: vec![(Reduction::Sum, e)],
                store: vec![],
            },
            Phase::Columns {
                reduce: vec![],
                store: vec![store(2, strides("0", &["C", "1"]), y)],
            },
            Phase::Row {
                store: vec![store(3, strides("0", &["1"]), log)],
            },
        ],
    )
}

#[test]
fn softmax_of_ragged_rows() {
    let program = Program::new(&softmax(), &["R", "C"]);
    for c in SIZES {
        for r in [1usize, 5] {
            let x: Vec<f32> = noise(r * c, 3).iter().map(|v| v * 20.0).collect();
            let lengths: Vec<i32> = (0..r).map(|i| (c - (i * 3) % c) as i32).collect();
            let (mut y, mut log) = (vec![0.0; r * c], vec![0.0; r]);
            for i in 0..r {
                let row = &x[i * c..][..lengths[i] as usize];
                let max = row.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v as f64));
                let sum: f64 = row.iter().map(|v| (*v as f64 - max).exp()).sum();
                log[i] = sum.ln();
                for (j, v) in row.iter().enumerate() {
                    y[i * c + j] = (*v as f64 - max).exp() / sum;
                }
            }
            let blank = Data::F32(vec![9.0; r * c]);
            let mut data = [Data::F32(x), Data::I32(lengths), blank, Data::F32(vec![9.0; r])];
            program.run(&mut data, &[r as i64, c as i64], 2);
            close(data[2].f32(), &y, 3e-6, 1e-3).unwrap_or_else(|e| panic!("{r} x {c}: {e}"));
            close(data[3].f32(), &log, 1e-6, 1.0).unwrap_or_else(|e| panic!("{r} x {c}: {e}"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Ties, infinities and NaN: a maximum is NaN if anything is, its position is the first of the numbers' maximum.
    #[test]
    fn extremes(x in proptest::collection::vec(prop_oneof![
        8 => (-3i32..3).prop_map(|v| v as f32), 1 => Just(f32::NEG_INFINITY), 1 => Just(f32::NAN)], 1..40)) {
        thread_local!(static PROGRAM: Program = {
            let mut b = Body::default();
            let x = b.load(0, strides("0", &["1"]));
            let (max, at) = (b.push(Value::Reduced(0)), b.push(Value::Reduced(1)));
            let here = strides("0", &[]);
            let reduce = vec![(Reduction::Max, x), (Reduction::ArgMax, x)];
            let stores = vec![store(1, here.clone(), max), store(2, here, at)];
            let phases = vec![Phase::Columns { reduce, store: vec![] }, Phase::Row { store: stores }];
            Program::new(&kernel(slots(&[DType::F32], &[DType::F32, DType::I32]), &["C"], b.values, phases), &["C"])
        });
        let (mut best, mut at) = (f32::NEG_INFINITY, 0);
        for (i, v) in x.iter().enumerate() {
            if *v > best {
                (best, at) = (*v, i as i32);
            }
        }
        if x.iter().any(|v| v.is_nan()) {
            best = f32::NAN;
        }
        let mut data = [Data::F32(x.clone()), Data::F32(vec![0.0]), Data::I32(vec![-1])];
        PROGRAM.with(|p| p.run(&mut data, &[x.len() as i64], 1));
        prop_assert_eq!(data[2].i32()[0], at);
        let max = data[1].f32()[0];
        prop_assert!(max == best || (max.is_nan() && best.is_nan()), "{} is not {}", max, best);
    }
}

/// out[j, i] += table[index[i, j]] + u, rows i, columns j: a transposed update, a gather and random numbers.
#[test]
fn gathers_strides_and_random_numbers() {
    let mut b = Body::default();
    let index = b.load(0, strides("0", &["C", "1"]));
    let zero = b.push(Value::constant(DType::I32, 0.0));
    let known = b.binary(Binary::LessEq, zero, index);
    let at = Index {
        base: d("1"),
        terms: vec![(d("2"), Coord::Value(index))],
    };
    let entry = b.push(Value::Load {
        slot: 1,
        index: at,
        guard: Some(known),
    });
    let u = b.push(Value::Uniform {
        seed: 2,
        site: 77,
        index: strides("5", &["C", "1"]),
    });
    let y = b.binary(Binary::Add, entry, u);
    let to = Store {
        slot: 3,
        index: strides("0", &["1", "R"]),
        value: y,
        accumulate: true,
    };
    let k = kernel(
        slots(&[DType::I32, DType::F32, DType::I32], &[DType::F32]),
        &["R", "C"],
        b.values,
        vec![Phase::Columns {
            reduce: vec![],
            store: vec![to],
        }],
    );
    let program = Program::new(&k, &["R", "C"]);
    for c in SIZES {
        let r = 3usize;
        let index: Vec<i32> = (0..r * c).map(|i| (i as i32 * 7) % 6 - 1).collect();
        let table = noise(12, 4);
        let old = noise(r * c, 5);
        let keys = ir::rng::keys([11, 22], 77, 3);
        let want: Vec<f32> = (0..r * c)
            .map(|flat| {
                let (j, i) = (flat / r, flat % r);
                let n = index[i * c + j];
                let v = if n < 0 { 0.0 } else { table[1 + 2 * n as usize] };
                old[flat] + (v + ir::rng::uniform(keys, (5 + i * c + j) as u32))
            })
            .collect();
        let mut data = [
            Data::I32(index),
            Data::F32(table),
            Data::I32(vec![11, 22]),
            Data::F32(old),
        ];
        program.run(&mut data, &[r as i64, c as i64], 2);
        assert_eq!(data[3].f32(), want, "{c} columns");
    }
}

/// Rows without reductions are cut, and cuts change nothing; i32 arithmetic rounds down.
#[test]
fn long_rows_are_cut() {
    let mut b = Body::default();
    let j = b.push(Value::Axis(0));
    let by = b.load(0, strides("0", &[]));
    let n = b.push(Value::Size(d("N - 9000")));
    let v = b.binary(Binary::Sub, n, j);
    let q = b.binary(Binary::FloorDiv, v, by);
    let y = b.push(Value::Cast(DType::F64, q));
    let phase = Phase::Columns {
        reduce: vec![],
        store: vec![store(1, strides("0", &["1"]), y)],
    };
    let program = Program::new(
        &kernel(slots(&[DType::I32], &[DType::F64]), &["N"], b.values, vec![phase]),
        &["N"],
    );
    for n in [1i64, 4096, 4097, 9001] {
        let mut data = [Data::I32(vec![7]), Data::F64(vec![0.5; n as usize])];
        program.run(&mut data, &[n], 3);
        let want: Vec<f64> = (0..n).map(|j| (n - 9000 - j).div_euclid(7) as f64).collect();
        assert_eq!(data[1].f64(), want);
    }
}

/// A later phase sees what an earlier one stored; sums over a column stride of 0 and into colliding elements add up.
#[test]
fn stores_are_seen_and_collisions_add_up() {
    let mut b = Body::default();
    let here = strides("0", &["C", "1"]);
    let x = b.load(0, here.clone());
    let double = b.binary(Binary::Add, x, x);
    let again = b.load(1, here.clone());
    let one = b.constant(1.0);
    let more = b.binary(Binary::Add, again, one);
    let column = b.push(Value::Axis(1));
    let three = b.push(Value::constant(DType::I32, 3.0));
    let group = b.binary(Binary::FloorDiv, column, three);
    let add = |index, value| Store {
        slot: 2,
        index,
        value,
        accumulate: true,
    };
    let grouped = Index {
        base: d("1"),
        terms: vec![(d("1"), Coord::Value(group))],
    };
    let phases = vec![
        Phase::Columns {
            reduce: vec![],
            store: vec![store(1, here.clone(), double)],
        },
        Phase::Columns {
            reduce: vec![],
            store: vec![store(1, here, more)],
        },
        Phase::Columns {
            reduce: vec![],
            store: vec![add(strides("0", &[]), again), add(grouped, again)],
        },
    ];
    let k = kernel(
        slots(&[DType::F32], &[DType::F32, DType::F32]),
        &["R", "C"],
        b.values,
        phases,
    );
    let program = Program::new(&k, &["R", "C"]);
    for c in SIZES {
        // Small whole numbers: sums are exact in any order.
        let x: Vec<f32> = (0..2 * c).map(|i| (i % 5) as f32).collect();
        let y: Vec<f32> = x.iter().map(|v| 2.0 * v + 1.0).collect();
        let mut sums = vec![0f32; 1 + c.div_ceil(3)];
        for (i, v) in y.iter().enumerate() {
            sums[0] += v;
            sums[1 + i % c / 3] += v;
        }
        let mut data = [
            Data::F32(x),
            Data::F32(vec![0.0; 2 * c]),
            Data::F32(vec![0.0; sums.len()]),
        ];
        program.run(&mut data, &[2, c as i64], 1);
        assert_eq!(data[1].f32(), y);
        assert_eq!(data[2].f32(), sums, "{c} columns");
    }
}

#[test]
fn unknown_sizes_are_named() {
    let mut b = Body::default();
    let x = b.load(0, strides("0", &["1"]));
    let phase = Phase::Columns {
        reduce: vec![],
        store: vec![store(1, strides("Q", &["1"]), x)],
    };
    let slots = vec![
        SlotDecl {
            dtype: DType::F32,
            access: Access::Read
        };
        2
    ];
    let k = kernel(slots, &["N"], b.values, vec![phase]);
    let target = crate::Target::parse("x86-64-v3").unwrap();
    let error = crate::compile(&[("copy_3".into(), k)], &["N".into()], &target).unwrap_err();
    assert_eq!(
        error.to_string(),
        "kernel `copy_3` uses the size `Q`, which is not among the program's sizes"
    );
}
