//! The operand itself; its gradient is multiplied by `factor`.

use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::scalar::Float;
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, float};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GradScale {
    pub factor: Float,
}

impl OpDef for GradScale {
    const DOC: Doc = Doc {
        group: Group::Gradient,
        signature: "x [..] -> [..]",
        about: "x itself; its gradient is multiplied by `factor`.",
        attributes: &[("factor", "the factor")],
        example: Some(Example {
            inputs: &[("x", "f32[B, T]")],
            body: "y = grad_scale(x, factor: 0.1)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [x] = arity::<1>(args)?;
        float("the operand", x)?;
        Ok(vec![x.clone()])
    }
    fn eval(&self, _: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        vec![args[0].clone()]
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        vec![Some(g.scale(at.grad(), self.factor.get()))]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Element(Box::new(|p, at| p.arg(0, at)))
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Element(1.0)
    }
    fn is_cheap(&self) -> bool {
        true
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let factor = r.float(0.1, 2.0).into();
        Sample::new(GradScale { factor }, vec![SampleArg::float(r.shape(2))]).without_gradient()
    }
    fn surrogate(&self) -> Option<&'static str> {
        Some("the gradient is scaled")
    }
}
