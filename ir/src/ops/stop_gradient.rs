//! The operand itself; no gradient flows back.

use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::types::arity;
use crate::types::{Type, TypeError};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StopGradient {}

impl OpDef for StopGradient {
    const DOC: Doc = Doc {
        group: Group::Gradient,
        signature: "x [..] -> [..]",
        about: "x itself; no gradient flows back.",
        attributes: &[],
        example: Some(Example {
            inputs: &[("x", "f32[B, T]")],
            body: "y = stop_gradient(x)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [x] = arity::<1>(args)?;
        Ok(vec![x.clone()])
    }
    fn eval(&self, _: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        vec![args[0].clone()]
    }
    fn vjp(&self, _: &mut Graph, _: &Vjp) -> Vec<Option<ValueId>> {
        vec![None]
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
        Sample::new(StopGradient {}, vec![SampleArg::float(r.shape(2))]).without_gradient()
    }
    fn surrogate(&self) -> Option<&'static str> {
        Some("no gradient")
    }
}
