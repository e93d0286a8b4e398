//! A value given from outside; a repeat body binds its inputs in order.

use super::{Doc, EvalCx, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::types::arity;
use crate::types::{Type, TypeError};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Input {
    pub name: String,
    pub ty: Type,
}

impl OpDef for Input {
    const DOC: Doc = Doc {
        group: Group::Source,
        signature: "() -> f32[..] or i32[..]",
        about: "An input of the program, or of the body of a `repeat`.",
        attributes: &[("name", "its name"), ("ty", "its type")],
        example: None,
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        arity::<0>(args)?;
        Ok(vec![self.ty.clone()])
    }
    fn eval(&self, _: &EvalCx, _: &[&Tensor]) -> Vec<Tensor> {
        unreachable!("the evaluator binds inputs")
    }
    fn vjp(&self, _: &mut Graph, _: &Vjp) -> Vec<Option<ValueId>> {
        vec![]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Leaf
    }
    const CALLABLE: bool = false;
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Nothing
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let ty = Type::f32(r.shape(2));
        Sample::new(Input { name: "x".into(), ty }, Vec::<SampleArg>::new())
    }
}
