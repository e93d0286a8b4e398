//! x [.., I] times weight [O, I] transposed, plus bias [O] if given.

use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{float, rank, same_dim, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Linear {}

/// Letters for leading axes, then `last`.
fn spec_letters(rank: usize, last: char) -> String {
    ('a'..).take(rank - 1).chain([last]).collect()
}

impl OpDef for Linear {
    const DOC: Doc = Doc {
        group: Group::Matrix,
        signature: "x [.., I], weight [O, I], bias [O] (optional) -> [.., O]",
        about: "y = x weight^T + bias.",
        attributes: &[],
        example: Some(Example {
            inputs: &[("x", "f32[B, T, 16]"), ("weight", "f32[32, 16]"), ("bias", "f32[32]")],
            body: "y = linear(x, weight, bias)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let ([x, w] | [x, w, _]) = args else {
            return type_error(format!("takes 2 or 3 operands, got {}", args.len()));
        };
        float("the input", x)?;
        rank("the weight", w, 2)?;
        if x.rank() == 0 {
            return type_error("the input must have a last axis");
        }
        same_dim("width of input and weight", x.last(), &w.shape[1])?;
        if let Some(b) = args.get(2) {
            rank("the bias", b, 1)?;
            same_dim("bias and weight", &b.shape[0], &w.shape[0])?;
        }
        let mut shape = x.shape.clone();
        shape.pop();
        shape.push(w.shape[0].clone());
        Ok(vec![x.with_shape(shape)])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let (x, w) = (args[0], args[1]);
        let (_, inner) = x.rows_cols();
        let (_, outer) = (w.shape[1], w.shape[0]);
        let mut i = 0;
        cx.build(|_| {
            let (row, o) = (i / outer, i % outer);
            i += 1;
            let dot: f64 = (0..inner)
                .map(|k| x.data[row * inner + k] * w.data[o * inner + k])
                .sum();
            dot + args.get(2).map_or(0.0, |b| b.data[o])
        })
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let (x, w) = (at.args[0], at.args[1]);
        let n = g.shape(x).len();
        let (out, inner) = (spec_letters(n, 'y'), spec_letters(n, 'z'));
        let dx = g.einsum(&format!("{out},yz->{inner}"), at.grad(), w);
        let dw = g.einsum(&format!("{out},{inner}->yz"), at.grad(), x);
        let mut all = vec![Some(dx), Some(dw)];
        if let Some(b) = at.args.get(2) {
            let shape = g.shape(*b).to_vec();
            all.push(Some(g.sum_to(at.grad(), &shape)));
        }
        all
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Decompose(Box::new(|g, args| {
            let n = g.shape(args[0]).len();
            let spec = format!("{},yz->{}", spec_letters(n, 'z'), spec_letters(n, 'y'));
            let y = g.einsum(&spec, args[0], args[1]);
            vec![args.get(2).map_or(y, |b| g.add(y, *b))]
        }))
    }
    fn work(&self, args: &[&Type], results: &[Type]) -> Work {
        Work::products(&results[0], args[1].shape[1].clone())
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let lead = r.int(1, 2) as usize;
        let mut x = r.shape(lead);
        let (inner, outer) = (r.size(), r.size());
        x.push(inner.clone());
        let mut args = vec![SampleArg::float(x), SampleArg::float(vec![outer.clone(), inner])];
        if r.flag() {
            args.push(SampleArg::float(vec![outer]));
        }
        Sample::new(Linear {}, args)
    }
}
