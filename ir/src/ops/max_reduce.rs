//! The maximum over the last axis, which stays with size 1. Used for stable exponentials: no gradient flows.

use super::sum::reduced;
use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::kernel::Reduction;
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::types::float_rows;
use crate::types::{Type, TypeError};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MaxReduce {}

impl OpDef for MaxReduce {
    const DOC: Doc = Doc {
        group: Group::Reduction,
        signature: "x [.., N] -> [.., 1]",
        about: "Maximum over the last axis. It has no gradient: it serves to shift exponentials.",
        attributes: &[],
        example: Some(Example {
            inputs: &[("x", "f32[B, T]")],
            body: "y = max_reduce(x)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let x = float_rows(args)?;
        Ok(vec![x.with_shape(reduced(x, &[x.rank() - 1], true)?)])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let (_, cols) = args[0].rows_cols();
        let max = |row: &[f64]| {
            row.iter()
                .fold(f64::NEG_INFINITY, |a, b| if b.is_nan() || *b > a { *b } else { a })
        };
        let data = args[0].data.chunks(cols).map(max).collect();
        vec![Tensor::new(args[0].dtype, cx.shape(0), data)]
    }
    fn vjp(&self, _: &mut Graph, _: &Vjp) -> Vec<Option<ValueId>> {
        vec![None]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Reduce {
            reduction: Reduction::Max,
            axes: vec![],
            keep: true,
        }
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Rows {
            operations: 1.0,
            reads: 0.5,
        }
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        Sample::new(MaxReduce {}, vec![SampleArg::float(r.shape(2))]).without_gradient()
    }
    fn surrogate(&self) -> Option<&'static str> {
        Some("no gradient: it only shifts exponents, where the derivative cancels")
    }
}
