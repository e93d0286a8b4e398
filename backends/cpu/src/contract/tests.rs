use crate::testing::{Data, Program};
use ir::dim::Dim;
use ir::kernel::{Access, Body, Contract, Coord, Index, Kernel, SlotDecl, Store, Strided, Value};
use ir::scalar::{Binary, DType};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

const SYMBOLS: [&str; 17] = [
    "g", "h", "m", "n", "o", "k", "a_base", "a_g", "a_h", "a_o", "a_free", "a_k", "b_base", "b_g", "b_o", "b_free",
    "b_k",
];

/// Which stride of an operand is the constant 1.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    Depth,
    Free,
    None,
}

/// What the kernel computes from the product, in all cases plus a bias over columns.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Epilogue {
    /// out[g, h, i, j]
    Rows,
    /// out[g, h, j, i]
    Transposed,
}

/// out = 2 acc + bias[j]; sum += acc, over batch axes g, h of which b sees only the first.
fn kernel(a: Unit, b: Unit, epilogue: Epilogue) -> Kernel {
    let s = Dim::sym;
    let unit = |unit, this, name| if unit == this { Dim::from(1) } else { Dim::sym(name) };
    let strides = match epilogue {
        Epilogue::Rows => [s("h") * s("m") * s("n"), s("m") * s("n"), s("n"), Dim::from(1)],
        Epilogue::Transposed => [s("h") * s("m") * s("n"), s("m") * s("n"), Dim::from(1), s("m")],
    };
    let index = Index {
        base: Dim::default(),
        terms: strides.into_iter().zip((0..4).map(Coord::Axis)).collect(),
    };
    let bias = Index {
        base: Dim::default(),
        terms: vec![(Dim::from(1), Coord::Axis(3))],
    };
    let slot = |access| SlotDecl {
        dtype: DType::F32,
        access,
    };
    Kernel {
        slots: [Access::Read, Access::Read, Access::Read, Access::Write, Access::Update]
            .map(slot)
            .to_vec(),
        body: Body::Contract(Contract {
            batch: vec![s("g"), s("h")],
            m: s("m"),
            n: s("n"),
            k_outer: s("o"),
            k: s("k"),
            a: Strided {
                slot: 0,
                base: s("a_base"),
                batch: vec![s("a_g"), s("a_h")],
                k_outer: s("a_o"),
                free: unit(Unit::Free, a, "a_free"),
                k: unit(Unit::Depth, a, "a_k"),
            },
            b: Strided {
                slot: 1,
                base: s("b_base"),
                batch: vec![s("b_g"), Dim::default()],
                k_outer: s("b_o"),
                free: unit(Unit::Free, b, "b_free"),
                k: unit(Unit::Depth, b, "b_k"),
            },
            round: ir::rounding::Rounding::F32,
            values: vec![
                Value::Acc,
                Value::Load {
                    slot: 2,
                    index: bias,
                    guard: None,
                },
                Value::Binary(Binary::Add, 0, 0),
                Value::Binary(Binary::Add, 2, 1),
            ],
            store: vec![
                Store {
                    slot: 3,
                    index: index.clone(),
                    value: 3,
                    accumulate: false,
                },
                Store {
                    slot: 4,
                    index,
                    value: 0,
                    accumulate: true,
                },
            ],
        }),
    }
}

fn noise(len: i64, seed: u32) -> Vec<f32> {
    (0..len as u32).map(|i| ir::rng::uniform([seed, 17], i) - 0.5).collect()
}

/// Extents at which something changes: nothing, one, tile edges, chunk edges, block edges.
fn extent(most: i64) -> impl Strategy<Value = i64> {
    prop_oneof![1 => 0..2i64, 6 => 1..40i64, 1 => 94..99i64, 2 => 250..260i64, 1 => 511..515i64]
        .prop_map(move |v| v.min(most))
}

