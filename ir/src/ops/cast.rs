//! The same numbers in another element type; float to i32 truncates.

use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::kernel::Value;
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::scalar::DType;
use crate::tensor::Tensor;
use crate::types::arity;
use crate::types::{Type, TypeError};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cast {
    pub dtype: DType,
}

impl OpDef for Cast {
    const DOC: Doc = Doc {
        group: Group::Elementwise,
        signature: "x [..] -> dtype[..]",
        about: "The same numbers in another element type. Float to i32 truncates toward 0.",
        attributes: &[("dtype", "`f32`, `f64` or `i32`")],
        example: Some(Example {
            inputs: &[("lengths", "i32[B]")],
            body: "y = cast(lengths, dtype: f32)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [x] = arity::<1>(args)?;
        Ok(vec![Type::new(self.dtype, x.shape.clone())])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        cx.build(|at| {
            if self.dtype == DType::I32 {
                args[0].at(at).trunc()
            } else {
                args[0].at(at)
            }
        })
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let from = g.ty(at.args[0]).dtype;
        vec![(from.is_float() && self.dtype.is_float()).then(|| g.cast(at.grad(), from))]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Element(Box::new(|p, at| {
            let x = p.arg(0, at);
            p.value(Value::Cast(self.dtype, x))
        }))
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Element(1.0)
    }
    fn is_cheap(&self) -> bool {
        true
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let shape = r.shape(2);
        match r.int(0, 2) {
            0 => Sample::new(Cast { dtype: DType::F32 }, vec![SampleArg::int(shape, -9, 9)]),
            1 => Sample::new(Cast { dtype: DType::F64 }, vec![SampleArg::float(shape)]),
            _ => Sample::new(Cast { dtype: DType::I32 }, vec![SampleArg::float(shape)]),
        }
    }
}
