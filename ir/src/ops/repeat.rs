//! The same layer several times: compiled once, with per-layer parameters.
//!
//! Operands: carries (values handed from layer to layer), stacked values [count, ..] of which layer l sees slice l, and
//! invariants that every layer sees whole; with `keep`, a last operand f32 [count]: a layer whose element is 0 is
//! skipped, its carries pass through (layerdrop skips a layer, it does not zero a branch). Results: the final carries,
//! then the body's other outputs stacked to [count, ..]; slices of skipped layers are zero, or unspecified where
//! nothing reads them. The size `layer` is the layer's number inside the body.

use super::{Doc, EvalCx, Group, OpDef, Vjp, Work};
use crate::dim::{Dim, Env};
use crate::eval;
use crate::gradient;
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError, type_error};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Repeat {
    pub count: i64,
    pub carries: usize,
    pub stacked: usize,
    pub keep: bool,
    /// Layers run from the last to the first.
    pub reverse: bool,
    /// Inputs: carries, slices of stacked values, invariants. Outputs: carries, then values to stack.
    pub body: Arc<Graph>,
}

impl Repeat {
    pub fn order(&self) -> Vec<usize> {
        let n = self.count as usize;
        if self.reverse {
            (0..n).rev().collect()
        } else {
            (0..n).collect()
        }
    }
    fn stack(&self, ty: &Type) -> Type {
        ty.with_shape(
            std::iter::once(Dim::from(self.count))
                .chain(ty.shape.iter().cloned())
                .collect::<Vec<_>>(),
        )
    }
}

impl OpDef for Repeat {
    const DOC: Doc = Doc {
        group: Group::Structure,
        signature: "carries, stacked values, values shared by all layers, keep f32[count] (optional) -> carries, \
                    stacked results",
        about: "The same layer `count` times, compiled once, with parameters per layer. The language has a statement \
                for it: `y = repeat(count) block(x) as layers.{i}`.",
        attributes: &[
            ("count", "number of layers"),
            ("carries", "values handed from layer to layer"),
            ("stacked", "operands of which layer l reads slice l"),
            ("keep", "the last operand says which layers are skipped"),
            ("reverse", "from the last layer to the first"),
            ("body", "the graph of one layer"),
        ],
        example: None,
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let inputs: Vec<&Type> = self.body.inputs.iter().map(|v| self.body.ty(*v)).collect();
        if self.carries.saturating_add(self.stacked) > inputs.len() {
            let wanted = format!("{} carries and {} stacked values", self.carries, self.stacked);
            return type_error(format!("the body takes {} values, too few for {wanted}", inputs.len()));
        }
        if args.len() != inputs.len() + self.keep as usize {
            return type_error(format!("the body takes {} values, got {}", inputs.len(), args.len()));
        }
        for (i, (want, got)) in inputs.iter().zip(args).enumerate() {
            let stacked = (self.carries..self.carries + self.stacked).contains(&i);
            let want = if stacked { self.stack(want) } else { (*want).clone() };
            if want != *got {
                return type_error(format!("operand {i} must be {want}, got {got}"));
            }
        }
        if self.keep && args[args.len() - 1] != Type::f32([Dim::from(self.count)]) {
            return type_error(format!(
                "keep must be f32 [{}], got {}",
                self.count,
                args[args.len() - 1]
            ));
        }
        let outputs = &self.body.outputs;
        if outputs.len() < self.carries {
            return type_error("the body gives fewer values than it carries");
        }
        let types = outputs.iter().map(|(_, v)| self.body.ty(*v));
        for (i, ty) in types.clone().take(self.carries).enumerate() {
            if ty != inputs[i] {
                return type_error(format!(
                    "carry {i} enters a layer as {} and leaves it as {ty}",
                    inputs[i]
                ));
            }
        }
        Ok(types
            .enumerate()
            .map(|(i, ty)| if i < self.carries { ty.clone() } else { self.stack(ty) })
            .collect())
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let mut results: Vec<Tensor> = (0..cx.types.len())
            .map(|i| Tensor::zeros(cx.types[i].dtype, cx.shape(i)))
            .collect();
        let mut carries: Vec<Tensor> = args[..self.carries].iter().map(|t| (*t).clone()).collect();
        for layer in self.order() {
            if self.keep && args[args.len() - 1].data[layer] == 0.0 {
                continue;
            }
            let bound = |i: usize| match i {
                i if i < self.carries => carries[i].clone(),
                i if i < self.carries + self.stacked => slice_of(args[i], layer),
                i => args[i].clone(),
            };
            let inputs: Vec<Tensor> = (0..self.body.inputs.len()).map(bound).collect();
            let mut env: Env = cx.env.clone();
            env.insert("layer".into(), layer as i64);
            let outputs = eval::evaluate_ordered(&self.body, &env, inputs);
            for (i, out) in outputs.into_iter().enumerate() {
                if i < self.carries {
                    carries[i] = out;
                } else {
                    let n = out.data.len();
                    results[i].data[layer * n..(layer + 1) * n].copy_from_slice(&out.data);
                }
            }
        }
        for (i, c) in carries.into_iter().enumerate() {
            results[i] = c;
        }
        results
    }
    /// A repeat in the other direction over the body's own gradient. What it reads of the forward pass must have been
    /// saved: see `gradient::save_slots`.
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        gradient::repeat_vjp(self, g, at)
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Loop
    }
    const CALLABLE: bool = false;
    fn work(&self, _: &[&Type], results: &[Type]) -> Work {
        Work::untouched(results)
    }
    /// x <- tanh(x * w_l + c), layer l dropped where keep is 0.
    fn sample(r: &mut Rand) -> Sample<Self> {
        let shape = r.shape(2);
        let mut body = Graph::default();
        let x = body.input("x", Type::f32(shape.clone()));
        let w = body.input("w", Type::f32(shape[1..].to_vec()));
        let c = body.input("c", Type::f32(shape.clone()));
        let xw = body.mul(x, w);
        let sum = body.add(xw, c);
        let y = body.unary(crate::scalar::Unary::Tanh, sum);
        body.outputs = vec![("x".into(), y)];
        let count = r.int(1, 4);
        let op = Repeat {
            count,
            carries: 1,
            stacked: 1,
            keep: true,
            reverse: r.flag(),
            body: Arc::new(body),
        };
        let mut stacked = shape[1..].to_vec();
        stacked.insert(0, count.into());
        let mut keep = SampleArg::int(vec![count.into()], 0, 1);
        keep.ty = Type::f32([Dim::from(count)]);
        (keep.low, keep.high) = (0.5, 1.0);
        let args = vec![
            SampleArg::float(shape.clone()),
            SampleArg::float(stacked),
            SampleArg::float(shape),
            keep,
        ];
        Sample::new(op, args)
    }
}

fn slice_of(t: &Tensor, layer: usize) -> Tensor {
    let shape = t.shape[1..].to_vec();
    let n: usize = shape.iter().product();
    Tensor::new(t.dtype, shape, t.data[layer * n..(layer + 1) * n].to_vec())
}