#[derive(Clone, Debug)]
struct Case {
    batch: [i64; 2],
    m: i64,
    n: i64,
    outer: i64,
    k: i64,
    /// Strides other than the constant ones: a_g, a_h, a_o, a_free, a_k, b_g, b_o, b_free, b_k.
    strides: [i64; 9],
    base: [i64; 2],
}

fn case() -> impl Strategy<Value = Case> {
    let sizes = (
        extent(300),
        extent(300),
        prop_oneof![3 => Just(1), 2 => 1..5i64],
        extent(515),
    );
    let batch = prop_oneof![2 => Just([1, 1]), 1 => [1..3i64, 1..3i64]];
    (batch, sizes, proptest::array::uniform9(1..700i64), [0..9i64, 0..9i64])
        .prop_filter("small enough for a naive product", |(batch, (m, n, o, k), ..)| {
            batch[0] * batch[1] * m * n * o * k < 3_000_000
        })
        .prop_map(|(batch, (m, n, outer, k), strides, base)| Case {
            batch,
            m,
            n,
            outer,
            k,
            strides,
            base,
        })
}

struct Operands {
    sizes: Vec<i64>,
    a: Vec<f32>,
    b: Vec<f32>,
    bias: Vec<f32>,
    sum: Vec<f32>,
}

impl Case {
    fn operands(&self, a: Unit, b: Unit) -> Operands {
        let mut strides = self.strides;
        for (unit, free, depth) in [(a, 3, 4), (b, 7, 8)] {
            match unit {
                Unit::Free => strides[free] = 1,
                Unit::Depth => strides[depth] = 1,
                Unit::None => {}
            }
        }
        let [a_g, a_h, a_o, a_free, a_k, b_g, b_o, b_free, b_k] = strides;
        let ([g, h], m, n, o, k) = (self.batch, self.m, self.n, self.outer, self.k);
        let last = |extents: &[i64], strides: &[i64]| -> i64 {
            extents.iter().zip(strides).map(|(e, s)| (e - 1).max(0) * s).sum()
        };
        let a_len = self.base[0] + last(&[g, h, m, o, k], &[a_g, a_h, a_free, a_o, a_k]) + 1;
        let b_len = self.base[1] + last(&[g, n, o, k], &[b_g, b_free, b_o, b_k]) + 1;
        Operands {
            sizes: vec![
                g,
                h,
                m,
                n,
                o,
                k,
                self.base[0],
                a_g,
                a_h,
                a_o,
                a_free,
                a_k,
                self.base[1],
                b_g,
                b_o,
                b_free,
                b_k,
            ],
            a: noise(a_len, 1),
            b: noise(b_len, 2),
            bias: noise(n, 3),
            sum: noise(g * h * m * n, 4),
        }
    }
}

/// The outputs of the kernel: out and sum.
fn run(program: &Program, x: &Operands, pieces: i64) -> [Vec<f32>; 2] {
    let out = vec![f32::NAN; x.sum.len()];
    let mut slots = [&x.a, &x.b, &x.bias, &out, &x.sum].map(|v| Data::F32(v.clone()));
    program.run(&mut slots, &x.sizes, pieces);
    [3, 4].map(|slot| slots[slot].f32().to_vec())
}

fn bits(v: &[f32]) -> Vec<u32> {
    v.iter().map(|x| x.to_bits()).collect()
}

