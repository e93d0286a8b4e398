//! Each kernel body against its definition, written down independently of the interpreter.

use ir::dim::{Dim, Env};
use ir::kernel::*;
use ir::rng;
use ir::scalar::{Binary, DType, Unary};
use proptest::prelude::*;
use w2vc_interp::{Buffer, Error, Place, run};

const F32: DType = DType::F32;
const I32: DType = DType::I32;

fn slots(list: &[(DType, Access)]) -> Vec<SlotDecl> {
    list.iter()
        .map(|(dtype, access)| SlotDecl {
            dtype: *dtype,
            access: *access,
        })
        .collect()
}

fn index(terms: &[(i64, usize)]) -> Index {
    Index {
        base: Dim::from(0),
        terms: terms.iter().map(|(s, a)| (Dim::from(*s), Coord::Axis(*a))).collect(),
    }
}

fn f32s(values: &[f32]) -> Buffer {
    Buffer::F32(values.to_vec())
}

/// Values of a small stream of random numbers, in -1..1.
fn random(seed: u32, len: usize) -> Vec<f32> {
    (0..len)
        .map(|i| rng::uniform([seed, 17], i as u32) * 2.0 - 1.0)
        .collect()
}

/// Every slot is the whole of the buffer of its number.
fn run_separate(kernel: &Kernel, buffers: &mut [Buffer], sizes: &Env) -> Result<(), Error> {
    let places: Vec<Place> = (0..buffers.len()).map(|buffer| Place { buffer, offset: 0 }).collect();
    run(kernel, buffers, &places, sizes)
}

fn close(got: &Buffer, want: &[f64]) {
    let got = got.to_f64();
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= 1e-6 * (1.0 + w.abs()), "element {i}: {g} is not {w}");
    }
}

#[test]
fn a_softmax_in_three_phases() {
    let load = Value::Load {
        slot: 0,
        index: index(&[(3, 0), (1, 1)]),
        guard: None,
    };
    let body = Body::Row(RowKernel {
        axes: vec!["R".parse().unwrap(), 3.into()],
        values: vec![
            load,
            Value::Reduced(0),
            Value::Binary(Binary::Sub, 0, 1),
            Value::Unary(Unary::Exp, 2),
            Value::Reduced(1),
            Value::Load {
                slot: 1,
                index: index(&[(3, 0), (1, 1)]),
                guard: None,
            },
            Value::Binary(Binary::Div, 5, 4),
            Value::Reduced(2),
        ],
        phases: vec![
            Phase::Columns {
                reduce: vec![(Reduction::Max, 0)],
                store: vec![],
            },
            Phase::Columns {
                reduce: vec![(Reduction::Sum, 3), (Reduction::ArgMax, 0)],
                store: vec![Store {
                    slot: 1,
                    index: index(&[(3, 0), (1, 1)]),
                    value: 3,
                    accumulate: false,
                }],
            },
            Phase::Columns {
                reduce: vec![],
                store: vec![Store {
                    slot: 1,
                    index: index(&[(3, 0), (1, 1)]),
                    value: 6,
                    accumulate: false,
                }],
            },
            Phase::Row {
                store: vec![Store {
                    slot: 2,
                    index: index(&[(1, 0)]),
                    value: 7,
                    accumulate: true,
                }],
            },
        ],
    });
    let kernel = Kernel {
        slots: slots(&[(F32, Access::Read), (F32, Access::Write), (I32, Access::Update)]),
        body,
    };
    let x = [1.0, 2.0, 3.0, -5.0, f32::NEG_INFINITY, -5.0];
    let mut buffers = [f32s(&x), Buffer::poison(F32, 6), Buffer::I32(vec![10, 20])];
    run_separate(&kernel, &mut buffers, &Env::from([("R".into(), 2)])).unwrap();
    let (a, b, c) = (1f64.exp(), 2f64.exp(), 3f64.exp());
    close(
        &buffers[1],
        &[a / (a + b + c), b / (a + b + c), c / (a + b + c), 0.5, 0.0, 0.5],
    );
    assert_eq!(buffers[2], Buffer::I32(vec![12, 20])); // added: position 2; the first of two equal ones

    let short = run_separate(&kernel, &mut buffers, &Env::from([("R".into(), 3)]));
    assert_eq!(
        short,
        Err(Error::OutOfBounds {
            body: "row",
            slot: 0,
            index: 6,
            len: 6
        })
    );
    let unknown = run_separate(&kernel, &mut buffers, &Env::new()).unwrap_err();
    assert_eq!(unknown.to_string(), "size `R` has no value");
}

