use crate::testing::{Data, Program};
use ir::dim::{Dim, Env};
use ir::kernel::{Access, Attention, AttentionDropout, AttentionGrad, Body, HeadView, Kernel, SlotDecl};
use ir::rng;
use ir::scalar::DType;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

const SITE: u32 = 11;
/// What the test program has as the size `layer`.
const LAYER: u32 = 3;
const SEED: [i32; 2] = [123, -45];

// q, k and v share slot 0 where they are packed, their gradients likewise slot DQ.
const LENGTHS: usize = 3;
const RATE: usize = 4;
const RANDOM: usize = 5;
const OUT: usize = 6;
const LSE: usize = 7;
const D_OUT: usize = 8;
const DQ: usize = 9;
const SLOTS: usize = 12;

#[derive(Clone, Copy, Debug)]
struct Shape {
    heads: i64,
    width: i64,
    /// q, k and v as one [B, T, 3, H, d], else each [B, H, T, d].
    packed: bool,
    dropout: bool,
}

impl Shape {
    /// Keeps scores of noise at a few units, so that single precision in them is single precision in their exponentials.
    fn scale(self) -> f64 {
        1.0 / (self.width as f64).sqrt()
    }

    fn view(self, first: usize, part: usize) -> HeadView {
        let (row, time) = (self.heads * self.width, Dim::sym("T"));
        let three = |d: Dim| d * Dim::from(3);
        if self.packed {
            let rows = three(Dim::from(row));
            let base = Dim::from(row * part as i64);
            HeadView {
                slot: first,
                base,
                batch: rows.clone() * time,
                time: rows,
                head: Dim::from(self.width),
            }
        } else {
            let head = time.clone() * Dim::from(self.width);
            let batch = head.clone() * Dim::from(self.heads);
            HeadView {
                slot: first + part,
                base: Dim::default(),
                batch,
                time: Dim::from(self.width),
                head,
            }
        }
    }

    fn rows_view(self, slot: usize) -> HeadView {
        let row = Dim::from(self.heads * self.width);
        HeadView {
            slot,
            base: Dim::default(),
            batch: row.clone() * Dim::sym("T"),
            time: row,
            head: Dim::from(self.width),
        }
    }

    fn forward(self) -> Attention {
        Attention {
            batch: Dim::sym("B"),
            time: Dim::sym("T"),
            heads: self.heads,
            head_dim: self.width,
            scale: self.scale().to_bits(),
            q: self.view(0, 0),
            k: self.view(0, 1),
            v: self.view(0, 2),
            lengths: LENGTHS,
            dropout: self.dropout.then_some(AttentionDropout {
                rate: RATE,
                seed: RANDOM,
                site: SITE,
            }),
            out: self.rows_view(OUT),
            lse: LSE,
        }
    }

    fn grad(self) -> AttentionGrad {
        AttentionGrad {
            forward: self.forward(),
            d_out: self.rows_view(D_OUT),
            dq: self.view(DQ, 0),
            dk: self.view(DQ, 1),
            dv: self.view(DQ, 2),
        }
    }
}

fn compile(body: Body, vector_bits: Option<u32>) -> Program {
    let slot = |i| {
        let access = match (&body, i) {
            (Body::Attention(_), OUT | LSE) | (_, DQ..) => Access::Write,
            _ => Access::Read,
        };
        SlotDecl {
            dtype: if i == LENGTHS || i == RANDOM {
                DType::I32
            } else {
                DType::F32
            },
            access,
        }
    };
    Program::for_vectors(
        &Kernel {
            slots: (0..SLOTS).map(slot).collect(),
            body,
        },
        &["B", "T"],
        vector_bits,
    )
}

/// A batch, with naive attention over it in f64.
struct Case {
    shape: Shape,
    batch: i64,
    time: i64,
    lengths: Vec<i32>,
    rate: f32,
    slots: Vec<Data>,
}

/// [B, H, T, d] in f64.
type Rows = Vec<Vec<f64>>;

