use crate::Target;
use crate::testing::{Data, Program, d};
use ir::dim::Dim;
use ir::kernel::{Access, Body, Contract, Coord, Index, Kernel, SlotDecl, Store, Strided, Value};
use ir::rounding::Rounding;
use ir::scalar::{Binary, DType};

/// What errors may be, of those of products tap by tap.
const MOST_GROWTH: f64 = 1.0;
const SYMBOLS: [&str; 2] = ["B", "T"];

/// A convolution over time of clips [B, stride * (T - 1) + taps, channels].
#[derive(Clone, Copy, Debug)]
struct Shape {
    taps: i64,
    stride: i64,
    channels: i64,
    columns: i64,
}

impl Shape {
    fn frames(&self) -> Dim {
        Dim::from(self.stride) * (Dim::sym("T") - Dim::from(1)) + Dim::from(self.taps)
    }

    /// Frames of a clip in a case.
    fn inputs(&self, t: i64) -> i64 {
        self.stride * (t - 1) + self.taps
    }

    /// out[b, t, j] = 2 * sum over l, c of x[b, stride t + l, c] w[l, c, j] + bias[j]
    fn outputs(&self) -> Kernel {
        let (depth, n) = (Dim::from(self.taps * self.channels), Dim::from(self.columns));
        let a = Strided {
            slot: 0,
            base: Dim::default(),
            batch: vec![self.frames() * Dim::from(self.channels)],
            k_outer: Dim::default(),
            free: Dim::from(self.stride * self.channels),
            k: Dim::from(1),
        };
        let b = Strided {
            slot: 1,
            base: Dim::default(),
            batch: vec![Dim::default()],
            k_outer: Dim::default(),
            free: Dim::from(1),
            k: n.clone(),
        };
        self.kernel((vec![d("B")], d("T")), (Dim::from(1), depth), (a, b), |row| {
            vec![(d("T") * n.clone(), 0), (n.clone(), row), (Dim::from(1), row + 1)]
        })
    }

    /// out[l, c, j] = 2 * sum over b, t of x[b, stride t + l, c] g[b, t, j] + bias[j]
    fn weights(&self) -> Kernel {
        let n = Dim::from(self.columns);
        let a = Strided {
            slot: 0,
            base: Dim::default(),
            batch: vec![],
            k_outer: self.frames() * Dim::from(self.channels),
            free: Dim::from(1),
            k: Dim::from(self.stride * self.channels),
        };
        let b = Strided {
            slot: 1,
            base: Dim::default(),
            batch: vec![],
            k_outer: d("T") * n.clone(),
            free: Dim::from(1),
            k: n.clone(),
        };
        let rows = Dim::from(self.taps * self.channels);
        self.kernel((vec![], rows), (d("B"), d("T")), (a, b), |row| {
            vec![(n.clone(), row), (Dim::from(1), row + 1)]
        })
    }

    fn kernel(
        &self,
        (batch, m): (Vec<Dim>, Dim),
        (k_outer, k): (Dim, Dim),
        (a, b): (Strided, Strided),
        terms: impl Fn(usize) -> Vec<(Dim, usize)>,
    ) -> Kernel {
        let row = batch.len();
        let index = |terms: Vec<(Dim, usize)>| Index {
            base: Dim::default(),
            terms: terms
                .into_iter()
                .map(|(stride, axis)| (stride, Coord::Axis(axis)))
                .collect(),
        };
        let bias = Value::Load {
            slot: 2,
            index: index(vec![(Dim::from(1), row + 1)]),
            guard: None,
        };
        let slot = |access| SlotDecl {
            dtype: DType::F32,
            access,
        };
        let double_plus_bias = [Value::Binary(Binary::Add, 0, 0), Value::Binary(Binary::Add, 2, 1)];
        Kernel {
            slots: [Access::Read, Access::Read, Access::Read, Access::Write]
                .map(slot)
                .to_vec(),
            body: Body::Contract(Contract {
                batch,
                m,
                n: Dim::from(self.columns),
                k_outer,
                k,
                a,
                b,
                round: Rounding::F32,
                values: [Value::Acc, bias].into_iter().chain(double_plus_bias).collect(),
                store: vec![Store {
                    slot: 3,
                    index: index(terms(row)),
                    value: 3,
                    accumulate: false,
                }],
            }),
        }
    }
}

fn noise(len: i64, seed: u32) -> Vec<f32> {
    (0..len as u32).map(|i| ir::rng::uniform([seed, 23], i) - 0.5).collect()
}

