//! x / max(|x|, eps) along the last axis, |x| its Euclidean norm.

use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::scalar::{Binary, Float, Unary};
use crate::tensor::Tensor;
use crate::types::float_rows;
use crate::types::{Type, TypeError};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Normalize {
    pub eps: Float,
}

impl Normalize {
    /// The norm and the divisor, [.., 1] each.
    fn divisor(&self, g: &mut Graph, x: ValueId) -> (ValueId, ValueId) {
        let last = g.shape(x).len() - 1;
        let squares = g.mul(x, x);
        let sum = g.sum(squares, &[last]);
        let norm = g.unary(Unary::Sqrt, sum);
        let eps = g.constant_like(x, self.eps.get());
        (norm, g.binary(Binary::Max, norm, eps))
    }
}

impl OpDef for Normalize {
    const DOC: Doc = Doc {
        group: Group::Network,
        signature: "x [.., C] -> [.., C]",
        about: "x / max(norm of x, eps) along the last axis, with the Euclidean norm.",
        attributes: &[("eps", "least norm to divide by")],
        example: Some(Example {
            inputs: &[("x", "f32[B, T, 16]")],
            body: "y = normalize(x, eps: 1e-8)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let x = float_rows(args)?;
        Ok(vec![x.clone()])
    }

    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let (_, cols) = args[0].rows_cols();
        let mut data = vec![];
        for row in args[0].data.chunks(cols) {
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt().max(self.eps.get());
            data.extend(row.iter().map(|x| x / norm));
        }
        vec![Tensor::new(args[0].dtype, cx.shape(0), data)]
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let (x, y, d) = (at.args[0], at.result(), at.grad());
        let last = g.shape(x).len() - 1;
        let (norm, divisor) = self.divisor(g, x);
        let eps = g.constant_like(x, self.eps.get());
        let clamped = g.binary(Binary::Less, norm, eps);
        let yd = g.mul(y, d);
        let sum = g.sum(yd, &[last]);
        let along = g.mul(y, sum);
        let zero = g.constant_like(x, 0.0);
        let along = g.select(clamped, zero, along);
        let rest = g.sub(d, along);
        vec![Some(g.div(rest, divisor))]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Decompose(Box::new(|g, args| {
            let (_, divisor) = self.divisor(g, args[0]);
            vec![g.div(args[0], divisor)]
        }))
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Rows {
            operations: 4.0,
            reads: 2.0,
        }
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        Sample::new(
            Normalize { eps: 1e-8.into() },
            vec![SampleArg::between(r.shape(3), 0.1, 2.0)],
        )
    }
}
