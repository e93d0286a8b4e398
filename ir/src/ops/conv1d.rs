//! A 1-D convolution in [batch, time, channel] layout.
//!
//! x [B, N, C], weight [O, C/groups, K] (or [B, O, C/groups, K]: one filter bank per batch entry), result [B, T, O]
//! with T = floor((N + 2 padding - K) / stride) + 1. It becomes a matrix product whose rows overlap: row t starts at t
//! * stride * C and is K * C wide.

use super::{Conv1dInputGrad, Unfold};
use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::dim::Dim;
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, float, rank, same_dim, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Conv1d {
    pub stride: i64,
    #[serde(default)]
    pub padding: i64,
    #[serde(default = "one")]
    pub groups: i64,
}

fn one() -> i64 {
    1
}

impl OpDef for Conv1d {
    const DOC: Doc = Doc {
        group: Group::Matrix,
        signature: "x [B, N, C], weight [O, C/groups, K] -> [B, T, O], T = (N + 2 padding - K) / stride + 1",
        about: "Convolution over time in [batch, time, channel] layout: y[b, t, o] = sum over c, k of x[b, t * \
                stride + k - padding, c] weight[o, c, k]. A weight [B, O, C/groups, K] has one filter bank per batch \
                entry.",
        attributes: &[
            ("stride", "from 1"),
            ("padding", "zeros on both sides; default 0"),
            ("groups", "groups of channels; default 1"),
        ],
        example: Some(Example {
            inputs: &[("x", "f32[B, N, 16]"), ("weight", "f32[32, 16, 3]")],
            body: "y = conv1d(x, weight, stride: 2)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [x, w] = arity::<2>(args)?;
        float("the input", x)?;
        rank("the input", x, 3)?;
        if w.rank() != 3 && w.rank() != 4 {
            return type_error(format!("the weight must be [O, C/groups, K], got {w}"));
        }
        if self.stride < 1 || self.groups < 1 || self.padding < 0 {
            return type_error("stride and groups must be positive, padding not negative");
        }
        let [o, c, k] = &w.shape[w.rank() - 3..] else {
            unreachable!("the rank is 3 or 4")
        };
        if w.rank() == 4 {
            same_dim("batch of input and weight", &x.shape[0], &w.shape[0])?;
        }
        same_dim(
            "channels of input and weight",
            &x.shape[2],
            &(c.clone() * Dim::from(self.groups)),
        )?;
        if o.exact_div(&self.groups.into()).is_none() {
            return type_error(format!("{o} output channels do not split into {} groups", self.groups));
        }
        let Some(k) = k.as_const() else {
            return type_error("the kernel width must be a constant");
        };
        let t = (x.shape[1].clone() + Dim::from(2 * self.padding - k)).floor_div(self.stride) + Dim::from(1);
        Ok(vec![x.with_shape([x.shape[0].clone(), t, o.clone()])])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let (x, w) = (args[0], args[1]);
        let per_batch = w.shape.len() == 4;
        let [o_all, c_in, k_size] = w.shape[w.shape.len() - 3..] else {
            unreachable!("infer checked the rank")
        };
        let per_group = o_all / self.groups as usize;
        cx.build(|at| {
            let (b, t, o) = (at[0], at[1], at[2]);
            let group = o / per_group;
            let mut sum = 0.0;
            for k in 0..k_size {
                let n = (t * self.stride as usize + k) as i64 - self.padding;
                if n < 0 || n >= x.shape[1] as i64 {
                    continue;
                }
                for c in 0..c_in {
                    let weight = if per_batch {
                        w.at(&[b, o, c, k])
                    } else {
                        w.at(&[o, c, k])
                    };
                    sum += x.at(&[b, n as usize, group * c_in + c]) * weight;
                }
            }
            sum
        })
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let (x, w) = (at.args[0], at.args[1]);
        let length = g.shape(x)[1].clone();
        let op = Conv1dInputGrad {
            stride: self.stride,
            padding: self.padding,
            groups: self.groups,
            length,
        };
        let dx = g.add_op(op, &[at.grad(), w]);
        vec![Some(dx), Some(self.weight_grad(g, x, w, at.grad()))]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Decompose(Box::new(|g, args| vec![self.as_product(g, args[0], args[1])]))
    }
    fn work(&self, args: &[&Type], results: &[Type]) -> Work {
        let [.., c, k] = &args[1].shape[..] else {
            unreachable!("infer checked the rank")
        };
        Work::products(&results[0], c.clone() * k.clone())
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let (groups, c, o, k) = (r.int(1, 3), r.int(1, 4), r.int(1, 4), r.int(1, 5));
        let op = Conv1d {
            stride: r.int(1, 3),
            padding: r.int(0, 2),
            groups,
        };
        let (batch, n) = (r.int(1, 3), k + r.int(0, 12));
        let x = vec![batch.into(), n.into(), (c * groups).into()];
        let mut w: Vec<Dim> = vec![(o * groups).into(), c.into(), k.into()];
        if r.flag() {
            w.insert(0, batch.into());
        }
        Sample::new(op, vec![SampleArg::float(x), SampleArg::float(w)])
    }
}

impl Conv1d {
    /// Windows [B, G, T, K*C/G] of the padded input, a view whose rows overlap.
    fn windows(&self, g: &mut Graph, x: ValueId, k: i64) -> ValueId {
        let padded = g.pad(x, 1, self.padding.into(), self.padding.into());
        let [b, n, c] = g.shape(padded).to_vec().try_into().expect("infer checked the rank");
        let width = c.exact_div(&self.groups.into()).expect("infer checked the groups");
        let width = width.as_const().expect("channel counts are constants");
        let rows = if self.groups == 1 {
            g.reshape(padded, vec![b, 1.into(), n * c])
        } else {
            let split = g.reshape(padded, vec![b.clone(), n.clone(), self.groups.into(), width.into()]);
            let grouped = g.transpose(split, &[0, 2, 1, 3]);
            g.reshape(grouped, vec![b, self.groups.into(), n * Dim::from(width)])
        };
        g.add_op(
            Unfold {
                size: k * width,
                step: self.stride * width,
            },
            &[rows],
        )
    }

    fn as_product(&self, g: &mut Graph, x: ValueId, w: ValueId) -> ValueId {
        let ws = g.shape(w).to_vec();
        let lead = ws.len() - 3;
        let (o, c, k) = (ws[lead].clone(), ws[lead + 1].clone(), ws[lead + 2].clone());
        let windows = self.windows(g, x, k.as_const().expect("infer checked the kernel"));
        let per_group = o.exact_div(&self.groups.into()).expect("infer checked the groups");
        let mut shape = ws[..lead].to_vec();
        shape.extend([self.groups.into(), per_group, c.clone(), k.clone()]);
        let grouped = g.reshape(w, shape);
        // [.., G, K, C, O/G]: taps as the rows of a matrix, in the order in which they lie in a window.
        let perm: Vec<usize> = (0..lead).chain([0, 3, 2, 1].map(|i| lead + i)).collect();
        let taps = g.transpose(grouped, &perm);
        let mut flat = g.shape(taps).to_vec();
        flat.splice(lead + 1..lead + 3, [k * c]);
        let taps = g.reshape(taps, flat);
        let spec = if lead == 1 { "bgtj,bgjo->btgo" } else { "bgtj,gjo->btgo" };
        let y = g.einsum(spec, windows, taps);
        let (b, t) = (g.shape(y)[0].clone(), g.shape(y)[1].clone());
        g.reshape(y, vec![b, t, o])
    }

    fn weight_grad(&self, g: &mut Graph, x: ValueId, w: ValueId, d: ValueId) -> ValueId {
        let ws = g.shape(w).to_vec();
        let lead = ws.len() - 3;
        let (o, c, k) = (ws[lead].clone(), ws[lead + 1].clone(), ws[lead + 2].clone());
        let windows = self.windows(g, x, k.as_const().expect("infer checked the kernel"));
        let per_group = o.exact_div(&self.groups.into()).expect("infer checked the groups");
        let ds = g.shape(d).to_vec();
        let d = g.reshape(
            d,
            vec![ds[0].clone(), ds[1].clone(), self.groups.into(), per_group.clone()],
        );
        let spec = if lead == 1 { "bgtj,btgo->bgjo" } else { "bgtj,btgo->gjo" };
        let taps = g.einsum(spec, windows, d);
        let mut split = ws[..lead].to_vec();
        split.extend([self.groups.into(), k, c, per_group]);
        let taps = g.reshape(taps, split);
        let perm: Vec<usize> = (0..lead).chain([0, 3, 2, 1].map(|i| lead + i)).collect();
        let grouped = g.transpose(taps, &perm);
        g.reshape(grouped, ws)
    }
}
