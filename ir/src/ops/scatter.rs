//! Adds rows into a zero tensor, the transpose of `take`: from [batch.., I.., rest..] and i32 index [batch.., I..]
//! give [batch.., size, rest..]. Indices outside 0..size are skipped; colliding rows are added in order.

use super::Take;
use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::dim::{Dim, numel};
use crate::graph::{Graph, ValueId};
use crate::kernel;
use crate::lower::{Bind, Lie, Lower};
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, float, int, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scatter {
    pub batch: usize,
    pub size: Dim,
}

impl OpDef for Scatter {
    const DOC: Doc = Doc {
        group: Group::Shape,
        signature: "x [batch.., I.., rest..], index i32[batch.., I..] -> [batch.., size, rest..]",
        about: "Adds rows of x into a tensor of zeros at the rows that the index names; the transpose of `take`. \
                Indices outside 0 .. size are skipped; rows of one index are added in order.",
        attributes: &[
            ("batch", "number of leading axes that x and index share"),
            ("size", "number of rows of the result"),
        ],
        example: Some(Example {
            inputs: &[("x", "f32[B, T, 16]"), ("index", "i32[B, T]")],
            body: "y = scatter(x, index, batch: 1, size: 10)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [from, index] = arity::<2>(args)?;
        int("the index", index)?;
        float("the rows", from)?;
        if index.rank() < self.batch || from.rank() < index.rank() || from.shape[..index.rank()] != index.shape[..] {
            return type_error(format!("{from} has no row for every index of {index}"));
        }
        let batch = from.shape[..self.batch].iter().cloned();
        let rest = from.shape[index.rank()..].iter().cloned();
        Ok(vec![from.with_shape(
            batch.chain([self.size.clone()]).chain(rest).collect::<Vec<_>>(),
        )])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let mut out = Tensor::zeros(args[0].dtype, cx.shape(0));
        let n = args[1].shape.len();
        let width: usize = args[0].shape[n..].iter().product();
        let inside = 0.0..out.shape[self.batch] as f64;
        for (i, row) in args[1].data.iter().enumerate().filter(|(_, r)| inside.contains(r)) {
            let per_batch: usize = args[1].shape[self.batch..].iter().product();
            let to = (i / per_batch * out.shape[self.batch] + *row as usize) * width;
            for j in 0..width {
                out.data[to + j] += args[0].data[i * width + j];
            }
        }
        vec![out]
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        vec![
            Some(g.add_op(Take { batch: self.batch }, &[at.grad(), at.args[1]])),
            None,
        ]
    }
    fn lower(&self) -> Lower<'_> {
        let build = |b: &mut dyn Bind| {
            let (from, index) = (b.arg_type(0).shape, b.arg_type(1).shape);
            let body = kernel::Scatter {
                rows: numel(&index[..self.batch]),
                count: numel(&index[self.batch..]),
                into: self.size.clone(),
                width: numel(&from[index.len()..]),
                from: b.read(0),
                index: b.read(1),
                out: b.write(0),
            };
            Ok(body.into())
        };
        Lower::Kernel {
            operands: Lie::Whole,
            build: Box::new(build),
        }
    }
    fn work(&self, _: &[&Type], results: &[Type]) -> Work {
        Work::untouched(results)
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let (batch, count, size) = (r.size(), r.size(), r.int(1, 9));
        let from = SampleArg::float(vec![batch.clone(), count.clone(), r.size()]);
        Sample::new(
            Scatter {
                batch: 1,
                size: size.into(),
            },
            vec![from, SampleArg::int(vec![batch, count], -2, size + 1)],
        )
    }
}