fn check(program: &Program, case: &Case, a: Unit, b: Unit, epilogue: Epilogue) -> Result<(), TestCaseError> {
    let x = case.operands(a, b);
    let [out, sum] = run(program, &x, 1);
    let &[
        g,
        h,
        m,
        n,
        o,
        k,
        a_base,
        a_g,
        a_h,
        a_o,
        a_free,
        a_k,
        b_base,
        b_g,
        b_o,
        b_free,
        b_k,
    ] = x.sizes.as_slice()
    else {
        unreachable!("as many sizes as symbols");
    };
    for at in 0..g * h * m * n {
        let (batch, i, j) = match epilogue {
            Epilogue::Rows => (at / n / m, at / n % m, at % n),
            Epilogue::Transposed => (at / n / m, at % m, at / m % n),
        };
        let (a_at, b_at) = (
            a_base + batch / h * a_g + batch % h * a_h + i * a_free,
            b_base + batch / h * b_g + j * b_free,
        );
        let (mut acc, mut size) = (0.0, 0.0);
        for (o, k) in (0..o).flat_map(|o| (0..k).map(move |k| (o, k))) {
            let product =
                x.a[(a_at + o * a_o + k * a_k) as usize] as f64 * x.b[(b_at + o * b_o + k * b_k) as usize] as f64;
            acc += product;
            size += product.abs();
        }
        // Every step of a sum of products rounds once, by at most 2^-24 of what has been summed.
        let bound = (o * k + 4) as f64 * size * 2f64.powi(-24) + 1e-6;
        let (want_out, want_sum) = (2.0 * acc + x.bias[j as usize] as f64, acc + x.sum[at as usize] as f64);
        let (out, sum) = (out[at as usize] as f64, sum[at as usize] as f64);
        prop_assert!(
            (out - want_out).abs() <= 2.0 * bound,
            "out[{batch}, {i}, {j}]: {out}, not {want_out}"
        );
        prop_assert!(
            (sum - want_sum).abs() <= bound,
            "sum[{batch}, {i}, {j}]: {sum}, not {want_sum}"
        );
    }
    // The same bits however the items are divided.
    let [pieces, _] = run(program, &x, 3);
    prop_assert_eq!(bits(&out), bits(&pieces));
    Ok(())
}

fn check_kernel(a: Unit, b: Unit, epilogue: Epilogue) {
    check_vectors(a, b, epilogue, None);
}

