//! The first position of the maximum over the last axis, i32, the axis staying with size 1.

use super::sum::reduced;
use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::kernel::Reduction;
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::scalar::DType;
use crate::tensor::Tensor;
use crate::types::float_rows;
use crate::types::{Type, TypeError};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ArgMax {}

impl OpDef for ArgMax {
    const DOC: Doc = Doc {
        group: Group::Reduction,
        signature: "x [.., N] -> i32[.., 1]",
        about: "First position of the maximum over the last axis.",
        attributes: &[],
        example: Some(Example {
            inputs: &[("logits", "f32[B, T, 32]")],
            body: "y = arg_max(logits)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let x = float_rows(args)?;
        Ok(vec![Type::i32(reduced(x, &[x.rank() - 1], true)?)])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let (_, cols) = args[0].rows_cols();
        let first = |row: &[f64]| (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best }) as f64;
        let data = args[0].data.chunks(cols).map(first).collect();
        vec![Tensor::new(DType::I32, cx.shape(0), data)]
    }
    fn vjp(&self, _: &mut Graph, _: &Vjp) -> Vec<Option<ValueId>> {
        vec![None]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Reduce {
            reduction: Reduction::ArgMax,
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
        Sample::new(ArgMax {}, vec![SampleArg::float(r.shape(2))])
    }
}