#[test]
fn guards_gathers_and_random_numbers() {
    // out[i] = i < 2 ? table[ids[i]] : 0, plus u(i)
    let body = Body::Row(RowKernel {
        axes: vec![4.into()],
        values: vec![
            Value::Axis(0),
            Value::constant(I32, 2.0),
            Value::Binary(Binary::Less, 0, 1),
            Value::Load {
                slot: 0,
                index: index(&[(1, 0)]),
                guard: Some(2),
            },
            Value::Load {
                slot: 1,
                index: Index {
                    base: 1.into(),
                    terms: vec![(2.into(), Coord::Value(3))],
                },
                guard: Some(2),
            },
            Value::Uniform {
                seed: 2,
                site: 7,
                index: index(&[(5, 0)]),
            },
            Value::Binary(Binary::Add, 4, 5),
        ],
        phases: vec![Phase::Columns {
            reduce: vec![],
            store: vec![Store {
                slot: 3,
                index: index(&[(1, 0)]),
                value: 6,
                accumulate: false,
            }],
        }],
    });
    let decls = [
        (I32, Access::Read),
        (F32, Access::Read),
        (I32, Access::Read),
        (F32, Access::Write),
    ];
    let kernel = Kernel {
        slots: slots(&decls),
        body,
    };
    let mut buffers = [
        Buffer::I32(vec![2, 0]),
        f32s(&[0., 1., 2., 3., 4., 5.]),
        Buffer::I32(vec![-1, 9]),
        Buffer::poison(F32, 4),
    ];
    run_separate(&kernel, &mut buffers, &Env::from([("layer".into(), 3)])).unwrap();
    let u = |i: u32| rng::uniform(rng::keys([u32::MAX, 9], 7, 3), 5 * i) as f64;
    close(&buffers[3], &[5.0 + u(0), 1.0 + u(1), u(2), u(3)]);
}

#[test]
fn columns_reduce_over_rows() {
    // out[o, c] += sum over (r, s) of x[o, r, s, c], times two
    let body = Body::Column(ColumnKernel {
        outer: vec![2.into()],
        reduced: vec![2.into(), 3.into()],
        columns: 2.into(),
        values: vec![
            Value::Load {
                slot: 0,
                index: index(&[(12, 0), (6, 1), (2, 2), (1, 3)]),
                guard: None,
            },
            Value::Reduced(0),
            Value::Binary(Binary::Add, 1, 1),
        ],
        reduce: vec![(Reduction::Sum, 0)],
        store: vec![Store {
            slot: 1,
            index: index(&[(2, 0), (1, 3)]),
            value: 2,
            accumulate: true,
        }],
    });
    let kernel = Kernel {
        slots: slots(&[(F32, Access::Read), (F32, Access::Update)]),
        body,
    };
    let x = random(1, 24);
    let mut buffers = [f32s(&x), f32s(&[1.0; 4])];
    run_separate(&kernel, &mut buffers, &Env::new()).unwrap();
    let want = |o: usize, c: usize| 1.0 + 2.0 * (0..6).map(|r| x[o * 12 + r * 2 + c] as f64).sum::<f64>();
    close(&buffers[1], &[want(0, 0), want(0, 1), want(1, 0), want(1, 1)]);
}

#[test]
fn a_contraction_with_overlapping_rows_is_a_convolution() {
    // y[b, t, c] = relu(sum over p of x[b, 2 t + p] w[c, p]), one channel in, kernel 4, stride 2, two blocks of 2 taps
    let operand = |slot, batch: i64, k_outer: i64, free: i64| Strided {
        slot,
        base: 0.into(),
        batch: vec![batch.into()],
        k_outer: k_outer.into(),
        free: free.into(),
        k: 1.into(),
    };
    let body = Body::Contract(Contract {
        batch: vec![2.into()],
        m: 3.into(),
        n: 2.into(),
        k_outer: 2.into(),
        k: 2.into(),
        a: operand(0, 8, 2, 2),
        b: operand(1, 0, 2, 4),
        round: ir::rounding::Rounding::F32,
        values: vec![Value::Acc, Value::constant(F32, 0.0), Value::Binary(Binary::Max, 0, 1)],
        store: vec![Store {
            slot: 2,
            index: index(&[(6, 0), (2, 1), (1, 2)]),
            value: 2,
            accumulate: false,
        }],
    });
    let kernel = Kernel {
        slots: slots(&[(F32, Access::Read), (F32, Access::Read), (F32, Access::Write)]),
        body,
    };
    let (x, w) = (random(2, 16), random(3, 8));
    let mut buffers = [f32s(&x), f32s(&w), Buffer::poison(F32, 12)];
    run_separate(&kernel, &mut buffers, &Env::new()).unwrap();
    let mut want = vec![];
    for (b, t, c) in (0..2).flat_map(|b| (0..3).flat_map(move |t| (0..2).map(move |c| (b, t, c)))) {
        want.push(
            (0..4)
                .map(|p| (x[b * 8 + 2 * t + p] * w[c * 4 + p]) as f64)
                .sum::<f64>()
                .max(0.0),
        );
    }
    close(&buffers[2], &want);
}

