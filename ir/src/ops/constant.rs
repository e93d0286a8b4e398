//! A scalar constant of shape [].

use super::{Doc, EvalCx, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::kernel::Value;
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::scalar::{DType, Float};
use crate::tensor::Tensor;
use crate::types::arity;
use crate::types::{Type, TypeError};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Constant {
    pub dtype: DType,
    pub value: Float,
}

impl Constant {
    pub fn new(dtype: DType, value: f64) -> Constant {
        Constant {
            dtype,
            value: value.into(),
        }
    }
}

impl OpDef for Constant {
    const DOC: Doc = Doc {
        group: Group::Source,
        signature: "() -> dtype[]",
        about: "A scalar constant. The language makes one of a number beside a tensor.",
        attributes: &[("dtype", "`f32`, `f64` or `i32`"), ("value", "the number")],
        example: None,
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        arity::<0>(args)?;
        Ok(vec![Type::new(self.dtype, [])])
    }
    fn eval(&self, cx: &EvalCx, _: &[&Tensor]) -> Vec<Tensor> {
        cx.build(|_| self.value.get())
    }
    fn vjp(&self, _: &mut Graph, _: &Vjp) -> Vec<Option<ValueId>> {
        vec![]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Element(Box::new(|p, _| {
            p.value(Value::Const {
                dtype: self.dtype,
                bits: self.value.bits(),
            })
        }))
    }
    const CALLABLE: bool = false;
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Nothing
    }
    fn is_cheap(&self) -> bool {
        true
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        Sample::new(Constant::new(DType::F32, r.int(-3, 3) as f64), Vec::<SampleArg>::new())
    }
}
