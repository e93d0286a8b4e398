//! Sums over axes, which stay with size 1 if `keep`.

use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::dim::Dim;
use crate::graph::{Graph, ValueId};
use crate::kernel::Reduction;
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::tensor::unravel;
use crate::types::{Type, TypeError};
use crate::types::{arity, float, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sum {
    pub axes: Vec<usize>,
    pub keep: bool,
}

impl OpDef for Sum {
    const DOC: Doc = Doc {
        group: Group::Reduction,
        signature: "x [..] -> [..] without the axes, or with size 1 in their place",
        about: "Sum over axes.",
        attributes: &[
            ("axes", "list of axes"),
            ("keep", "`true` keeps the summed axes with size 1"),
        ],
        example: Some(Example {
            inputs: &[("x", "f32[B, T, 16]")],
            body: "y = sum(x, axes: [1, 2], keep: false)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [x] = arity::<1>(args)?;
        float("the operand", x)?;
        Ok(vec![x.with_shape(reduced(x, &self.axes, self.keep)?)])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let x = args[0];
        let mut out = Tensor::zeros(x.dtype, cx.shape(0));
        let mut at = vec![0; x.shape.len()];
        for (i, v) in x.data.iter().enumerate() {
            unravel(i, &x.shape, &mut at);
            let to: Vec<usize> = at
                .iter()
                .enumerate()
                .filter_map(|(a, p)| {
                    if !self.axes.contains(&a) {
                        Some(*p)
                    } else {
                        self.keep.then_some(0)
                    }
                })
                .collect();
            let to = out.offset(&to);
            out.data[to] += v;
        }
        vec![out]
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let x = g.ty(at.args[0]).clone();
        let kept = reduced(&x, &self.axes, true).expect("infer accepted the axes");
        let d = g.reshape(at.grad(), kept);
        vec![Some(g.broadcast_to(d, x.shape))]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Reduce {
            reduction: Reduction::Sum,
            axes: self.axes.clone(),
            keep: self.keep,
        }
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Rows {
            operations: 1.0,
            reads: 0.5,
        }
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let axes = r
            .pick(&[
                vec![2],
                vec![1],
                vec![0],
                vec![0, 1],
                vec![1, 2],
                vec![0, 1, 2],
                vec![0, 2],
            ])
            .clone();
        Sample::new(Sum { axes, keep: r.flag() }, vec![SampleArg::float(r.shape(3))])
    }
}

pub(super) fn reduced(x: &Type, axes: &[usize], keep: bool) -> Result<Vec<Dim>, TypeError> {
    if let Some(a) = axes.iter().find(|a| **a >= x.rank()) {
        return type_error(format!("axis {a} of {x} does not exist"));
    }
    let size = |(i, d): (usize, &Dim)| match (axes.contains(&i), keep) {
        (false, _) => Some(d.clone()),
        (true, true) => Some(Dim::from(1)),
        (true, false) => None,
    };
    Ok(x.shape.iter().enumerate().filter_map(size).collect())
}