/// Checks `out` against sums in f64. An element may be off by what rounding makes of sums of parts: each of the seven or four
/// products sums `steps` products of up to two inputs and up to three of the other operand, all of magnitude 1/2 at most.
fn check(told: &str, steps: i64, out: &[f32], wanted: impl Fn(usize) -> f64) {
    let bound = 2.0 * 7.0 * 3.0 * (steps as f64 + 8.0) * 0.5 * 2f64.powi(-24);
    for (at, out) in out.iter().enumerate() {
        let wanted = wanted(at);
        assert!(
            (*out as f64 - wanted).abs() <= bound,
            "{told}: element {at} is {out}, not {wanted}"
        );
    }
}

fn run(program: &Program, slots: &[Data; 4], sizes: [i64; 2]) -> Vec<f32> {
    let of_pieces = |pieces| {
        let mut slots = slots.clone();
        program.run(&mut slots, &sizes, pieces);
        slots[3].f32().to_vec()
    };
    let (out, pieces) = (of_pieces(1), of_pieces(3));
    let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&out), bits(&pieces), "the same bits however the items are divided");
    out
}

/// Several chunks of the summed axis, and several blocks of rows and columns.
const LARGE: Shape = Shape {
    taps: 3,
    stride: 2,
    channels: 520,
    columns: 528,
};
const SHAPES: [Shape; 2] = [
    Shape {
        taps: 3,
        stride: 2,
        channels: 128,
        columns: 136,
    },
    Shape {
        taps: 2,
        stride: 1,
        channels: 128,
        columns: 192,
    },
];
/// Numbers of outputs around a whole number of turns, of tiles, of blocks and of chunks.
const OUTPUTS: [i64; 9] = [1, 2, 3, 4, 41, 42, 43, 127, 700];

#[test]
fn outputs_of_convolutions_are_exact_enough() {
    let cases = SHAPES
        .map(|s| (s, OUTPUTS.to_vec()))
        .into_iter()
        .chain([(LARGE, vec![7, 190])]);
    for ((shape, outputs), vector_bits) in cases.flat_map(|case| [(case.clone(), 256), (case, 512)]) {
        let program = Program::for_vectors(&shape.outputs(), &SYMBOLS, Some(vector_bits));
        for t in outputs {
            let (frames, n) = (shape.inputs(t), shape.columns);
            let (x, w) = (
                noise(2 * frames * shape.channels, 1),
                noise(shape.taps * shape.channels * n, 2),
            );
            let bias = noise(n, 3);
            let slots = [x.clone(), w.clone(), bias.clone(), vec![f32::NAN; (2 * t * n) as usize]].map(Data::F32);
            let out = run(&program, &slots, [2, t]);
            check(
                &format!("{shape:?}, {t} outputs, {vector_bits} bits"),
                shape.taps * shape.channels,
                &out,
                |at| {
                    let (row, j) = (at as i64 / n, at as i64 % n);
                    let from = (row / t * frames + row % t * shape.stride) * shape.channels;
                    let product = |p: i64| x[(from + p) as usize] as f64 * w[(p * n + j) as usize] as f64;
                    2.0 * (0..shape.taps * shape.channels).map(product).sum::<f64>() + bias[j as usize] as f64
                },
            );
        }
    }
}

#[test]
fn gradients_of_taps_are_exact_enough() {
    let outputs = OUTPUTS.into_iter().chain([0]).collect::<Vec<_>>();
    let cases = SHAPES
        .map(|s| (s, outputs.clone()))
        .into_iter()
        .chain([(LARGE, vec![5, 800])]);
    for ((shape, outputs), vector_bits) in cases.flat_map(|case| [(case.clone(), 256), (case, 512)]) {
        let program = Program::for_vectors(&shape.weights(), &SYMBOLS, Some(vector_bits));
        for t in outputs {
            let (frames, n) = (shape.inputs(t).max(0), shape.columns);
            let (x, g) = (noise(2 * frames * shape.channels, 1), noise(2 * t * n, 2));
            let bias = noise(n, 3);
            let nothing = vec![f32::NAN; (shape.taps * shape.channels * n) as usize];
            let slots = [x.clone(), g.clone(), bias.clone(), nothing].map(Data::F32);
            let out = run(&program, &slots, [2, t]);
            check(
                &format!("{shape:?}, {t} steps, {vector_bits} bits"),
                2 * t,
                &out,
                |at| {
                    let (row, j) = (at as i64 / n, at as i64 % n);
                    let product = |p: i64| {
                        let (b, t) = (p / t, p % t);
                        let input = (b * frames + shape.stride * t) * shape.channels + row;
                        x[input as usize] as f64 * g[(p * n + j) as usize] as f64
                    };
                    2.0 * (0..2 * t).map(product).sum::<f64>() + bias[j as usize] as f64
                },
            );
        }
    }
}