impl Case {
    fn new(shape: Shape, batch: i64, time: i64, lengths: Vec<i32>) -> Case {
        let elements = batch * time * shape.heads * shape.width;
        let noise = |len: i64, seed| {
            (0..len as u32)
                .map(|i| rng::uniform([seed, 9], i) * 4.0 - 2.0)
                .collect()
        };
        let nothing = |len: i64| vec![f32::NAN; len as usize];
        let rate = 0.3;
        let mut slots: Vec<Data> = (0..SLOTS).map(|_| Data::F32(vec![])).collect();
        for part in 0..3 {
            let (len, slot) = if shape.packed {
                (3 * elements, 0)
            } else {
                (elements, part)
            };
            slots[slot] = Data::F32(noise(len, slot as u32));
            slots[DQ + slot] = Data::F32(nothing(len));
        }
        slots[LENGTHS] = Data::I32(lengths.clone());
        slots[RATE] = Data::F32(vec![rate]);
        slots[RANDOM] = Data::I32(SEED.to_vec());
        slots[OUT] = Data::F32(nothing(elements));
        slots[LSE] = Data::F32(nothing(batch * shape.heads * time));
        slots[D_OUT] = Data::F32(noise(elements, 20));
        let mut case = Case {
            shape,
            batch,
            time,
            lengths,
            rate,
            slots,
        };
        // Keys and values that do not count must not even be touched by arithmetic.
        for part in [1, 2] {
            for (row, at) in case.places(&shape.view(0, part)).into_iter().enumerate() {
                if row as i64 % time >= case.length(row) as i64 {
                    let Data::F32(data) = &mut case.slots[shape.view(0, part).slot] else {
                        unreachable!("f32 slots")
                    };
                    data[at..at + shape.width as usize].fill(f32::NAN);
                }
            }
        }
        case
    }

    /// The length of the batch element of row `row` of [B, H, T].
    fn length(&self, row: usize) -> usize {
        self.lengths[row / (self.shape.heads * self.time) as usize].clamp(0, self.time as i32) as usize
    }

    /// Where each row of [B, H, T] begins.
    fn places(&self, view: &HeadView) -> Vec<usize> {
        let env = Env::from([("T".into(), self.time)]);
        let [base, batch, time, head] =
            [&view.base, &view.batch, &view.time, &view.head].map(|d| d.eval(&env).expect("T is known"));
        let (heads, times) = (self.shape.heads, self.time);
        let rows = (0..self.batch * heads * times)
            .map(|row| base + row / (heads * times) * batch + row / times % heads * head + row % times * time);
        rows.map(|at| at as usize).collect()
    }

    fn rows(&self, view: &HeadView) -> Rows {
        let data = self.slots[view.slot].f32();
        let row = |at| {
            data[at..at + self.shape.width as usize]
                .iter()
                .map(|x| *x as f64)
                .collect()
        };
        self.places(view).into_iter().map(row).collect()
    }

    fn run(&mut self, program: &Program, pieces: i64) {
        program.run(&mut self.slots, &[self.batch, self.time], pieces);
    }

    /// Probabilities and dropout's factors for the keys of each row of [B, H, T], and the log-sum-exp.
    fn probabilities(&self) -> Vec<(Vec<f64>, Vec<f64>, f64)> {
        let (q, k) = (self.rows(&self.shape.view(0, 0)), self.rows(&self.shape.view(0, 1)));
        let keys = rng::keys(SEED.map(|s| s as u32), SITE, LAYER);
        let row = |row: usize| {
            let first = row / self.time as usize * self.time as usize;
            let scores: Vec<f64> = (0..self.length(row))
                .map(|j| self.shape.scale() * dot(&q[row], &k[first + j]))
                .collect();
            let lse = scores.iter().map(|s| s.exp()).sum::<f64>().ln();
            let factor = |j: usize| {
                let dropped = rng::uniform(keys, (row * self.time as usize + j) as u32) < self.rate;
                if !self.shape.dropout {
                    1.0
                } else if dropped {
                    0.0
                } else {
                    1.0 / (1.0 - self.rate as f64)
                }
            };
            let factors = (0..scores.len()).map(factor).collect();
            (scores.iter().map(|s| (s - lse).exp()).collect(), factors, lse)
        };
        (0..q.len()).map(row).collect()
    }

    fn zeros(&self) -> Rows {
        vec![vec![0.0; self.shape.width as usize]; (self.batch * self.shape.heads * self.time) as usize]
    }

