//! `len` positions of an axis from `start` on.

use super::{Doc, EvalCx, Example, Group, Need, OpDef, Vjp, Work};
use crate::dim::Dim;
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slice {
    pub axis: usize,
    pub start: Dim,
    pub len: Dim,
}

impl OpDef for Slice {
    const DOC: Doc = Doc {
        group: Group::Shape,
        signature: "x [.., N, ..] -> [.., len, ..]",
        about: "The positions start .. start + len of an axis.",
        attributes: &[
            ("axis", "the axis"),
            ("start", "first position"),
            ("len", "number of positions"),
        ],
        example: Some(Example {
            inputs: &[("x", "f32[B, T, 16]")],
            body: "y = slice(x, axis: 2, start: 8, len: 8)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [x] = arity::<1>(args)?;
        if self.axis >= x.rank() {
            return type_error(format!("axis {} of {x} does not exist", self.axis));
        }
        if [&self.start, &self.len]
            .iter()
            .any(|d| d.as_const().is_some_and(|c| c < 0))
        {
            return type_error(format!(
                "start {} and length {} must be 0 or more",
                self.start, self.len
            ));
        }
        let rest = x.shape[self.axis].clone() - self.start.clone() - self.len.clone();
        if rest.as_const().is_some_and(|c| c < 0) {
            return type_error(format!(
                "positions {} + {} lie outside axis {} of {x}",
                self.start, self.len, self.axis
            ));
        }
        let mut shape = x.shape.clone();
        shape[self.axis] = self.len.clone();
        Ok(vec![x.with_shape(shape)])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let start = cx.size(&self.start);
        cx.build(|at| {
            let mut at = at.to_vec();
            at[self.axis] += start;
            args[0].at(&at)
        })
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let total = g.shape(at.args[0])[self.axis].clone();
        let after = total - self.start.clone() - self.len.clone();
        vec![Some(g.pad(at.grad(), self.axis, self.start.clone(), after))]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Element(Box::new(|p, at| {
            let mut at = at.to_vec();
            at[self.axis] = at[self.axis].clone().offset(&self.start);
            p.arg(0, &at)
        }))
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Element(1.0)
    }
    fn is_cheap(&self) -> bool {
        true
    }
    fn is_view(&self) -> bool {
        true
    }
    fn requires(&self, args: &[&Type], _: &[Type]) -> Vec<Need> {
        let left = args[0].shape[self.axis].clone() - self.start.clone() - self.len.clone();
        let need = |value, what| Need { value, least: 0, what };
        vec![need(self.start.clone(), "the start"), need(left, "what is left")]
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let (axis, start, len, after) = (r.int(0, 2) as usize, r.int(0, 3), r.int(1, 9), r.int(0, 3));
        let mut shape = r.shape(3);
        shape[axis] = (start + len + after).into();
        Sample::new(
            Slice {
                axis,
                start: start.into(),
                len: len.into(),
            },
            vec![SampleArg::float(shape)],
        )
    }
}
