//! Samples that take more than one block of a GPU, and what happens at the edges of blocks. A contraction that does is in
//! [`contract`](super::contract).

use super::exprs::Exprs;
use super::maps::{phases, softmax};
use super::structured::Heads;
use super::{Draw, EPS, Extent, Sample, dims, heads};
use crate::dim::Dim;
use crate::kernel::*;
use crate::scalar::{Binary, DType, Unary};

/// Rows around the sizes of blocks: 32 lanes, 256 and 1024 threads.
const COLUMNS: &[i64] = &[33, 255, 256, 257, 511, 768, 1000, 1024, 1025, 2048, 2999, 3072];

/// A row kernel with up to 3072 columns: a softmax, a normalisation, or anything.
pub fn row_large(seed: u32) -> Sample {
    let mut d = Draw::new(seed);
    let rows = d.extent_to(0, &[1, 2, 3, 5]);
    let axes = vec![rows, d.extent_to(0, COLUMNS)];
    match d.rand.int(0, 3) {
        0 => long_softmax(d, axes),
        1 => norm(d, axes),
        _ => phases(d, axes),
    }
}

/// A softmax with the tolerance of its data: the terms of a row add up with a relative error of `EPS` each, and that is the
/// error of its largest probability.
fn long_softmax(d: Draw, axes: Vec<Extent>) -> Sample {
    let (rows, columns) = (axes[0].size, axes[1].size);
    let mut sample = softmax(d, axes);
    let [x, last, out] = [0, 1, 2];
    let Body::Row(k) = &sample.kernel.body else {
        return sample;
    };
    let Value::Load { index, .. } = &k.values[0] else {
        return sample;
    };
    let stride = |axis| {
        let of = |(d, c): &(Dim, Coord)| {
            if *c == Coord::Axis(axis) {
                d.eval(&sample.sizes).unwrap_or(0)
            } else {
                0
            }
        };
        index.terms.iter().map(of).sum::<i64>()
    };
    let (base, down, along) = (index.base.eval(&sample.sizes).unwrap_or(0), stride(0), stride(1));
    let mut tolerance = 0f64;
    for r in 0..rows {
        let count = sample.operands[last].values[r as usize] as i64 + 1;
        let row = (0..columns.min(count)).map(|c| sample.operands[x].values[(base + down * r + along * c) as usize]);
        let most = row.clone().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.map(|x| (x - most).exp()).sum();
        tolerance = tolerance.max(EPS * (32.0 + count as f64) / sum);
    }
    sample.operands[out].tolerance = tolerance;
    sample
}

/// (x - mean) / sqrt(variance + 1/8) * gain, which also keeps mean and factor of each row.
///
/// Sums of eighths and of their squares are exact. So the mean is off by EPS, the variance (mean of squares less square of
/// the mean, both at most 1) by 4 EPS; its reciprocal root, 8^(1/2) at most with a slope of 8^(3/2) / 2, by
/// 4 EPS * 11.4 + 8 EPS * 2.9 < 72 EPS; the difference, 2 at most, by 3 EPS, and so the product by
/// 2 * 72 EPS + 2.9 * 3 EPS + 2 * 5.8 EPS < 170 EPS.
fn norm(mut d: Draw, axes: Vec<Extent>) -> Sample {
    let exprs = Exprs::new(axes.clone());
    let (index, len) = exprs.layout(&mut d, &[0, 1], false);
    let x = d.floats(Access::Read, len);
    let gain = d.floats(Access::Read, axes[1].size);
    let (place, len) = exprs.layout(&mut d, &[0, 1], true);
    let out = d.floats(Access::Write, len);
    let statistics = d.floats(Access::Write, 2 * axes[0].size);
    d.operands[out].tolerance = 170.0 * EPS;
    d.operands[statistics].tolerance = 72.0 * EPS;
    let at = |slot, index: &Index| Value::Load {
        slot,
        index: index.clone(),
        guard: None,
    };
    let index_of = |base: i64, stride: i64, axis| Index {
        base: Dim::from(base),
        terms: vec![(Dim::from(stride), Coord::Axis(axis))],
    };
    let store = |slot, index: Index, value| Store {
        slot,
        index,
        value,
        accumulate: false,
    };
    let values = vec![
        at(x, &index),
        Value::Binary(Binary::Mul, 0, 0),
        Value::Size(axes[1].dim.clone()),
        Value::Cast(DType::F32, 2),
        Value::Reduced(0),
        Value::Binary(Binary::Div, 4, 3),
        Value::Reduced(1),
        Value::Binary(Binary::Div, 6, 3),
        Value::Binary(Binary::Mul, 5, 5),
        Value::Binary(Binary::Sub, 7, 8),
        Value::constant(DType::F32, 0.125),
        Value::Binary(Binary::Add, 9, 10),
        Value::Unary(Unary::Rsqrt, 11),
        Value::Binary(Binary::Sub, 0, 5),
        Value::Binary(Binary::Mul, 13, 12),
        at(gain, &index_of(0, 1, 1)),
        Value::Binary(Binary::Mul, 14, 15),
    ];
    let phases = vec![
        Phase::Columns {
            reduce: vec![(Reduction::Sum, 0), (Reduction::Sum, 1)],
            store: vec![],
        },
        Phase::Row {
            store: vec![
                store(statistics, index_of(0, 2, 0), 5),
                store(statistics, index_of(1, 2, 0), 12),
            ],
        },
        Phase::Columns {
            reduce: vec![],
            store: vec![store(out, place, 16)],
        },
    ];
    d.sample(Body::Row(RowKernel {
        axes: dims(&axes),
        values,
        phases,
    }))
}