    /// The output and lse as they should be.
    fn forward(&self) -> (Rows, Vec<f64>) {
        let v = self.rows(&self.shape.view(0, 2));
        let mut out = self.zeros();
        let mut all_lse = vec![];
        for (row, (p, factors, lse)) in self.probabilities().into_iter().enumerate() {
            let first = row / self.time as usize * self.time as usize;
            for (j, (p, factor)) in p.iter().zip(factors).enumerate() {
                add(&mut out[row], p * factor, &v[first + j]);
            }
            all_lse.push(lse);
        }
        (out, all_lse)
    }

    /// dq, dk, dv as they should be, and the largest sums of the magnitudes of what is added up in each of them.
    fn backward(&self) -> ([Rows; 3], [f64; 3]) {
        let [q, k, v] = [0, 1, 2].map(|part| self.rows(&self.shape.view(0, part)));
        let d_out = self.rows(&self.shape.rows_view(D_OUT));
        let mut grads = [self.zeros(), self.zeros(), self.zeros()];
        let mut magnitudes = grads.clone();
        for (row, (p, factors, _)) in self.probabilities().into_iter().enumerate() {
            let first = row / self.time as usize * self.time as usize;
            let dp: Vec<f64> = factors
                .iter()
                .enumerate()
                .map(|(j, f)| f * dot(&d_out[row], &v[first + j]))
                .collect();
            let mean = dot(&p, &dp);
            for (j, p) in p.iter().enumerate() {
                let (key, scale) = (first + j, self.shape.scale());
                let ds = scale * p * (dp[j] - mean);
                let size = scale * p * (dp[j].abs() + mean.abs());
                let terms = [(row, ds, size, &k[key]), (key, ds, size, &q[row])];
                let dv = (key, p * factors[j], p * factors[j], &d_out[row]);
                for (part, (at, factor, size, with)) in terms.into_iter().chain([dv]).enumerate() {
                    add(&mut grads[part][at], factor, with);
                    add(
                        &mut magnitudes[part][at],
                        size,
                        &with.iter().map(|x| x.abs()).collect::<Vec<_>>(),
                    );
                }
            }
        }
        (grads, magnitudes.map(|m| largest(&m)))
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn largest(rows: &Rows) -> f64 {
    rows.iter().flatten().fold(0.0, |m, x| m.max(x.abs()))
}

fn add(into: &mut [f64], factor: f64, row: &[f64]) {
    into.iter_mut().zip(row).for_each(|(x, y)| *x += factor * y);
}

/// Rows agree within single precision of `size`, and rows that nothing reaches are exactly 0.
fn close(
    what: &str,
    got: &Rows,
    want: &Rows,
    size: f64,
    unreached: impl Fn(usize) -> bool,
) -> Result<(), TestCaseError> {
    for (row, (got, want)) in got.iter().zip(want).enumerate() {
        for (got, want) in got.iter().zip(want) {
            prop_assert!(
                (got - want).abs() <= 3e-6 * size,
                "{what}, row {row}: {got}, not {want}"
            );
            prop_assert!(
                !unreached(row) || *got == 0.0,
                "{what}, row {row}: {got}, not exactly 0"
            );
        }
    }
    Ok(())
}

/// Sizes around those of tiles and blocks, and lengths from nothing to more than there is.
fn sizes() -> impl Strategy<Value = (i64, i64, Vec<i32>)> {
    let time = prop_oneof![4 => 1..40i64, 2 => 80..90i64, 1 => 165..170i64, 1 => 255..260i64, 2 => 508..560i64];
    (1..3i64, time).prop_flat_map(|(batch, time)| {
        let length = prop_oneof![1 => -1..2i32, 4 => 0..time as i32 + 2, 2 => Just(time as i32)];
        (
            Just(batch),
            Just(time),
            proptest::collection::vec(length, batch as usize),
        )
    })
}

fn check_shape(shape: Shape) {
    check_vectors(shape, None);
}

fn check_vectors(shape: Shape, vector_bits: Option<u32>) {
    let forward = compile(Body::Attention(shape.forward()), vector_bits);
    let backward = compile(Body::AttentionGrad(Box::new(shape.grad())), vector_bits);
    let check = |(batch, time, lengths): (i64, i64, Vec<i32>)| {
        let mut case = Case::new(shape, batch, time, lengths.clone());
        case.run(&forward, 1);
        let (out, lse) = case.forward();
        close("out", &case.rows(&shape.rows_view(OUT)), &out, largest(&out), |row| {
            case.length(row) == 0
        })?;
        for (row, (got, want)) in case.slots[LSE].f32().iter().zip(&lse).enumerate() {
            let got = *got as f64;
            prop_assert!(
                got == *want || (got - want).abs() < 1e-5,
                "lse, row {row}: {got}, not {want}"
            );
        }
        case.run(&backward, 1);
        let (grads, sizes) = case.backward();
        for (part, (want, size)) in grads.iter().zip(sizes).enumerate() {
            let padding = |row| part > 0 && row % time as usize >= case.length(row) || case.length(row) == 0;
            close(
                ["dq", "dk", "dv"][part],
                &case.rows(&shape.view(DQ, part)),
                want,
                size,
                padding,
            )?;
        }
        // The same bits however the items are divided.
        let mut again = Case::new(shape, batch, time, lengths);
        again.run(&forward, 3);
        again.run(&backward, 3);
        let bits = |case: &Case| -> Vec<u32> {
            [OUT, LSE, DQ]
                .iter()
                .flat_map(|slot| case.slots[*slot].f32())
                .map(|x| x.to_bits())
                .collect()
        };
        prop_assert_eq!(bits(&case), bits(&again));
        Ok(())
    };
    // A block of queries and one more; a block of keys and one more; three blocks of keys.
    for (time, length) in [(85, 85), (513, 513), (1030, 1025)] {
        check((1, time, vec![length])).unwrap_or_else(|e| panic!("{shape:?}, {length} of {time} keys: {e}"));
    }
    let mut runner = TestRunner::new(Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    });
    runner.run(&sizes(), check).unwrap_or_else(|e| panic!("{shape:?}: {e}"));
}

#[test]
fn heads_of_one_panel() {
    check_shape(Shape {
        heads: 2,
        width: 16,
        packed: true,
        dropout: true,
    });
}

#[test]
fn heads_of_several_panels() {
    check_shape(Shape {
        heads: 2,
        width: 64,
        packed: true,
        dropout: false,
    });
}

#[test]
fn heads_of_half_a_panel() {
    check_shape(Shape {
        heads: 3,
        width: 8,
        packed: false,
        dropout: true,
    });
}

#[test]
fn heads_of_odd_width() {
    check_shape(Shape {
        heads: 1,
        width: 21,
        packed: false,
        dropout: false,
    });
}

/// The vectors of AVX-512 on any processor.
#[test]
fn heads_in_wide_vectors() {
    let shape = Shape {
        heads: 2,
        width: 24,
        packed: true,
        dropout: true,
    };
    check_vectors(shape, Some(512));
}

/// A first block of keys may have nothing but scores of minus infinity: they are as if they were not there.
#[test]
fn scores_of_minus_infinity_do_not_count() {
    let shape = Shape {
        heads: 1,
        width: 32,
        packed: false,
        dropout: false,
    };
    let (time, without) = (600, 512);
    let mut case = Case::new(shape, 1, time, vec![time as i32]);
    let values = case.slots[2].f32().to_vec();
    let key = |at: usize| if at / 32 < without { -1e30 } else { 0.0 };
    case.slots[0] = Data::F32(vec![1e30; values.len()]);
    case.slots[1] = Data::F32((0..values.len()).map(key).collect());
    case.run(&compile(Body::Attention(shape.forward()), None), 1);
    let counted = (time as usize - without) as f64;
    for (at, out) in case.slots[OUT].f32().iter().enumerate() {
        let column = values.iter().skip(32 * without + at % 32).step_by(32);
        let mean = column.map(|v| *v as f64).sum::<f64>() / counted;
        assert!((*out as f64 - mean).abs() < 1e-5, "element {at}: {out}, not {mean}");
    }
    let lse = case.slots[LSE].f32();
    assert!(lse.iter().all(|lse| (*lse as f64 - counted.ln()).abs() < 1e-5));
}
