//! 0, 1, 2, ... as i32 [size].

use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::dim::Dim;
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::types::arity;
use crate::types::{Type, TypeError};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Iota {
    pub size: Dim,
}

impl OpDef for Iota {
    const DOC: Doc = Doc {
        group: Group::Source,
        signature: "() -> i32[size]",
        about: "y[i] = i.",
        attributes: &[("size", "a size")],
        example: Some(Example {
            inputs: &[("x", "f32[B, T]")],
            body: "y = iota(size: T)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        arity::<0>(args)?;
        Ok(vec![Type::i32([self.size.clone()])])
    }
    fn eval(&self, cx: &EvalCx, _: &[&Tensor]) -> Vec<Tensor> {
        cx.build(|at| at[0] as f64)
    }
    fn vjp(&self, _: &mut Graph, _: &Vjp) -> Vec<Option<ValueId>> {
        vec![]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Element(Box::new(|p, at| p.coordinate(&at[0])))
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Nothing
    }
    fn is_cheap(&self) -> bool {
        true
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        Sample::new(Iota { size: r.size() }, Vec::<SampleArg>::new())
    }
}
