//! Functions of two values, element by element, broadcasting.

use super::{Doc, EvalCx, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::kernel::Value;
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::scalar::{Binary, DType};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, broadcast, float, int, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BinaryOp {
    pub function: Binary,
}

impl OpDef for BinaryOp {
    const DOC: Doc = Doc {
        group: Group::Elementwise,
        signature: "a [..], b [..] -> [..], broadcasting",
        about: "A function of two values, applied to each pair of elements.",
        attributes: &[],
        example: None,
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [a, b] = arity::<2>(args)?;
        if a.dtype != b.dtype {
            return type_error(format!("operands have different element types: {a} and {b}"));
        }
        match self.function {
            Binary::Div => float("the operands", a)?,
            Binary::FloorDiv | Binary::And | Binary::Or => int("the operands", a)?,
            _ => {}
        }
        let dtype = if self.function.is_comparison() {
            DType::I32
        } else {
            a.dtype
        };
        Ok(vec![Type::new(dtype, broadcast(&[&a.shape, &b.shape])?)])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        cx.build(|at| self.function.eval(args[0].at_broadcast(at), args[1].at_broadcast(at)))
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let (a, b) = (at.args[0], at.args[1]);
        if !g.ty(a).dtype.is_float() || self.function.is_comparison() {
            return vec![None, None];
        }
        let (y, d) = (at.result(), at.grad());
        let (da, db) = match self.function {
            Binary::Add => (d, d),
            Binary::Sub => (d, g.neg(d)),
            Binary::Mul => (g.mul(d, b), g.mul(d, a)),
            Binary::Div => {
                let da = g.div(d, b);
                let scaled = g.mul(da, y);
                (da, g.neg(scaled))
            }
            Binary::Max | Binary::Min => {
                let first = match self.function {
                    Binary::Max => g.binary(Binary::LessEq, b, a),
                    _ => g.binary(Binary::LessEq, a, b),
                };
                let zero = g.constant_like(a, 0.0);
                (g.select(first, d, zero), g.select(first, zero, d))
            }
            _ => return vec![None, None],
        };
        let (sa, sb) = (g.shape(a).to_vec(), g.shape(b).to_vec());
        vec![Some(g.sum_to(da, &sa)), Some(g.sum_to(db, &sb))]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Element(Box::new(|p, at| {
            let (a, b) = (p.broadcast_arg(0, at), p.broadcast_arg(1, at));
            p.value(Value::Binary(self.function, a, b))
        }))
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Element(if self.function == Binary::Div { 4.0 } else { 1.0 })
    }
    fn is_cheap(&self) -> bool {
        true
    }
    fn advice(&self) -> Option<&'static str> {
        let of_div = "floor_div(a, b) divides i32 values; cast(x, dtype: f32) makes floats";
        (self.function == Binary::Div).then_some(of_div)
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let function = *r.pick(Binary::ALL);
        let shape = r.shape(3);
        let mut other = shape[r.int(0, 2) as usize..].to_vec();
        if r.flag() {
            let i = r.int(0, other.len() as i64 - 1) as usize;
            other[i] = 1.into();
        }
        let args = match function {
            Binary::FloorDiv => vec![SampleArg::int(shape, -20, 20), SampleArg::int(other, 1, 5)],
            Binary::And | Binary::Or => vec![SampleArg::int(shape, 0, 1), SampleArg::int(other, 0, 1)],
            Binary::Less | Binary::LessEq | Binary::Equal => {
                vec![SampleArg::int(shape, -2, 2), SampleArg::int(other, -2, 2)]
            }
            Binary::Div => vec![SampleArg::float(shape), SampleArg::between(other, 0.5, 2.0)],
            // Apart, so that the maximum has a derivative.
            Binary::Max | Binary::Min => vec![SampleArg::between(shape, 0.0, 1.0), SampleArg::between(other, 1.1, 2.0)],
            _ => vec![SampleArg::float(shape), SampleArg::float(other)],
        };
        Sample::new(BinaryOp { function }, args)
    }
}
