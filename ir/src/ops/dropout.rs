//! Zeroes elements with probability `rate` (operand 1, f32 [1]) and divides the others by 1 - rate.
//!
//! The random numbers are those of `uniform` at the same seed (operand 2) and site, so the backward pass draws them
//! again.

use super::Uniform;
use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::dim::Dim;
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::scalar::Binary;
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, float, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dropout {
    pub site: u32,
}

impl OpDef for Dropout {
    const DOC: Doc = Doc {
        group: Group::Network,
        signature: "x [..], rate f32[1], seed i32[2] -> [..]",
        about: "Sets each element to 0 with probability `rate` and divides the others by 1 - rate. The backward pass \
                draws the same numbers again.",
        attributes: &[(
            "site",
            "tells the uses of one seed apart; filled in when it is left out",
        )],
        example: Some(Example {
            inputs: &[("x", "f32[B, T, 16]"), ("rate", "f32[1]"), ("seed", "i32[2]")],
            body: "y = dropout(x, rate, seed)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [x, rate, seed] = arity::<3>(args)?;
        float("the operand", x)?;
        if *rate != Type::f32([Dim::from(1)]) || *seed != Type::i32([Dim::from(2)]) {
            return type_error(format!("rate must be f32[1] and seed i32[2], got {rate} and {seed}"));
        }
        Ok(vec![x.clone()])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let uniform = Uniform {
            site: self.site,
            shape: cx.types[0].shape.clone(),
        };
        let u = uniform.eval(cx, &[args[2]]);
        let rate = args[1].data[0];
        cx.build(|at| {
            if u[0].at(at) < rate {
                0.0
            } else {
                args[0].at(at) / (1.0 - rate)
            }
        })
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        vec![
            Some(g.add_op(self.clone(), &[at.grad(), at.args[1], at.args[2]])),
            None,
            None,
        ]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Decompose(Box::new(|g, args| {
            let shape = g.shape(args[0]).to_vec();
            let u = g.add_op(Uniform { site: self.site, shape }, &[args[2]]);
            let dropped = g.binary(Binary::Less, u, args[1]);
            let one = g.constant(1.0);
            let kept = g.sub(one, args[1]);
            let scale = g.div(one, kept);
            let scaled = g.mul(args[0], scale);
            let zero = g.constant(0.0);
            vec![g.select(dropped, zero, scaled)]
        }))
    }
    const HAS_SITE: bool = true;
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Element(15.0)
    }
    fn is_cheap(&self) -> bool {
        true
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let shape = r.shape(2);
        let args = vec![
            SampleArg::float(shape),
            SampleArg::between(vec![Dim::from(1)], 0.2, 0.6),
            SampleArg::int(vec![Dim::from(2)], -99, 99),
        ];
        Sample::new(
            Dropout {
                site: r.int(0, 9) as u32,
            },
            args,
        )
    }
}
