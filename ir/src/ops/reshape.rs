//! The same elements in the same row-major order under another shape.

use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::dim::{Dim, numel};
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, shape_text, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reshape {
    pub shape: Vec<Dim>,
}

impl OpDef for Reshape {
    const DOC: Doc = Doc {
        group: Group::Shape,
        signature: "x [..] -> [shape]",
        about: "The same elements in row-major order under another shape. The number of elements must be provably \
                equal.",
        attributes: &[("shape", "list of sizes")],
        example: Some(Example {
            inputs: &[("x", "f32[B, T, 32]")],
            body: "y = reshape(x, shape: [B, T, 4, 8])",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [x] = arity::<1>(args)?;
        if numel(&x.shape) != numel(&self.shape) {
            return type_error(format!("{x} does not fit {}", shape_text(&self.shape)));
        }
        Ok(vec![x.with_shape(self.shape.clone())])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        vec![Tensor::new(args[0].dtype, cx.shape(0), args[0].data.clone())]
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let shape = g.shape(at.args[0]).to_vec();
        vec![Some(g.reshape(at.grad(), shape))]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Reshape
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Nothing
    }
    fn is_free(&self) -> bool {
        true
    }
    fn is_cheap(&self) -> bool {
        true
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let from = r.shape(3);
        let shape = match r.int(0, 2) {
            0 => vec![from[0].clone() * from[1].clone(), from[2].clone()],
            1 => vec![from[0].clone(), 1.into(), from[1].clone() * from[2].clone()],
            _ => vec![from[0].clone() * from[1].clone() * from[2].clone()],
        };
        Sample::new(Reshape { shape }, vec![SampleArg::float(from)])
    }
}