fn check_vectors(a: Unit, b: Unit, epilogue: Epilogue, vector_bits: Option<u32>) {
    let program = Program::for_vectors(&kernel(a, b, epilogue), &SYMBOLS, vector_bits);
    let mut runner = TestRunner::new(Config {
        cases: 40,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&case(), |case| check(&program, &case, a, b, epilogue))
        .unwrap_or_else(|e| panic!("{a:?} {b:?}: {e}"));
}

#[test]
fn contiguous_depth_of_a_is_exact_enough() {
    for b in [Unit::Depth, Unit::Free, Unit::None] {
        check_kernel(Unit::Depth, b, Epilogue::Rows);
    }
}

#[test]
fn transposed_a_is_exact_enough() {
    for b in [Unit::Depth, Unit::Free, Unit::None] {
        check_kernel(Unit::Free, b, Epilogue::Rows);
    }
}

#[test]
fn any_strides_of_a_are_exact_enough() {
    check_kernel(Unit::None, Unit::Free, Epilogue::Rows);
}

/// The tiles of AVX-512 on any processor.
#[test]
fn wide_tiles_are_exact_enough() {
    check_vectors(Unit::Depth, Unit::Depth, Epilogue::Rows, Some(512));
    check_vectors(Unit::Free, Unit::Free, Epilogue::Rows, Some(512));
}

#[test]
fn transposed_results_are_exact_enough() {
    check_kernel(Unit::Depth, Unit::Depth, Epilogue::Transposed);
}

/// A convolution over time, whose rows overlap, and products with rows apart; the summed axis is contiguous across its outer
/// part. Rows are read where they are but for the last; columns are those of either kind of panel; steps are of one pass and of
/// several.
#[test]
fn rows_of_constant_sizes_are_exact_enough() {
    for vector_bits in [256, 512] {
        for (outer, n, free, known_rows) in [
            (3, 37, 40, None),
            (40, 48, 20, None),
            (3, 37, 700, None),
            (40, 40, 20, Some(97)),
            (40, 37, 900, None),
            (40, 37, 1024, None),
        ] {
            check_overlapping(vector_bits, (outer, n, free), known_rows);
        }
    }
}

fn check_overlapping(vector_bits: u32, (outer, n, free): (i64, i64, i64), known_rows: Option<i64>) {
    let (a, b) = (Unit::Depth, Unit::Depth);
    let mut kernel = kernel(a, b, Epilogue::Rows);
    let Body::Contract(body) = &mut kernel.body else {
        unreachable!("a contraction was made")
    };
    (body.k_outer, body.k, body.n) = (Dim::from(outer), Dim::from(20), Dim::from(n));
    (body.a.k_outer, body.b.k_outer, body.a.free) = (Dim::from(20), Dim::from(20), Dim::from(free));
    if let Some(rows) = known_rows {
        (body.m, body.batch) = (Dim::from(rows), vec![Dim::from(1), Dim::from(2)]);
    }
    let program = Program::for_vectors(&kernel, &SYMBOLS, Some(vector_bits));
    let g = if known_rows.is_some() { 1 } else { 2 };
    let all = [1, 5, 6, 7, 95, 96, 97, 141];
    let some = all.into_iter().filter(|m| known_rows.is_none_or(|known| known == *m));
    for m in some {
        let width = 20 * outer;
        let strides = [100_000, 100, 20, free, 1, 50, 20, width, 1];
        let case = Case {
            batch: [g, 2],
            m,
            n,
            outer,
            k: 20,
            strides,
            base: [3, 5],
        };
        let told = format!("{m} rows of {outer} x 20 steps, {n} columns, {vector_bits} bits");
        check(&program, &case, a, b, Epilogue::Rows).unwrap_or_else(|e| panic!("{told}: {e}"));
    }
}

/// A single step of the inner summed axis is the same as one long axis.
#[test]
fn a_summed_axis_of_outer_steps_is_exact_enough() {
    let (a, b) = (Unit::None, Unit::Free);
    let mut kernel = kernel(a, b, Epilogue::Rows);
    let Body::Contract(body) = &mut kernel.body else {
        unreachable!("a contraction was made")
    };
    (body.k, body.a.k_outer) = (Dim::from(1), Dim::from(1));
    let program = Program::new(&kernel, &SYMBOLS);
    for outer in [0, 1, 255, 256, 257, 600] {
        let strides = [7, 9, 1, 700, 1, 11, 50, 1, 3];
        let case = Case {
            batch: [1, 2],
            m: 13,
            n: 19,
            outer,
            k: 1,
            strides,
            base: [0, 1],
        };
        check(&program, &case, a, b, Epilogue::Rows).unwrap_or_else(|e| panic!("{outer} steps: {e}"));
    }
}

/// A row gives the same bits alone as among others: its place in a block does not matter.
#[test]
fn rows_do_not_depend_on_their_place() {
    let (a, b) = (Unit::Depth, Unit::Depth);
    let program = Program::new(&kernel(a, b, Epilogue::Rows), &SYMBOLS);
    let (m, n, k) = (103, 45, 531);
    let strides = [0, 0, 0, k, 1, 0, 0, k, 1];
    let all = Case {
        batch: [1, 1],
        m,
        n,
        outer: 1,
        k,
        strides,
        base: [0, 0],
    }
    .operands(a, b);
    let [together, _] = run(&program, &all, 1);
    for i in [0, 5, 6, 95, 96, 101, 102] {
        let mut one = Case {
            batch: [1, 1],
            m: 1,
            n,
            outer: 1,
            k,
            strides,
            base: [0, 0],
        }
        .operands(a, b);
        one.a = all.a[(i * k) as usize..].to_vec();
        let [alone, _] = run(&program, &one, 1);
        assert_eq!(
            bits(&alone),
            bits(&together[(i * n) as usize..][..n as usize]),
            "row {i}"
        );
    }
}
