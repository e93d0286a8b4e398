//! The logarithm of the softmax along the last axis, shifted by the maximum.

use super::MaxReduce;
use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::scalar::Unary;
use crate::tensor::Tensor;
use crate::types::float_rows;
use crate::types::{Type, TypeError};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogSoftmax {}

impl OpDef for LogSoftmax {
    const DOC: Doc = Doc {
        group: Group::Network,
        signature: "x [.., N] -> [.., N]",
        about: "Logarithm of the softmax along the last axis, shifted by the maximum.",
        attributes: &[],
        example: Some(Example {
            inputs: &[("x", "f32[B, T, 32]")],
            body: "y = log_softmax(x)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let x = float_rows(args)?;
        Ok(vec![x.clone()])
    }

    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let (_, cols) = args[0].rows_cols();
        let mut data = vec![];
        for row in args[0].data.chunks(cols.max(1)) {
            let max = row.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
            let sum: f64 = row.iter().map(|x| (x - max).exp()).sum();
            data.extend(row.iter().map(|x| x - max - sum.ln()));
        }
        vec![Tensor::new(args[0].dtype, cx.shape(0), data)]
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let (y, d) = (at.result(), at.grad());
        let last = g.shape(y).len() - 1;
        let sum = g.sum(d, &[last]);
        let p = g.unary(Unary::Exp, y);
        let part = g.mul(p, sum);
        vec![Some(g.sub(d, part))]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Decompose(Box::new(|g, args| {
            let x = args[0];
            let last = g.shape(x).len() - 1;
            let max = g.add_op(MaxReduce {}, &[x]);
            let shifted = g.sub(x, max);
            let e = g.unary(Unary::Exp, shifted);
            let sum = g.sum(e, &[last]);
            let log = g.unary(Unary::Log, sum);
            vec![g.sub(shifted, log)]
        }))
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Rows {
            operations: 16.0,
            reads: 2.0,
        }
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        Sample::new(LogSoftmax {}, vec![SampleArg::float(r.shape(3))])
    }
}
