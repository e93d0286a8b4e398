//! A thin convolution and the normalisation of its channels over time, without the convolution's output.
//!
//! Every output is a product of a window of the input with a filter, so its mean over time is the filter times the mean
//! window and its variance the filter's quadratic form with the windows' covariance. Normalising is then a convolution with
//! scaled filters, one bank per clip, and a shift. The statistics are accumulated in f64, because the covariance of sampled
//! speech is nearly singular.

use crate::rewrite::language::Term;
use crate::rewrite::rule::{Rule, Terms};
use egg::Id;
use ir::dim::Dim;
use ir::ops::{Conv1d, Iota, Op, Unfold};
use ir::scalar::{Binary, DType, Unary};

pub const RULES: &[Rule] = &[Rule {
    name: "conv-group-norm-folding",
    doc: "group_norm(conv1d(x, w)) is conv1d(x, scaled w) + shift, the statistics taken from the windows of x",
    roots: &["group_norm"],
    apply: folding,
}];

/// Windows wider than this have covariances that cost more than the output they save.
const WIDEST: i64 = 32;

fn folding(t: &mut Terms, term: &Term) -> Option<Id> {
    let (Op::GroupNorm(norm), &[y, gamma, beta, lengths]) = (&term.op, &term.args[..]) else {
        return None;
    };
    let (conv, x, w) = t.find(y, |op, args| match op {
        Op::Conv1d(conv) if conv.groups == 1 && conv.padding == 0 => Some((conv.clone(), args[0], args[1])),
        _ => None,
    })?;
    let [outputs, channels, taps]: [Dim; 3] = t.shape(w).to_vec().try_into().ok()?;
    let width = (channels.clone() * taps.clone())
        .as_const()
        .filter(|width| *width <= WIDEST)?;
    let dtype = t.ty(x).dtype;

    let (mean, covariance) = window_statistics(t, x, &conv, width, lengths)?;
    let filters = t.cast(w, DType::F64)?;
    // [O, width], taps in the order in which they lie in a window: time, then channel.
    let by_time = t.transpose(filters, &[0, 2, 1])?;
    let rows = t.reshape(by_time, [outputs.clone(), width.into()])?;
    let means = weighted_sum(t, rows, mean)?;
    let left = t.reshape(rows, [outputs.clone(), width.into(), 1.into()])?;
    let right = t.reshape(rows, [outputs.clone(), 1.into(), width.into()])?;
    let pairs = t.mul(left, right)?;
    let pairs = t.reshape(pairs, [outputs.clone(), (width * width).into()])?;
    let variances = weighted_sum(t, pairs, covariance)?;

    let eps = t.number(DType::F64, norm.eps.get())?;
    let shifted = t.add(variances, eps)?;
    let inverse = t.map(Unary::Rsqrt, shifted)?;
    let (gamma, beta) = (t.cast(gamma, DType::F64)?, t.cast(beta, DType::F64)?);
    let scale = t.mul(inverse, gamma)?;
    let offset = t.mul(means, scale)?;
    let shift = t.sub(beta, offset)?;

    let batch = t.shape(x)[0].clone();
    let scale = t.reshape(scale, [batch.clone(), outputs.clone(), 1.into(), 1.into()])?;
    let banks = t.mul(filters, scale)?;
    let banks = t.cast(banks, dtype)?;
    let shift = t.cast(shift, dtype)?;
    let shift = t.reshape(shift, [batch, 1.into(), outputs])?;
    let y = t.op(conv, &[x, banks])?;
    t.add(y, shift)
}

/// Mean [B, width] and covariance [B, width * width] of the windows before `lengths`, f64.
fn window_statistics(t: &mut Terms, x: Id, conv: &Conv1d, width: i64, lengths: Id) -> Option<(Id, Id)> {
    let [batch, samples, channels]: [Dim; 3] = t.shape(x).to_vec().try_into().ok()?;
    let flat = t.reshape(x, [batch.clone(), samples * channels.clone()])?;
    let windows = t.op(
        Unfold {
            size: width,
            step: conv.stride * channels.as_const()?,
        },
        &[flat],
    )?;
    let windows = t.cast(windows, DType::F64)?;
    let steps = t.shape(windows)[1].clone();
    // Time last: sums along the last axis are one pass over a row.
    let windows = t.transpose(windows, &[0, 2, 1])?;
    let ends = t.reshape(lengths, [batch.clone(), 1.into(), 1.into()])?;
    let times = t.op(Iota { size: steps.clone() }, &[])?;
    let inside = t.zip(Binary::Less, times, ends)?;
    let inside = t.cast(inside, DType::F64)?;
    let one = t.number(DType::F64, 1.0)?;
    let count = t.cast(ends, DType::F64)?;
    let inverse_count = t.zip(Binary::Div, one, count)?;

    let valid = t.mul(windows, inside)?;
    let total = t.sum_last(valid)?;
    let mean = t.mul(total, inverse_count)?;
    // Centred before they are squared, so that a large mean cancels nothing.
    let centered = t.sub(windows, mean)?;
    let centered = t.mul(centered, inside)?;
    let rows = t.reshape(centered, [batch.clone(), width.into(), 1.into(), steps.clone()])?;
    let columns = t.reshape(centered, [batch.clone(), 1.into(), width.into(), steps])?;
    let products = t.mul(rows, columns)?;
    let total = t.sum_last(products)?;
    let total = t.reshape(total, [batch.clone(), (width * width).into(), 1.into()])?;
    let covariance = t.mul(total, inverse_count)?;
    let mean = t.reshape(mean, [batch.clone(), width.into()])?;
    Some((mean, t.reshape(covariance, [batch, (width * width).into()])?))
}

