//! Zeros before and after the positions of an axis.

use super::{Doc, EvalCx, Example, Group, Need, OpDef, Vjp, Work};
use crate::dim::Dim;
use crate::graph::{Graph, ValueId};
use crate::kernel::{Index, ValId};
use crate::lower::Lower;
use crate::lower::Pull;
use crate::sample::{Rand, Sample, SampleArg};
use crate::scalar::{Binary, DType};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pad {
    pub axis: usize,
    pub before: Dim,
    pub after: Dim,
}

impl OpDef for Pad {
    const DOC: Doc = Doc {
        group: Group::Shape,
        signature: "x [.., N, ..] -> [.., before + N + after, ..]",
        about: "Adds zeros before and after the positions of an axis.",
        attributes: &[
            ("axis", "the axis"),
            ("before", "zeros before, from 0"),
            ("after", "zeros after, from 0"),
        ],
        example: Some(Example {
            inputs: &[("x", "f32[B, T, 16]")],
            body: "y = pad(x, axis: 1, before: 1, after: 1)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [x] = arity::<1>(args)?;
        if self.axis >= x.rank() {
            return type_error(format!("axis {} of {x} does not exist", self.axis));
        }
        if [&self.before, &self.after]
            .iter()
            .any(|d| d.as_const().is_some_and(|c| c < 0))
        {
            return type_error(format!(
                "padding of {} before and {} after must be 0 or more",
                self.before, self.after
            ));
        }
        let mut shape = x.shape.clone();
        shape[self.axis] = shape[self.axis].clone() + self.before.clone() + self.after.clone();
        Ok(vec![x.with_shape(shape)])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let before = cx.size(&self.before);
        let len = args[0].shape[self.axis];
        cx.build(|at| {
            let mut at = at.to_vec();
            if at[self.axis] < before || at[self.axis] >= before + len {
                return 0.0;
            }
            at[self.axis] -= before;
            args[0].at(&at)
        })
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let len = g.shape(at.args[0])[self.axis].clone();
        vec![Some(g.slice(at.grad(), self.axis, self.before.clone(), len))]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Element(Box::new(|p, at| {
            let len = p.arg_type(0).shape[self.axis].clone();
            let mut at = at.to_vec();
            at[self.axis] = at[self.axis].clone().offset(&(self.before.clone() * Dim::from(-1)));
            let inside = within(p, &at[self.axis], &len);
            p.arg_if(0, &at, inside)
        }))
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Element(1.0)
    }
    fn requires(&self, _: &[&Type], _: &[Type]) -> Vec<Need> {
        let need = |d: &Dim| Need {
            value: d.clone(),
            least: 0,
            what: "the padding",
        };
        vec![need(&self.before), need(&self.after)]
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let (axis, before, after) = (r.int(0, 2) as usize, r.int(0, 5), r.int(0, 5));
        Sample::new(
            Pad {
                axis,
                before: before.into(),
                after: after.into(),
            },
            vec![SampleArg::float(r.shape(3))],
        )
    }
}

/// 0 <= at < len, as an i32 value.
pub(super) fn within(p: &mut dyn Pull, at: &Index, len: &Dim) -> ValId {
    let i = p.coordinate(at);
    let (zero, len) = (p.constant(DType::I32, 0.0), p.size(len));
    let low = p.binary(Binary::LessEq, zero, i);
    let high = p.binary(Binary::Less, i, len);
    p.binary(Binary::And, low, high)
}