/// A clip gives the same bits alone as among others, also where its last turn of rows would reach into the next clip.
#[test]
fn clips_do_not_depend_on_each_other() {
    let shape = SHAPES[0];
    let program = Program::new(&shape.outputs(), &SYMBOLS);
    let n = shape.columns;
    let (w, bias) = (noise(3 * shape.channels * n, 2), noise(n, 3));
    for t in [43, 44, 45] {
        let x = noise(2 * shape.inputs(t) * shape.channels, 1);
        let of = |x: &[f32], clips: i64| {
            let nothing = vec![f32::NAN; (clips * t * n) as usize];
            run(
                &program,
                &[x.to_vec(), w.clone(), bias.clone(), nothing].map(Data::F32),
                [clips, t],
            )
        };
        let both = of(&x, 2);
        let halves = x.chunks(x.len() / 2).zip(both.chunks(both.len() / 2));
        halves.for_each(|(x, out)| assert_eq!(of(x, 1), out, "{t} outputs"));
    }
}

/// What lies beyond a clip in its batch cancels but for rounding.
#[test]
fn frames_beyond_a_clip_do_not_count() {
    let shape = SHAPES[0];
    let program = Program::new(&shape.outputs(), &SYMBOLS);
    let (t, known, n) = (46, 43, shape.columns);
    let (w, bias) = (noise(3 * shape.channels * n, 2), noise(n, 3));
    let x = noise(shape.inputs(t) * shape.channels, 1);
    let mut other = x.clone();
    let beyond = (shape.inputs(known) * shape.channels) as usize;
    other[beyond..].iter_mut().for_each(|x| *x = 3.0 - *x);
    let of = |x: Vec<f32>| {
        let slots = [x, w.clone(), bias.clone(), vec![f32::NAN; (t * n) as usize]].map(Data::F32);
        run(&program, &slots, [1, t])
    };
    let (out, other) = (of(x), of(other));
    for (at, (x, y)) in out.iter().zip(&other).take((known * n) as usize).enumerate() {
        assert!((x - y).abs() < 3e-5, "element {at}: {x} and {y}");
    }
    assert_ne!(out.last(), other.last());
}

/// Sums of parts round more often than sums of products, but chains of additions are shorter. What comes of it for inputs
/// around 0 and for inputs above 0: the root mean square of all errors, of that of products tap by tap.
#[test]
fn errors_do_not_grow() {
    let host = Target::host().unwrap_or_else(|e| panic!("{e}"));
    let direct = Target {
        direct: true,
        ..host.clone()
    };
    for (shape, least) in SHAPES.into_iter().flat_map(|s| [(s, -0.5), (s, 0.0)]) {
        let (t, n) = (900, shape.columns);
        let depth = (shape.taps * shape.channels) as usize;
        let mut x = noise(shape.inputs(t) * shape.channels, 1);
        x.iter_mut().for_each(|x| *x += 0.5 + least);
        let w = noise(depth as i64 * n, 2);
        let slots = [
            x.clone(),
            w.clone(),
            vec![0.0; n as usize],
            vec![f32::NAN; (t * n) as usize],
        ]
        .map(Data::F32);
        let error = |target: &Target| {
            let out = run(&Program::for_target(&shape.outputs(), &SYMBOLS, target), &slots, [1, t]);
            let of = |(at, out): (usize, &f32)| {
                let (row, j) = (at / n as usize, at % n as usize);
                let from = row * (shape.stride * shape.channels) as usize;
                let product = |p: usize| x[from + p] as f64 * w[p * n as usize + j] as f64;
                (*out as f64 - 2.0 * (0..depth).map(product).sum::<f64>()).powi(2)
            };
            (out.iter().enumerate().map(of).sum::<f64>() / out.len() as f64).sqrt()
        };
        let grows = error(&host) / error(&direct);
        println!("{shape:?}, inputs from {least} on: errors {grows:.2} times those of products tap by tap");
        assert!(
            (0.5..MOST_GROWTH).contains(&grows),
            "{shape:?}, inputs from {least} on: {grows} times"
        );
    }
}
