//! Operands one after the other along an axis.

use super::pad::within;
use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::dim::Dim;
use crate::graph::{Graph, ValueId};
use crate::kernel::{Index, ValId, Value};
use crate::lower::Lower;
use crate::lower::Pull;
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::types::type_error;
use crate::types::{Type, TypeError};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Concat {
    pub axis: usize,
}

impl OpDef for Concat {
    const DOC: Doc = Doc {
        group: Group::Shape,
        signature: "x0 [.., N0, ..], x1 [.., N1, ..], .. -> [.., N0 + N1 + .., ..]",
        about: "Joins one or more operands along an axis. The other axes must be equal.",
        attributes: &[("axis", "the axis")],
        example: Some(Example {
            inputs: &[("a", "f32[B, T, 16]"), ("b", "f32[B, T, 8]")],
            body: "y = concat(a, b, axis: 2)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let Some(first) = args.first() else {
            return type_error("takes at least one operand");
        };
        if self.axis >= first.rank() {
            return type_error(format!("axis {} of {first} does not exist", self.axis));
        }
        let mut shape = first.shape.clone();
        for (i, a) in args.iter().enumerate().skip(1) {
            let fits = a.dtype == first.dtype && a.rank() == first.rank();
            let same = |(j, (x, y)): (usize, (&Dim, &Dim))| j == self.axis || x == y;
            if !fits || !a.shape.iter().zip(&shape).enumerate().all(same) {
                return type_error(format!(
                    "operand {i} is {a}, which does not continue {first} along axis {}",
                    self.axis
                ));
            }
            shape[self.axis] = shape[self.axis].clone() + a.shape[self.axis].clone();
        }
        Ok(vec![first.with_shape(shape)])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        cx.build(|at| {
            let mut at = at.to_vec();
            for a in args {
                if at[self.axis] < a.shape[self.axis] {
                    return a.at(&at);
                }
                at[self.axis] -= a.shape[self.axis];
            }
            unreachable!("the result is as long as its operands")
        })
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let mut start = Dim::from(0);
        let float = g.ty(at.result()).dtype.is_float();
        at.args
            .iter()
            .map(|a| {
                let len = g.shape(*a)[self.axis].clone();
                let part = float.then(|| g.slice(at.grad(), self.axis, start.clone(), len.clone()));
                start = start.clone() + len;
                part
            })
            .collect()
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Element(Box::new(|p, at| concat_element(p, at, self.axis, 0, Dim::from(0))))
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Element(1.0)
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let axis = r.int(0, 2) as usize;
        let shape = r.shape(3);
        let part = |r: &mut Rand| {
            let mut s = shape.clone();
            s[axis] = r.size();
            SampleArg::float(s)
        };
        let args = (0..3).map(|_| part(r)).collect();
        Sample::new(Concat { axis }, args)
    }
}

fn concat_element(p: &mut dyn Pull, at: &[Index], axis: usize, i: usize, start: Dim) -> ValId {
    let ty = p.arg_type(i);
    let len = ty.shape[axis].clone();
    let mut here = at.to_vec();
    here[axis] = here[axis].clone().offset(&(start.clone() * Dim::from(-1)));
    let inside = within(p, &here[axis], &len);
    let value = p.arg_if(i, &here, inside);
    let end = start + len;
    if end == p.result_type().shape[axis] {
        return value;
    }
    let other = concat_element(p, at, axis, i + 1, end);
    p.value(Value::Select {
        cond: inside,
        then: value,
        other,
    })
}
