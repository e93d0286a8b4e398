//! Functions of one value, element by element.

use super::{Doc, EvalCx, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::kernel::Value;
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::scalar::{Binary, Unary};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, float, int};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnaryOp {
    pub function: Unary,
}

impl OpDef for UnaryOp {
    const DOC: Doc = Doc {
        group: Group::Elementwise,
        signature: "x [..] -> [..]",
        about: "A function of one value, applied to each element.",
        attributes: &[],
        example: None,
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [x] = arity::<1>(args)?;
        match self.function {
            Unary::Not => int("the operand", x)?,
            Unary::Neg | Unary::Abs => {}
            _ => float("the operand", x)?,
        }
        Ok(vec![x.clone()])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        cx.build(|at| self.function.eval(args[0].at(at)))
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let (x, y, d) = (at.args[0], at.result(), at.grad());
        let slope = match self.function {
            Unary::Neg => return vec![Some(g.neg(d))],
            Unary::Not => return vec![None],
            Unary::Abs => {
                let zero = g.constant_like(x, 0.0);
                let negative = g.binary(Binary::Less, x, zero);
                let (minus, plus) = (g.constant_like(x, -1.0), g.constant_like(x, 1.0));
                g.select(negative, minus, plus)
            }
            Unary::Exp => y,
            Unary::Log => return vec![Some(g.div(d, x))],
            Unary::Sqrt => {
                let half = g.scale(d, 0.5);
                return vec![Some(g.div(half, y))];
            }
            Unary::Rsqrt => {
                let y2 = g.mul(y, y);
                let y3 = g.mul(y2, y);
                g.scale(y3, -0.5)
            }
            Unary::Erf => {
                let x2 = g.mul(x, x);
                let minus = g.neg(x2);
                let e = g.unary(Unary::Exp, minus);
                g.scale(e, std::f64::consts::FRAC_2_SQRT_PI)
            }
            Unary::Tanh => {
                let y2 = g.mul(y, y);
                let one = g.constant_like(x, 1.0);
                g.sub(one, y2)
            }
        };
        vec![Some(g.mul(d, slope))]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Element(Box::new(|p, at| {
            let x = p.arg(0, at);
            p.value(Value::Unary(self.function, x))
        }))
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Element(match self.function {
            Unary::Neg | Unary::Abs | Unary::Not => 1.0,
            Unary::Sqrt | Unary::Rsqrt => 5.0,
            Unary::Exp | Unary::Log | Unary::Erf | Unary::Tanh => 12.0,
        })
    }
    fn is_cheap(&self) -> bool {
        true
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let function = *r.pick(Unary::ALL);
        let shape = r.shape(2);
        let arg = match function {
            Unary::Not => SampleArg::int(shape, 0, 1),
            Unary::Log | Unary::Sqrt | Unary::Rsqrt | Unary::Abs => SampleArg::between(shape, 0.1, 4.0),
            _ => SampleArg::float(shape),
        };
        Sample::new(UnaryOp { function }, vec![arg])
    }
}
