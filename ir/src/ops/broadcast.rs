//! Repeats elements along axes of size 1 (and new leading axes) up to a shape.

use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::dim::Dim;
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, broadcast, shape_text, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Broadcast {
    pub shape: Vec<Dim>,
}

impl OpDef for Broadcast {
    const DOC: Doc = Doc {
        group: Group::Shape,
        signature: "x [..] -> [shape]",
        about: "Repeats x along axes of size 1 and along new leading axes.",
        attributes: &[("shape", "list of sizes")],
        example: Some(Example {
            inputs: &[("x", "f32[16]")],
            body: "y = broadcast(x, shape: [B, T, 16])",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [x] = arity::<1>(args)?;
        let shape = broadcast(&[&x.shape, &self.shape])?;
        if shape != self.shape {
            return type_error(format!("{x} does not stretch to {}", shape_text(&self.shape)));
        }
        Ok(vec![x.with_shape(shape)])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        cx.build(|at| args[0].at_broadcast(at))
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let shape = g.shape(at.args[0]).to_vec();
        vec![Some(g.sum_to(at.grad(), &shape))]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Element(Box::new(|p, at| p.broadcast_arg(0, at)))
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
    fn is_view(&self) -> bool {
        true
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let shape = r.shape(3);
        let mut from = shape[r.int(0, 2) as usize..].to_vec();
        from[0] = 1.into();
        Sample::new(Broadcast { shape }, vec![SampleArg::float(from)])
    }
}
