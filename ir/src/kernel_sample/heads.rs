//! How large the sums inside attention are, which bounds the error of adding them up.

use super::Sample;
use crate::dim::{Dim, Env};
use crate::kernel::*;
use crate::rng;

/// The operands of heads: those of the forward direction, then the gradients.
pub fn views(body: &Body) -> Vec<&HeadView> {
    let (forward, grads) = match body {
        Body::Attention(k) => (k, vec![]),
        Body::AttentionGrad(g) => (&g.forward, vec![&g.d_out, &g.dq, &g.dk, &g.dv]),
        _ => return vec![],
    };
    [&forward.q, &forward.k, &forward.v, &forward.out].into_iter().chain(grads).collect()
}

/// Per output slot of heads, the largest sum of absolute values that makes up an element.
#[derive(Default)]
pub struct Magnitudes {
    /// What a relative error of all scores' exponentials does: sums of probabilities, of gradients of scores and of the
    /// terms of those.
    pub terms: Vec<(Slot, f64)>,
    /// Sums over what a backend may round to bf16: probabilities and gradients of scores. A rounding is 2^-8 at most of the
    /// number, so 2^-8 of the sum is what all of them do.
    pub rounded: Vec<(Slot, f64)>,
}

struct View<'a> {
    values: &'a [f64],
    base: i64,
    strides: [i64; 3],
    width: usize,
}

impl<'a> View<'a> {
    fn new(v: &HeadView, k: &Attention, sample: &'a Sample) -> View<'a> {
        let d = |d: &Dim| size(d, &sample.sizes);
        View {
            values: &sample.operands[v.slot].values,
            base: d(&v.base),
            strides: [d(&v.batch), d(&v.time), d(&v.head)],
            width: k.head_dim as usize,
        }
    }

    fn row(&self, (b, h): (i64, i64), t: i64) -> &'a [f64] {
        let at = self.base + self.strides[0] * b + self.strides[1] * t + self.strides[2] * h;
        &self.values[at as usize..][..self.width]
    }
}

fn size(d: &Dim, sizes: &Env) -> i64 {
    // Samples name no other sizes.
    d.eval(sizes).unwrap_or(0)
}

fn dot(a: &[f64], b: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    a.iter().zip(b).map(|(x, y)| f(x * y)).sum()
}

fn largest(rows: &[Vec<f64>]) -> f64 {
    rows.iter().flatten().copied().fold(0.0, f64::max)
}

/// into += f * |row|
fn add(into: &mut [f64], f: f64, row: &[f64]) {
    into.iter_mut().zip(row).for_each(|(x, y)| *x += f * y.abs());
}

/// Scores of query i with all keys that count.
fn scores(q: &View, k: &View, head: (i64, i64), i: i64, keys: i64, scale: f64) -> Vec<f64> {
    let row = q.row(head, i);
    (0..keys).map(|j| scale * dot(row, k.row(head, j), |x| x)).collect()
}

/// log of the sum of exp.
fn log_sum_exp(scores: &[f64]) -> f64 {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if scores.is_empty() {
        return most;
    }
    most + scores.iter().map(|s| (s - most).exp()).sum::<f64>().ln()
}

fn all_heads(k: &Attention, sample: &Sample) -> Vec<((i64, i64), i64)> {
    let lengths = &sample.operands[k.lengths].values;
    let of = |b: i64| (0..k.heads).map(move |h| ((b, h), lengths[b as usize] as i64));
    (0..size(&k.batch, &sample.sizes)).flat_map(of).collect()
}

/// The log-sum-exps of a sample, as its forward direction gives them.
pub fn forward_lse(k: &Attention, sample: &Sample) -> Vec<f64> {
    let (time, scale) = (size(&k.time, &sample.sizes), f64::from_bits(k.scale));
    let (q, keys) = (View::new(&k.q, k, sample), View::new(&k.k, k, sample));
    let heads = all_heads(k, sample).into_iter();
    heads
        .flat_map(|(head, length)| (0..time).map(move |i| (head, i, length)))
        .map(|(head, i, length)| log_sum_exp(&scores(&q, &keys, head, i, length, scale)) as f32 as f64)
        .collect()
}

