//! (x - mean) / sqrt(variance + eps) * gamma + beta along the last axis (Ba et al. 2016). Operands x, gamma, beta.

use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::scalar::{Float, Unary};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, float, rank, same_dim, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LayerNorm {
    pub eps: Float,
}

impl LayerNorm {
    /// (x - mean) / sqrt(variance + eps), and 1 / sqrt(variance + eps).
    fn standardize(&self, g: &mut Graph, x: ValueId) -> (ValueId, ValueId) {
        let last = g.shape(x).len() - 1;
        let n = g.shape(x)[last].as_const().expect("infer checked the width") as f64;
        let sum = g.sum(x, &[last]);
        let mean = g.scale(sum, 1.0 / n);
        let centered = g.sub(x, mean);
        let squares = g.mul(centered, centered);
        let total = g.sum(squares, &[last]);
        let variance = g.scale(total, 1.0 / n);
        let eps = g.constant_like(x, self.eps.get());
        let shifted = g.add(variance, eps);
        let r = g.unary(Unary::Rsqrt, shifted);
        (g.mul(centered, r), r)
    }
}

impl OpDef for LayerNorm {
    const DOC: Doc = Doc {
        group: Group::Network,
        signature: "x [.., C], gamma [C], beta [C] -> [.., C]",
        about: "(x - mean) / sqrt(variance + eps) * gamma + beta along the last axis (Ba et al. 2016).",
        attributes: &[("eps", "added to the variance")],
        example: Some(Example {
            inputs: &[("x", "f32[B, T, 16]"), ("gamma", "f32[16]"), ("beta", "f32[16]")],
            body: "y = layer_norm(x, gamma, beta, eps: 1e-5)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [x, gamma, beta] = arity::<3>(args)?;
        float("the operand", x)?;
        rank("gamma", gamma, 1)?;
        if x.rank() == 0 || x.last().as_const().is_none() {
            return type_error(format!("the last axis must have a constant size, got {x}"));
        }
        same_dim("gamma and operand", &gamma.shape[0], x.last())?;
        if gamma != beta {
            return type_error(format!("gamma is {gamma}, beta {beta}"));
        }
        Ok(vec![x.clone()])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let (_, cols) = args[0].rows_cols();
        let n = cols as f64;
        let mut data = vec![];
        for row in args[0].data.chunks(cols) {
            let mean = row.iter().sum::<f64>() / n;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            let r = 1.0 / (variance + self.eps.get()).sqrt();
            data.extend(
                row.iter()
                    .enumerate()
                    .map(|(i, x)| (x - mean) * r * args[1].data[i] + args[2].data[i]),
            );
        }
        vec![Tensor::new(args[0].dtype, cx.shape(0), data)]
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let (x, gamma, d) = (at.args[0], at.args[1], at.grad());
        let last = g.shape(x).len() - 1;
        let n = g.shape(x)[last].as_const().expect("infer checked the width") as f64;
        let (xhat, r) = self.standardize(g, x);
        let dg = g.mul(d, gamma);
        let sum = g.sum(dg, &[last]);
        let mean = g.scale(sum, 1.0 / n);
        let product = g.mul(dg, xhat);
        let sum = g.sum(product, &[last]);
        let slope = g.scale(sum, 1.0 / n);
        let along = g.mul(xhat, slope);
        let rest = g.sub(dg, mean);
        let rest = g.sub(rest, along);
        let dx = g.mul(rest, r);
        let weighted = g.mul(d, xhat);
        let shape = g.shape(gamma).to_vec();
        vec![Some(dx), Some(g.sum_to(weighted, &shape)), Some(g.sum_to(d, &shape))]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Decompose(Box::new(|g, args| {
            let (xhat, _) = self.standardize(g, args[0]);
            let scaled = g.mul(xhat, args[1]);
            vec![g.add(scaled, args[2])]
        }))
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Rows {
            operations: 6.0,
            reads: 2.0,
        }
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let (mut x, c) = (r.shape(2), r.size());
        x.push(c.clone());
        let args = vec![
            SampleArg::float(x),
            SampleArg::float(vec![c.clone()]),
            SampleArg::float(vec![c]),
        ];
        Sample::new(LayerNorm { eps: 1e-2.into() }, args)
    }
}
