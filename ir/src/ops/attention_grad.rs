//! Gradients of `attention` for q, k and v (or for the packed operand).
//!
//! Operands: those of the forward op, its two results, and the gradient of `out`.

use super::Attention;
use super::{Doc, EvalCx, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::kernel::{self, HeadView};
use crate::lower::{Bind, Lie, Lower};
use crate::sample::{Rand, Sample};
use crate::tensor::Tensor;
use crate::types::type_error;
use crate::types::{Type, TypeError};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttentionGrad {
    pub forward: Attention,
}

impl OpDef for AttentionGrad {
    const DOC: Doc = Doc {
        group: Group::Gradient,
        signature: "operands and results of attention, gradient of out -> gradients of q, k, v",
        about: "Gradient of `attention`. The compiler makes it when it differentiates.",
        attributes: &[("forward", "the attributes of the `attention`")],
        example: None,
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let n = self.forward.operands();
        if args.len() != n + 3 {
            return type_error(format!("takes {} operands, got {}", n + 3, args.len()));
        }
        let heads = self.forward.check(&args[..n])?;
        if args[n] != heads || args[n + 2] != heads {
            return type_error(format!(
                "out and its gradient must be {heads}, got {} and {}",
                args[n],
                args[n + 2]
            ));
        }
        Ok(args[..self.forward.heads_operands()].to_vec())
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let f = &self.forward;
        let n = f.operands();
        let (q, k, v) = (f.part(args, 0), f.part(args, 1), f.part(args, 2));
        let (p, _) = f.probabilities(&args[..n]);
        let mask = f.dropout_mask(cx, args, &q.shape);
        let d_out = args[n + 2];
        let [b, t, h, w] = q.shape[..] else {
            unreachable!("rank is checked")
        };
        let mut grads = [q.clone(), k.clone(), v.clone()].map(|x| Tensor::zeros(x.dtype, x.shape));
        for (bi, hi, i) in (0..b * h * t).map(|n| (n / (h * t), n / t % h, n % t)) {
            let drop = |j: usize| mask.at(&[bi, hi, i, j]);
            let dp = |j: usize| {
                (0..w)
                    .map(|c| d_out.at(&[bi, i, hi, c]) * v.at(&[bi, j, hi, c]))
                    .sum::<f64>()
                    * drop(j)
            };
            let dps: Vec<f64> = (0..t).map(dp).collect();
            let mean: f64 = (0..t).map(|j| dps[j] * p.at(&[bi, hi, i, j])).sum();
            for (j, dpj) in dps.iter().enumerate() {
                let pj = p.at(&[bi, hi, i, j]);
                let ds = pj * (dpj - mean) * f.scale.get();
                for c in 0..w {
                    let (row, key) = (q.offset(&[bi, i, hi, c]), q.offset(&[bi, j, hi, c]));
                    grads[0].data[row] += ds * k.data[key];
                    grads[1].data[key] += ds * q.data[row];
                    grads[2].data[key] += pj * drop(j) * d_out.data[row];
                }
            }
        }
        if !f.packed {
            return grads.to_vec();
        }
        cx.build(|at| grads[at[2]].at(&[at[0], at[1], at[3], at[4]]))
    }
    /// A second derivative is not part of any training step here.
    fn vjp(&self, _: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        vec![None; at.args.len()]
    }
    fn lower(&self) -> Lower<'_> {
        let build = |b: &mut dyn Bind| {
            let n = self.forward.operands();
            let forward = self
                .forward
                .kernel(b, |b| Ok((HeadView::new(b.read_rows(n)?, None), b.read(n + 1))))?;
            let d_out = HeadView::new(b.read_rows(n + 2)?, None);
            let mut gradient = |i: usize| {
                if self.forward.packed {
                    HeadView::new(b.write_rows(0), Some(i as i64))
                } else {
                    HeadView::new(b.write_rows(i), None)
                }
            };
            let body = kernel::AttentionGrad {
                forward,
                d_out,
                dq: gradient(0),
                dk: gradient(1),
                dv: gradient(2),
            };
            Ok(Box::new(body).into())
        };
        Lower::Kernel {
            operands: Lie::Rows,
            build: Box::new(build),
        }
    }
    fn work(&self, _: &[&Type], results: &[Type]) -> Work {
        Work::untouched(results)
    }
    /// `out` and the log-sum-exp are read as the forward pass computed them, so random ones are no valid instance: the
    /// op is sampled through the gradient of `attention`.
    fn sample(r: &mut Rand) -> Sample<Self> {
        let forward = Attention::sample_op(r);
        let args = forward.sample_args(r);
        Sample::new(AttentionGrad { forward }, args).without_gradient()
    }
    fn surrogate(&self) -> Option<&'static str> {
        Some("no gradient: second derivatives are not supported")
    }
}
