//! Overlapping windows of a sequence: [B, N] to [B, T, size], window t starting at t * step.

use super::{Conv1dInputGrad, Iota};
use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::dim::Dim;
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::scalar::Binary;
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Unfold {
    pub size: i64,
    pub step: i64,
}

impl OpDef for Unfold {
    const DOC: Doc = Doc {
        group: Group::Shape,
        signature: "x [.., N] -> [.., T, size], T = (N - size) / step + 1",
        about: "Overlapping windows of the last axis: y[.., t, k] = x[.., t * step + k].",
        attributes: &[
            ("size", "width of a window, from 1"),
            ("step", "distance of two windows, from 1"),
        ],
        example: Some(Example {
            inputs: &[("x", "f32[B, N]")],
            body: "y = unfold(x, size: 400, step: 160)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [x] = arity::<1>(args)?;
        if x.rank() < 1 || self.size < 1 || self.step < 1 {
            return type_error(format!("takes [..., N] and positive size and step, got {x}"));
        }
        let mut shape = x.shape.clone();
        let n = shape.pop().expect("rank is positive");
        shape.push((n - Dim::from(self.size)).floor_div(self.step) + Dim::from(1));
        shape.push(self.size.into());
        Ok(vec![x.with_shape(shape)])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        cx.build(|at| {
            let (lead, tail) = at.split_at(at.len() - 2);
            let mut i = lead.to_vec();
            i.push(tail[0] * self.step as usize + tail[1]);
            args[0].at(&i)
        })
    }
    /// Overlap-add: the input gradient of a convolution with one filter per tap.
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let x = g.ty(at.args[0]).clone();
        if !x.dtype.is_float() {
            return vec![None];
        }
        let n = x.last().clone();
        let lead: Dim = x.shape[..x.rank() - 1].iter().cloned().product();
        let t = g.shape(at.result())[x.rank() - 1].clone();
        let flat = g.reshape(at.grad(), vec![lead, t, self.size.into()]);
        let taps = g.add_op(Iota { size: self.size.into() }, &[]);
        let (rows, cols) = (
            vec![self.size.into(), 1.into(), 1.into()],
            vec![1.into(), 1.into(), self.size.into()],
        );
        let (rows, cols) = (g.reshape(taps, rows), g.reshape(taps, cols));
        let same = g.binary(Binary::Equal, rows, cols);
        let eye = g.cast(same, x.dtype);
        let op = Conv1dInputGrad {
            stride: self.step,
            padding: 0,
            groups: 1,
            length: n,
        };
        let dx = g.add_op(op, &[flat, eye]);
        vec![Some(g.reshape(dx, x.shape))]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Element(Box::new(|p, at| {
            let (lead, tail) = at.split_at(at.len() - 2);
            let mut i = lead.to_vec();
            i.push(tail[0].clone().scaled(&self.step.into()).plus(&tail[1]));
            p.arg(0, &i)
        }))
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Element(1.0)
    }
    fn is_view(&self) -> bool {
        true
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let (size, step) = (r.int(1, 5), r.int(1, 4));
        let n = size + r.int(0, 20);
        Sample::new(Unfold { size, step }, vec![SampleArg::float(vec![r.size(), n.into()])])
    }
}
