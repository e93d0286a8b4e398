//! Bounds on the sums inside attention, and so on their rounding error.

use crate::dim::{Dim, Env};
use crate::kernel::*;
use crate::rng;

/// The sums of absolute values that make up the elements of each output slot of heads.
#[derive(Default)]
pub struct Magnitudes {
    /// Of probabilities, and of the terms of which gradients of scores are made.
    pub terms: Vec<(Slot, Vec<f64>)>,
    /// Of what a backend may round to bf16: probabilities and gradients of scores. A rounding is 2^-8 at most of the number,
    /// so 2^-8 of the sum is what all of them do.
    pub rounded: Vec<(Slot, Vec<f64>)>,
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

    /// Where a row of a head begins.
    fn at(&self, (b, h): (i64, i64), t: i64) -> usize {
        (self.base + self.strides[0] * b + self.strides[1] * t + self.strides[2] * h) as usize
    }

    fn row(&self, head: (i64, i64), t: i64) -> &'a [f64] {
        &self.values[self.at(head, t)..][..self.width]
    }
}

fn size(d: &Dim, sizes: &Env) -> i64 {
    // Samples name no other sizes.
    d.eval(sizes).unwrap_or(0)
}

fn dot(a: &[f64], b: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    a.iter().zip(b).map(|(x, y)| f(x * y)).sum()
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

/// Sums laid out like the slot of an operand.
struct Sums<'a> {
    view: View<'a>,
    sums: Vec<f64>,
}

impl<'a> Sums<'a> {
    fn new(view: View<'a>) -> Sums<'a> {
        let sums = vec![0.0; view.values.len()];
        Sums { view, sums }
    }

    /// Adds f * |row|.
    fn add(&mut self, head: (i64, i64), t: i64, f: f64, row: &[f64]) {
        let at = self.view.at(head, t);
        self.sums[at..].iter_mut().zip(row).for_each(|(x, y)| *x += f * y.abs());
    }
}

/// What a probability is multiplied with, by its row in the log-sum-exps and its key.
fn dropout(k: &Attention, sample: &Sample) -> impl Fn(i64, i64) -> f64 {
    let time = size(&k.time, &sample.sizes);
    let layer = sample.sizes.get("layer").copied().unwrap_or(0) as u32;
    let drawn = k.dropout.as_ref().map(|d| {
        let seed = &sample.operands[d.seed].values;
        let seed = [seed[0] as i32 as u32, seed[1] as i32 as u32];
        (sample.operands[d.rate].values[0], rng::keys(seed, d.site, layer))
    });
    move |row, j| match drawn {
        Some((rate, keys)) if (rng::uniform(keys, (row * time + j) as u32) as f64) < rate => 0.0,
        Some((rate, _)) => 1.0 / (1.0 - rate),
        None => 1.0,
    }
}

/// The sums of a sample of attention, from its operands.
pub fn forward(k: &Attention, sample: &Sample) -> Magnitudes {
    let (time, scale) = (size(&k.time, &sample.sizes), f64::from_bits(k.scale));
    let of = |v: &HeadView| View::new(v, k, sample);
    let (q, keys, v, factor) = (of(&k.q), of(&k.k), of(&k.v), dropout(k, sample));
    let mut out = Sums::new(of(&k.out));
    for (head, length) in all_heads(k, sample) {
        for i in 0..time {
            let row = (head.0 * k.heads + head.1) * time + i;
            let scores = scores(&q, &keys, head, i, length, scale);
            let lse = log_sum_exp(&scores);
            for (j, score) in (0..length).zip(&scores) {
                out.add(head, i, (score - lse).exp() * factor(row, j), v.row(head, j));
            }
        }
    }
    let sums = vec![(k.out.slot, out.sums)];
    Magnitudes {
        terms: sums.clone(),
        rounded: sums,
    }
}

/// The sums of a sample of its gradient, from its operands.
pub fn backward(g: &AttentionGrad, sample: &Sample) -> Magnitudes {
    let k = &g.forward;
    let (time, scale) = (size(&k.time, &sample.sizes), f64::from_bits(k.scale));
    let of = |v: &HeadView| View::new(v, k, sample);
    let (q, keys, v, out, d_out) = (of(&k.q), of(&k.k), of(&k.v), of(&k.out), of(&g.d_out));
    let factor = dropout(k, sample);
    let (mut dq, mut dk, mut dv) = (Sums::new(of(&g.dq)), Sums::new(of(&g.dk)), Sums::new(of(&g.dv)));
    let (mut dq_terms, mut dk_terms) = (Sums::new(of(&g.dq)), Sums::new(of(&g.dk)));
    for (head, length) in all_heads(k, sample) {
        for i in 0..time {
            let row = (head.0 * k.heads + head.1) * time + i;
            let lse = sample.operands[k.lse].values[row as usize];
            let (query, d, out) = (q.row(head, i), d_out.row(head, i), out.row(head, i));
            let (mean, mean_terms) = (dot(d, out, |x| x), dot(d, out, f64::abs));
            for (j, score) in (0..length).zip(scores(&q, &keys, head, i, length, scale)) {
                let (p, f) = ((score - lse).exp(), factor(row, j));
                let (key, value) = (keys.row(head, j), v.row(head, j));
                dv.add(head, j, p * f, d);
                let d_score = scale * p * (f * dot(d, value, |x| x) - mean).abs();
                dq.add(head, i, d_score, key);
                dk.add(head, j, d_score, query);
                let terms = scale * p * (f * dot(d, value, f64::abs) + mean_terms);
                dq_terms.add(head, i, terms, key);
                dk_terms.add(head, j, terms, query);
            }
        }
    }
    let slots = [g.dq.slot, g.dk.slot, g.dv.slot];
    Magnitudes {
        terms: joined(slots, [&dq_terms.sums, &dk_terms.sums, &dv.sums]),
        rounded: joined(slots, [&dq.sums, &dk.sums, &dv.sums]),
    }
}

/// One list per slot. Operands that share one lie apart in it.
fn joined(slots: [Slot; 3], sums: [&Vec<f64>; 3]) -> Vec<(Slot, Vec<f64>)> {
    let mut list: Vec<(Slot, Vec<f64>)> = vec![];
    for (slot, sums) in slots.into_iter().zip(sums) {
        match list.iter_mut().find(|(s, _)| *s == slot) {
            Some((_, all)) => all.iter_mut().zip(sums).for_each(|(x, y)| *x += y),
            None => list.push((slot, sums.clone())),
        }
    }
    list
}
