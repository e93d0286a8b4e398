//! Gathers rows: x [batch.., R, rest..] at i32 index [batch.., I..] gives [batch.., I.., rest..].
//!
//! An index outside 0..R gives zeros, and nothing is read for it. The first `batch` axes are shared.

use super::Scatter;
use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::kernel::Index;
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::scalar::{Binary, DType};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, int, same_dim, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Take {
    pub batch: usize,
}

impl OpDef for Take {
    const DOC: Doc = Doc {
        group: Group::Shape,
        signature: "x [batch.., R, rest..], index i32[batch.., I..] -> [batch.., I.., rest..]",
        about: "Gathers rows: y[b, i, ..] = x[b, index[b, i], ..]. An index outside 0 .. R gives zeros.",
        attributes: &[("batch", "number of leading axes that x and index share")],
        example: Some(Example {
            inputs: &[("table", "f32[100, 16]"), ("index", "i32[B, T]")],
            body: "y = take(table, index, batch: 0)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [x, index] = arity::<2>(args)?;
        int("the index", index)?;
        if x.rank() <= self.batch || index.rank() < self.batch {
            return type_error(format!("{} shared axes are too many for {x} and {index}", self.batch));
        }
        for (a, b) in x.shape.iter().zip(&index.shape).take(self.batch) {
            same_dim("shared axes", a, b)?;
        }
        let rest = x.shape[self.batch + 1..].iter().cloned();
        Ok(vec![x.with_shape(
            index.shape.iter().cloned().chain(rest).collect::<Vec<_>>(),
        )])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let n = args[1].shape.len();
        cx.build(|at| {
            let row = args[1].at(&at[..n]);
            if row < 0.0 || row >= args[0].shape[self.batch] as f64 {
                return 0.0;
            }
            let i: Vec<usize> = at[..self.batch]
                .iter()
                .copied()
                .chain([row as usize])
                .chain(at[n..].iter().copied())
                .collect();
            args[0].at(&i)
        })
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let x = g.ty(at.args[0]).clone();
        if !x.dtype.is_float() {
            return vec![None, None];
        }
        let op = Scatter {
            batch: self.batch,
            size: x.shape[self.batch].clone(),
        };
        vec![Some(g.add_op(op, &[at.grad(), at.args[1]])), None]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Element(Box::new(|p, at| {
            let n = p.arg_type(1).rank();
            let row = p.arg(1, &at[..n]);
            let zero = p.constant(DType::I32, 0.0);
            let size = p.arg_type(0).shape[self.batch].clone();
            let size = p.size(&size);
            let (low, high) = (p.binary(Binary::LessEq, zero, row), p.binary(Binary::Less, row, size));
            let inside = p.binary(Binary::And, low, high);
            let mut i = at[..self.batch].to_vec();
            i.push(Index::value(row));
            i.extend_from_slice(&at[n..]);
            p.arg_if(0, &i, inside)
        }))
    }
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Element(1.0)
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let batch = r.int(1, 2) as usize;
        let (mut x, mut index) = (r.shape(batch), vec![]);
        index.extend(x.iter().cloned());
        let rows = r.int(1, 9);
        x.push(rows.into());
        if batch == 1 {
            x.push(r.size());
        }
        index.push(r.size());
        Sample::new(
            Take { batch },
            vec![SampleArg::float(x), SampleArg::int(index, -2, rows + 1)],
        )
    }
}
