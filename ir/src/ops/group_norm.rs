//! Normalises every channel over time: x [B, T, C], gamma and beta [C], lengths i32 [B].
//!
//! Mean and variance are those of the first `lengths` positions, so padding never changes a result (GroupNorm of Wu &
//! He 2018 with as many groups as channels).

use super::Iota;
use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::scalar::{Binary, Float, Unary};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, float, rank, same_dim, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupNorm {
    pub eps: Float,
}

/// The values the forward and backward pass share, all broadcasting to [B, T, C].
struct Parts {
    valid: ValueId,
    inverse_count: ValueId,
    centered: ValueId,
    r: ValueId,
}

impl GroupNorm {
    fn parts(&self, g: &mut Graph, x: ValueId, lengths: ValueId) -> Parts {
        let (b, t) = (g.shape(x)[0].clone(), g.shape(x)[1].clone());
        let dtype = g.ty(x).dtype;
        let len = g.reshape(lengths, vec![b, 1.into(), 1.into()]);
        let steps = g.add_op(Iota { size: t.clone() }, &[]);
        let steps = g.reshape(steps, vec![t, 1.into()]);
        let inside = g.binary(Binary::Less, steps, len);
        let valid = g.cast(inside, dtype);
        let count = g.cast(len, dtype);
        let one = g.constant_of(dtype, 1.0);
        let inverse_count = g.div(one, count);
        let masked = g.mul(x, valid);
        let sum = g.sum(masked, &[1]);
        let mean = g.mul(sum, inverse_count);
        let centered = g.sub(x, mean);
        let inside = g.mul(centered, valid);
        let squares = g.mul(inside, inside);
        let total = g.sum(squares, &[1]);
        let variance = g.mul(total, inverse_count);
        let eps = g.constant_of(dtype, self.eps.get());
        let shifted = g.add(variance, eps);
        let r = g.unary(Unary::Rsqrt, shifted);
        Parts {
            valid,
            inverse_count,
            centered,
            r,
        }
    }
}

impl OpDef for GroupNorm {
    const DOC: Doc = Doc {
        group: Group::Network,
        signature: "x [B, T, C], gamma [C], beta [C], lengths i32[B] -> [B, T, C]",
        about: "Normalises each channel over the first `lengths` positions of time, with one group per channel (Wu & \
                He 2018). Padding beyond a length does not change the result.",
        attributes: &[("eps", "added to the variance")],
        example: Some(Example {
            inputs: &[
                ("x", "f32[B, T, 16]"),
                ("gamma", "f32[16]"),
                ("beta", "f32[16]"),
                ("lengths", "i32[B]"),
            ],
            body: "y = group_norm(x, gamma, beta, lengths, eps: 1e-5)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [x, gamma, beta, lengths] = arity::<4>(args)?;
        float("the operand", x)?;
        rank("the operand", x, 3)?;
        rank("gamma", gamma, 1)?;
        same_dim("gamma and channels", &gamma.shape[0], &x.shape[2])?;
        if gamma != beta {
            return type_error(format!("gamma is {gamma}, beta {beta}"));
        }
        if *lengths != Type::i32([x.shape[0].clone()]) {
            return type_error(format!("lengths must be i32 [{}], got {lengths}", x.shape[0]));
        }
        Ok(vec![x.clone()])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let (x, lengths) = (args[0], args[3]);
        let stats = |b: usize, c: usize| {
            let n = lengths.data[b];
            let column = || (0..n as usize).map(|t| x.at(&[b, t, c]));
            let mean = column().sum::<f64>() / n;
            let variance = column().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            (mean, 1.0 / (variance + self.eps.get()).sqrt())
        };
        let channels = x.shape[2];
        let table: Vec<(f64, f64)> = (0..x.shape[0] * channels)
            .map(|i| stats(i / channels, i % channels))
            .collect();
        cx.build(|at| {
            let (mean, r) = table[at[0] * channels + at[2]];
            (x.at(at) - mean) * r * args[1].data[at[2]] + args[2].data[at[2]]
        })
    }
    /// Positions beyond the length are normalised with the statistics of those before it, so their gradients reach the
    /// statistics too.
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let (x, gamma, d) = (at.args[0], at.args[1], at.grad());
        let p = self.parts(g, x, at.args[3]);
        let xhat = g.mul(p.centered, p.r);
        let dg = g.mul(d, gamma);
        let d_mean = g.sum(dg, &[1]);
        let product = g.mul(dg, xhat);
        let slope = g.sum(product, &[1]);
        let along = g.mul(xhat, slope);
        let through = g.add(d_mean, along);
        let through = g.mul(through, p.inverse_count);
        let through = g.mul(through, p.valid);
        let rest = g.sub(dg, through);
        let dx = g.mul(rest, p.r);
        let weighted = g.mul(d, xhat);
        let shape = g.shape(gamma).to_vec();
        vec![
            Some(dx),
            Some(g.sum_to(weighted, &shape)),
            Some(g.sum_to(d, &shape)),
            None,
        ]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Decompose(Box::new(|g, args| {
            let p = self.parts(g, args[0], args[3]);
            let xhat = g.mul(p.centered, p.r);
            let scaled = g.mul(xhat, args[1]);
            vec![g.add(scaled, args[2])]
        }))
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Rows {
            operations: 6.0,
            reads: 3.0,
        }
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let (b, t, c) = (r.int(1, 3), r.int(2, 9), r.size());
        let args = vec![
            SampleArg::float(vec![b.into(), t.into(), c.clone()]),
            SampleArg::float(vec![c.clone()]),
            SampleArg::float(vec![c]),
            SampleArg::int(vec![b.into()], 1, t),
        ];
        Sample::new(GroupNorm { eps: 1e-2.into() }, args)
    }
}