/// [O, n] and [B, n] to the dot products [B, O].
fn weighted_sum(t: &mut Terms, weights: Id, values: Id) -> Option<Id> {
    let [batch, n]: [Dim; 2] = t.shape(values).to_vec().try_into().ok()?;
    let outputs = t.shape(weights)[0].clone();
    let values = t.reshape(values, [batch.clone(), 1.into(), n])?;
    let products = t.mul(weights, values)?;
    let sums = t.sum_last(products)?;
    t.reshape(sums, [batch, outputs])
}

#[cfg(test)]
mod tests {
    use crate::rewrite::testing::Case;
    use ir::ops::{Conv1d, GroupNorm, Op};

    #[test]
    fn statistics_come_from_windows() {
        for seed in 0..10 {
            let mut c = Case::new(seed);
            let [b, channels, outputs, taps, stride] = [
                c.r.int(1, 3),
                c.r.int(1, 2),
                c.r.int(1, 5),
                c.r.int(1, 4),
                c.r.int(1, 3),
            ];
            let steps = c.r.int(3, 9);
            let samples = (steps - 1) * stride + taps + c.r.int(0, stride - 1);
            // A mean far from zero, as recordings have.
            let x = c.param_between("x", &[b, samples, channels], 1.0, 3.0);
            let w = c.param("w", &[outputs, channels, taps]);
            let (gamma, beta) = (c.param("gamma", &[outputs]), c.param("beta", &[outputs]));
            let lengths = c.ints("lengths", &[b], 2, steps);
            let y = c.g.add_op(
                Conv1d {
                    stride,
                    padding: 0,
                    groups: 1,
                },
                &[x, w],
            );
            let y = c.g.add_op(GroupNorm { eps: 1e-3.into() }, &[y, gamma, beta, lengths]);
            c.result(y);
            let equal = crate::rewrite::tests::with_every_choice(&c.g, &["conv-group-norm-folding"], 8);
            assert!(
                equal
                    .iter()
                    .any(|g| !g.nodes.iter().any(|n| matches!(&n.op, Op::GroupNorm(_))))
            );
            for g in equal {
                c.same(&g);
            }
        }
    }

    /// One channel, ten taps and stride five over a signal whose neighbours are nearly equal: the case that it is for.
    #[test]
    fn a_smooth_wave_with_padding() {
        let mut c = Case::new(3);
        let (samples, outputs) = (600, 6);
        let x = c.param("wave", &[2, samples, 1]);
        let slow = |i: usize| {
            let t = (i % samples as usize) as f64;
            (t * 0.01).sin() + 0.3 * (t * 0.037).sin() + 0.2
        };
        let wave = c.bound.get_mut("wave").unwrap();
        (0..wave.data.len()).for_each(|i| wave.data[i] = slow(i) + 1e-3 * wave.data[i]);
        let w = c.param("w", &[outputs, 1, 10]);
        let (gamma, beta) = (c.param("gamma", &[outputs]), c.param("beta", &[outputs]));
        let lengths = c.ints("lengths", &[2], 40, 119);
        let y = c.g.add_op(
            Conv1d {
                stride: 5,
                padding: 0,
                groups: 1,
            },
            &[x, w],
        );
        let y = c.g.add_op(GroupNorm { eps: 1e-5.into() }, &[y, gamma, beta, lengths]);
        c.result(y);
        let equal = crate::rewrite::tests::with_every_choice(&c.g, &["conv-group-norm-folding"], 4);
        assert!(
            equal
                .iter()
                .any(|g| !g.nodes.iter().any(|n| matches!(&n.op, Op::GroupNorm(_))))
        );
        for g in equal {
            c.same(&g);
        }
    }
}
