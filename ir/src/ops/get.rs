//! One result of a node that has several.

use super::{Doc, EvalCx, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::types::type_error;
use crate::types::{Type, TypeError};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Get {
    pub index: usize,
}

impl OpDef for Get {
    const DOC: Doc = Doc {
        group: Group::Structure,
        signature: "results of a node -> one of them",
        about: "One result of an op that has several. Statements take results apart: `(a, b) = f(x)`.",
        attributes: &[("index", "which result")],
        example: None,
    };
    fn infer(&self, _: &[Type]) -> Result<Vec<Type>, TypeError> {
        type_error("is built by the graph, which knows all results of the node it reads")
    }
    fn eval(&self, _: &EvalCx, _: &[&Tensor]) -> Vec<Tensor> {
        unreachable!("the evaluator reads the result itself")
    }
    fn vjp(&self, _: &mut Graph, _: &Vjp) -> Vec<Option<ValueId>> {
        unreachable!("differentiate hands the gradients of `get` to the node it reads")
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Leaf
    }
    const CALLABLE: bool = false;
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Nothing
    }
    fn is_free(&self) -> bool {
        true
    }
    /// Stands for every op with several results; itself it has no operands to draw.
    fn sample(r: &mut Rand) -> Sample<Self> {
        Sample::new(
            Get {
                index: r.int(0, 1) as usize,
            },
            Vec::<SampleArg>::new(),
        )
    }
}
