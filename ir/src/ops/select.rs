//! Elements of operand 1 where operand 0 (i32) is nonzero, else of operand 2; broadcasting.

use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::kernel::Value;
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, broadcast, int, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Select {}

impl OpDef for Select {
    const DOC: Doc = Doc {
        group: Group::Elementwise,
        signature: "condition i32[..], a [..], b [..] -> [..], broadcasting",
        about: "y = a where the condition is not 0, else b.",
        attributes: &[],
        example: Some(Example {
            inputs: &[("inside", "i32[B, T]"), ("x", "f32[B, T]")],
            body: "y = select(inside, x, -inf)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [c, a, b] = arity::<3>(args)?;
        int("the condition", c)?;
        if a.dtype != b.dtype {
            return type_error(format!("the two choices have different element types: {a} and {b}"));
        }
        Ok(vec![Type::new(a.dtype, broadcast(&[&c.shape, &a.shape, &b.shape])?)])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        cx.build(|at| {
            let from = if args[0].at_broadcast(at) != 0.0 {
                args[1]
            } else {
                args[2]
            };
            from.at_broadcast(at)
        })
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let [c, a, b] = at.args[..] else {
            unreachable!("infer checked the arity")
        };
        if !g.ty(a).dtype.is_float() {
            return vec![None; 3];
        }
        let zero = g.constant_like(a, 0.0);
        let (da, db) = (g.select(c, at.grad(), zero), g.select(c, zero, at.grad()));
        let (sa, sb) = (g.shape(a).to_vec(), g.shape(b).to_vec());
        vec![None, Some(g.sum_to(da, &sa)), Some(g.sum_to(db, &sb))]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Element(Box::new(|p, at| {
            let [cond, then, other] = [0, 1, 2].map(|i| p.broadcast_arg(i, at));
            p.value(Value::Select { cond, then, other })
        }))
    }
    const CONDITIONS: usize = 1;
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Element(1.0)
    }
    fn is_cheap(&self) -> bool {
        true
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let shape = r.shape(2);
        let args = vec![
            SampleArg::int(shape.clone(), 0, 1),
            SampleArg::float(shape.clone()),
            SampleArg::float(shape[1..].to_vec()),
        ];
        Sample::new(Select {}, args)
    }
}