#[test]
fn bf16_is_rounded_to_even_in_memory_and_in_products() {
    // The half-way points above 1 and above 1 + 2^-7: to even they round to 1 and to 1 + 2^-6.
    let (low, high) = (1.0 + 2f32.powi(-8), 1.0 + 3.0 * 2f32.powi(-8));
    let kernel = |text: &str| ir::kernel_text::parse(text).unwrap();
    let copy = kernel(
        "row [3]\n  s0 read f32\n  s1 write bf16\n  s2 write f32\n  v0 = load s0[a0]\n  v1 = load s1[a0]\n  columns\n    \
         s1[a0] = v0\n  columns\n    s2[a0] = v1\n",
    );
    let rounded = [1.0, 1.0 + 2f64.powi(-6), f64::NEG_INFINITY];
    let mut buffers = [
        f32s(&[low, high, f32::MIN]),
        Buffer::poison(DType::Bf16, 3),
        Buffer::poison(F32, 3),
    ];
    run_separate(&copy, &mut buffers, &Env::new()).unwrap();
    assert_eq!(buffers[1].to_f64(), rounded);
    assert_eq!(buffers[2].to_f64(), rounded);

    let product = "contract batch [], m 1, n 1, k_outer 1, k 2, round bf16\n  s0 read f32\n  s1 read f32\n  s2 write f32\n  \
                   a = s0[p]\n  b = s1[p]\n  v0 = acc\n  store\n    s2[0] = v0\n";
    for (text, want) in [
        (product.to_string(), 3.0 * (2.0 + 2f32.powi(-6))),
        (product.replace(", round bf16", ""), 3.0 * (low + high)),
    ] {
        let mut buffers = [f32s(&[low, high]), f32s(&[3.0, 3.0]), Buffer::poison(F32, 1)];
        run_separate(&kernel(&text), &mut buffers, &Env::new()).unwrap();
        assert_eq!(buffers[2], f32s(&[want]));
    }
}

#[test]
fn scatter_adds_rows_where_told() {
    let body = Body::Scatter(Scatter {
        rows: 2.into(),
        count: 3.into(),
        into: 2.into(),
        width: 2.into(),
        from: 0,
        index: 1,
        out: 2,
    });
    let kernel = Kernel {
        slots: slots(&[(F32, Access::Read), (I32, Access::Read), (F32, Access::Write)]),
        body,
    };
    let from: Vec<f32> = (1..=12).map(|v| v as f32).collect();
    let mut buffers = [
        f32s(&from),
        Buffer::I32(vec![1, -1, 1, 0, 1, 0]),
        Buffer::poison(F32, 8),
    ];
    run_separate(&kernel, &mut buffers, &Env::new()).unwrap();
    assert_eq!(buffers[2], f32s(&[0., 0., 6., 8., 18., 20., 9., 10.]));
    // Targets that are not there are skipped.
    buffers[1] = Buffer::I32(vec![2, i32::MAX, i32::MIN, 0, 7, -3]);
    run_separate(&kernel, &mut buffers, &Env::new()).unwrap();
    assert_eq!(buffers[2], f32s(&[0., 0., 0., 0., 7., 8., 0., 0.]));
}

/// Log-probability of all alignments by enumeration of every path of symbols.
fn ctc_by_enumeration(log_probs: &[f64], time: usize, vocab: usize, labels: &[usize]) -> f64 {
    let mut total = 0.0;
    for code in 0..vocab.pow(time as u32) {
        let path: Vec<usize> = (0..time).map(|t| code / vocab.pow(t as u32) % vocab).collect();
        let mut heard: Vec<usize> = path.clone();
        heard.dedup();
        heard.retain(|v| *v != 0);
        if heard == labels {
            total += path
                .iter()
                .enumerate()
                .map(|(t, v)| log_probs[t * vocab + v])
                .sum::<f64>()
                .exp();
        }
    }
    total.ln()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ctc_sums_over_all_alignments(seed: u32, time in 0usize..6, labels in proptest::collection::vec(1usize..3, 0..4)) {
        let (vocab, room) = (3, 4);
        let ctc = Ctc {
            batch: 1.into(), time: 6.into(), vocab: 3.into(), labels: 4.into(),
            log_probs: 0, lengths: 1, label_ids: 2, loss: 3, grad: 4,
        };
        let decls = [(F32, Access::Read), (I32, Access::Read), (I32, Access::Read), (F32, Access::Write), (F32, Access::Write)];
        let kernel = Kernel { slots: slots(&decls), body: Body::Ctc(ctc) };
        let log_probs: Vec<f32> = random(seed, 18).iter().map(|v| v - 1.0).collect();
        let mut ids: Vec<i32> = labels.iter().map(|l| *l as i32).collect();
        ids.resize(room, -1);
        let mut buffers = [
            f32s(&log_probs), Buffer::I32(vec![time as i32]), Buffer::I32(ids),
            Buffer::poison(F32, 1), Buffer::poison(F32, 18),
        ];
        run_separate(&kernel, &mut buffers, &Env::new()).unwrap();
        let wide: Vec<f64> = log_probs.iter().map(|v| *v as f64).collect();
        let loss = |x: &[f64]| {
            let l = -ctc_by_enumeration(x, time, vocab, &labels);
            if l.is_finite() { l } else { 0.0 }
        };
        close(&buffers[3], &[loss(&wide)]);
        let numeric: Vec<f64> = (0..18).map(|i| {
            let moved = |by: f64| { let mut x = wide.clone(); x[i] += by; loss(&x) };
            (moved(1e-4) - moved(-1e-4)) / 2e-4
        }).collect();
        close(&buffers[4], &numeric);
    }
}
