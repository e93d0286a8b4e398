//! The hard Gumbel softmax (Jang et al. 2016): operands logits [.., V], noise of the same shape, temperature f32 [1].
//!
//! Forward: 1 at the first maximum of logits + noise along the last axis, 0 elsewhere. Backward: as if the result had
//! been softmax((logits + noise) / temperature).

use super::{ArgMax, Iota, Softmax};
use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::dim::Dim;
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::scalar::{Binary, DType};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, float, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OneHotStraightThrough {}

impl OpDef for OneHotStraightThrough {
    const DOC: Doc = Doc {
        group: Group::Gradient,
        signature: "logits [.., V], noise [.., V], temperature f32[1] -> [.., V]",
        about: "Hard Gumbel softmax (Jang et al. 2016). Forward: 1 at the first maximum of logits + noise, else 0. \
                Backward: the gradient of softmax((logits + noise) / temperature).",
        attributes: &[],
        example: Some(Example {
            inputs: &[
                ("logits", "f32[B, T, 64]"),
                ("noise", "f32[B, T, 64]"),
                ("temperature", "f32[1]"),
            ],
            body: "y = one_hot_straight_through(logits, noise, temperature)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [logits, noise, temperature] = arity::<3>(args)?;
        float("the logits", logits)?;
        if logits != noise {
            return type_error(format!("logits are {logits}, noise {noise}"));
        }
        if *temperature != Type::f32([Dim::from(1)]) {
            return type_error(format!("the temperature must be f32[1], got {temperature}"));
        }
        Ok(vec![logits.clone()])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let (_, cols) = args[0].rows_cols();
        let mut out = Tensor::zeros(args[0].dtype, cx.shape(0));
        for (r, row) in out.data.chunks_mut(cols).enumerate() {
            // In f32, as the backends add them: ties must fall the same way.
            let score = |i: usize| args[0].data[r * cols + i] as f32 + args[1].data[r * cols + i] as f32;
            let best = (0..cols).fold(0, |best, i| if score(i) > score(best) { i } else { best });
            row[best] = 1.0;
        }
        vec![out]
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let sum = g.add(at.args[0], at.args[1]);
        let scaled = g.div(sum, at.args[2]);
        let p = g.add_op(Softmax {}, &[scaled]);
        let d = Softmax {}.vjp(
            g,
            &Vjp {
                args: &[scaled],
                results: &[p],
                grads: at.grads,
            },
        )[0];
        vec![d.map(|d| g.div(d, at.args[2])), None, None]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Decompose(Box::new(|g, args| {
            let score = g.add(args[0], args[1]);
            let best = g.add_op(ArgMax {}, &[score]);
            let size = g.ty(score).last().clone();
            let position = g.add_op(Iota { size }, &[]);
            let hit = g.binary(Binary::Equal, position, best);
            vec![g.cast(hit, DType::F32)]
        }))
    }
    fn work(&self, _: &[&Type], results: &[Type]) -> Work {
        Work::untouched(results)
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let shape = r.shape(2);
        let args = vec![
            SampleArg::float(shape.clone()),
            SampleArg::float(shape),
            SampleArg::between(vec![Dim::from(1)], 0.5, 2.0),
        ];
        Sample::new(OneHotStraightThrough {}, args).without_gradient()
    }
    fn surrogate(&self) -> Option<&'static str> {
        Some("straight-through: the gradient of the softmax at the temperature")
    }
}
