//! The exact GELU, x * Phi(x) with Phi the normal distribution function (Hendrycks & Gimpel 2016).

use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::scalar::{Unary, erf};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, float};
use serde::{Deserialize, Serialize};
use std::f64::consts::FRAC_1_SQRT_2;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Gelu {}

impl OpDef for Gelu {
    const DOC: Doc = Doc {
        group: Group::Network,
        signature: "x [..] -> [..]",
        about: "Exact GELU: x * (1 + erf(x / sqrt(2))) / 2 (Hendrycks & Gimpel 2016).",
        attributes: &[],
        example: Some(Example {
            inputs: &[("x", "f32[B, T, 16]")],
            body: "y = gelu(x)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [x] = arity::<1>(args)?;
        float("the operand", x)?;
        Ok(vec![x.clone()])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        cx.build(|at| {
            let x = args[0].at(at);
            0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2))
        })
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let x = at.args[0];
        let phi = distribution(g, x);
        let x2 = g.mul(x, x);
        let minus = g.scale(x2, -0.5);
        let e = g.unary(Unary::Exp, minus);
        let density = g.scale(e, FRAC_1_SQRT_2 * std::f64::consts::FRAC_2_SQRT_PI * 0.5);
        let xd = g.mul(x, density);
        let slope = g.add(phi, xd);
        vec![Some(g.mul(at.grad(), slope))]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Decompose(Box::new(|g, args| {
            let phi = distribution(g, args[0]);
            vec![g.mul(args[0], phi)]
        }))
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Element(15.0)
    }
    fn is_cheap(&self) -> bool {
        true
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        Sample::new(Gelu {}, vec![SampleArg::between(r.shape(2), -5.0, 5.0)])
    }
}

/// Phi(x) = (1 + erf(x / sqrt 2)) / 2
fn distribution(g: &mut Graph, x: ValueId) -> ValueId {
    let scaled = g.scale(x, FRAC_1_SQRT_2);
    let e = g.unary(Unary::Erf, scaled);
    let one = g.constant_like(x, 1.0);
    let sum = g.add(e, one);
    g.scale(sum, 0.5)
}
