//! An axis in reversed order.

use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::dim::Dim;
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Flip {
    pub axis: usize,
}

impl OpDef for Flip {
    const DOC: Doc = Doc {
        group: Group::Shape,
        signature: "x [..] -> [..]",
        about: "Reverses an axis.",
        attributes: &[("axis", "the axis")],
        example: Some(Example {
            inputs: &[("x", "f32[B, T, 16]")],
            body: "y = flip(x, axis: 1)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [x] = arity::<1>(args)?;
        if self.axis >= x.rank() {
            return type_error(format!("axis {} of {x} does not exist", self.axis));
        }
        Ok(vec![x.clone()])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let last = args[0].shape[self.axis].wrapping_sub(1);
        cx.build(|at| {
            let mut at = at.to_vec();
            at[self.axis] = last - at[self.axis];
            args[0].at(&at)
        })
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        vec![Some(g.flip(at.grad(), self.axis))]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Element(Box::new(|p, at| {
            let last = p.arg_type(0).shape[self.axis].clone() - Dim::from(1);
            let mut at = at.to_vec();
            at[self.axis] = at[self.axis].clone().scaled(&Dim::from(-1)).offset(&last);
            p.arg(0, &at)
        }))
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Element(1.0)
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let axis = r.int(0, 2) as usize;
        Sample::new(Flip { axis }, vec![SampleArg::float(r.shape(3))])
    }
}