/// The sums of an attention sample, from its operands.
pub fn magnitudes(sample: &Sample) -> Magnitudes {
    let (k, grad) = match &sample.kernel.body {
        Body::Attention(k) => (k, None),
        Body::AttentionGrad(g) => (&g.forward, Some(g.as_ref())),
        _ => return Magnitudes::default(),
    };
    let (time, scale) = (size(&k.time, &sample.sizes), f64::from_bits(k.scale));
    let of = |v: &HeadView| View::new(v, k, sample);
    let (q, keys, v, out) = (of(&k.q), of(&k.k), of(&k.v), of(&k.out));
    let d_out = grad.map(|g| of(&g.d_out));
    let layer = sample.sizes.get("layer").copied().unwrap_or(0) as u32;
    let dropout = k.dropout.as_ref().map(|d| {
        let seed = &sample.operands[d.seed].values;
        let seed = [seed[0] as i32 as u32, seed[1] as i32 as u32];
        (sample.operands[d.rate].values[0], rng::keys(seed, d.site, layer))
    });
    let factor = |row: i64, j: i64| match dropout {
        Some((rate, keys)) if (rng::uniform(keys, (row * time + j) as u32) as f64) < rate => 0.0,
        Some((rate, _)) => 1.0 / (1.0 - rate),
        None => 1.0,
    };
    // Of out, dq, dk, dv, and of the terms of dq and dk.
    let mut most = [0f64; 6];
    for (head, length) in all_heads(k, sample) {
        let rows = || vec![vec![0.0; k.head_dim as usize]; time as usize];
        let mut sums = [(); 6].map(|_| rows());
        for i in 0..time {
            let row = (head.0 * k.heads + head.1) * time + i;
            let scores = scores(&q, &keys, head, i, length, scale);
            let lse = match grad {
                Some(_) => sample.operands[k.lse].values[row as usize],
                None => log_sum_exp(&scores),
            };
            for (j, score) in (0..length).zip(&scores) {
                let (i, p, f) = (i as usize, (score - lse).exp(), factor(row, j));
                add(&mut sums[0][i], p * f, v.row(head, j));
                let Some(d_out) = &d_out else { continue };
                let (d, out) = (d_out.row(head, i as i64), out.row(head, i as i64));
                add(&mut sums[3][j as usize], p * f, d);
                let d_score = p * (f * dot(d, v.row(head, j), |x| x) - dot(d, out, |x| x)).abs();
                let terms = p * (f * dot(d, v.row(head, j), f64::abs) + dot(d, out, f64::abs));
                for (at, size) in [(1, d_score), (4, terms)] {
                    add(&mut sums[at][i], scale * size, keys.row(head, j));
                    add(&mut sums[at + 1][j as usize], scale * size, q.row(head, i as i64));
                }
            }
        }
        for (most, sum) in most.iter_mut().zip(&sums) {
            *most = most.max(largest(sum));
        }
    }
    match grad {
        None => Magnitudes {
            terms: vec![(k.out.slot, most[0])],
            rounded: vec![(k.out.slot, most[0])],
        },
        Some(g) => {
            let slots = [g.dq.slot, g.dk.slot, g.dv.slot];
            Magnitudes {
                terms: joined(slots, [most[4], most[5], most[3]]),
                rounded: joined(slots, [most[1], most[2], most[3]]),
            }
        }
    }
}

/// One number per slot, the largest of those that share it.
fn joined(slots: [Slot; 3], sizes: [f64; 3]) -> Vec<(Slot, f64)> {
    let mut list: Vec<(Slot, f64)> = vec![];
    for (slot, size) in slots.into_iter().zip(sizes) {
        match list.iter_mut().find(|(s, _)| *s == slot) {
            Some((_, most)) => *most = most.max(size),
            None => list.push((slot, size)),
        }
    }
    list
}