/// Four clips, among them one without keys, one with a single key and one that is full.
fn long_heads(d: &mut Draw) -> Heads {
    let head_dim = *d.rand.pick(&[16, 32, 64, 80]);
    Heads {
        batch: d.extent_to(0, &[4]),
        time: d.extent_to(0, &[31, 64, 65, 97, 128, 129, 150]),
        heads: if head_dim < 64 { d.rand.int(1, 2) } else { 1 },
        head_dim,
    }
}

fn set_lengths(d: &mut Draw, slot: Slot, time: i64) {
    let turn = d.rand.int(0, 3) as usize;
    let lengths = [0, 1, time, d.rand.int(2, time)];
    for (b, length) in d.operands[slot].values.iter_mut().enumerate() {
        *length = lengths[(b + turn) % 4] as f64;
    }
}

/// Relative error of terms that are made of an exponential of a score and sums of head_dim and of time terms. A score is
/// sqrt(head_dim) at most, as is what is taken from it before the exponential; each step there adds EPS of that, and that
/// is what the exponential is off by. Its expansion and the rest is a few units.
fn relative(heads: &Heads) -> f64 {
    let d = heads.head_dim as f64;
    EPS * (8.0 * d.sqrt() + d + heads.time.size as f64 + 16.0)
}

fn tolerate(sample: &mut Sample, relative: f64) {
    for (slot, sums) in heads::magnitudes(sample).terms {
        sample.operands[slot].tolerate(&sums, relative);
    }
}

/// Attention with up to 150 positions.
pub fn attention_large(seed: u32) -> Sample {
    let mut d = Draw::new(seed);
    let heads = long_heads(&mut d);
    let body = heads.forward(&mut d, Access::Write);
    set_lengths(&mut d, body.lengths, heads.time.size);
    d.operands[body.lse].tolerance = relative(&heads);
    let mut sample = d.sample(Body::Attention(body));
    tolerate(&mut sample, relative(&heads));
    sample
}

/// The gradients of attention with up to 150 positions, of log-sum-exps as the forward direction gives them.
pub fn attention_grad_large(seed: u32) -> Sample {
    let mut d = Draw::new(seed);
    let heads = long_heads(&mut d);
    let body = heads.backward(&mut d);
    let (lse, lengths, forward) = (body.forward.lse, body.forward.lengths, body.forward.clone());
    set_lengths(&mut d, lengths, heads.time.size);
    let mut sample = d.sample(Body::AttentionGrad(Box::new(body)));
    sample.operands[lse].values = heads::forward_lse(&forward, &sample);
    tolerate(&mut sample, relative(&heads));
    sample
}
