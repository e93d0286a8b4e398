//! Permutes axes: axis i of the result is axis perm[i] of the operand.

use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Transpose {
    pub perm: Vec<usize>,
}

impl Transpose {
    fn inverse(&self) -> Vec<usize> {
        let mut inverse = vec![0; self.perm.len()];
        for (i, p) in self.perm.iter().enumerate() {
            inverse[*p] = i;
        }
        inverse
    }
}

impl OpDef for Transpose {
    const DOC: Doc = Doc {
        group: Group::Shape,
        signature: "x [..] -> axes permuted",
        about: "Axis i of the result is axis perm[i] of x.",
        attributes: &[("perm", "list of all axes")],
        example: Some(Example {
            inputs: &[("x", "f32[B, T, 16]")],
            body: "y = transpose(x, perm: [0, 2, 1])",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [x] = arity::<1>(args)?;
        let mut sorted = self.perm.clone();
        sorted.sort();
        if sorted != (0..x.rank()).collect::<Vec<_>>() {
            return type_error(format!("{:?} is no permutation of the axes of {x}", self.perm));
        }
        Ok(vec![x.with_shape(
            self.perm.iter().map(|p| x.shape[*p].clone()).collect::<Vec<_>>(),
        )])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let inverse = self.inverse();
        cx.build(|at| args[0].at(&inverse.iter().map(|i| at[*i]).collect::<Vec<_>>()))
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        vec![Some(g.transpose(at.grad(), &self.inverse()))]
    }
    fn lower(&self) -> Lower<'_> {
        let inverse = self.inverse();
        Lower::Element(Box::new(move |p, at| {
            let at: Vec<_> = inverse.iter().map(|i| at[*i].clone()).collect();
            p.arg(0, &at)
        }))
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Element(1.0)
    }
    fn is_view(&self) -> bool {
        true
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let perm = r.pick(&[[0, 2, 1], [1, 0, 2], [2, 1, 0], [1, 2, 0]]).to_vec();
        Sample::new(Transpose { perm }, vec![SampleArg::float(r.shape(3))])
    }
}
