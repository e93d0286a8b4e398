//! The gradient of `conv1d` for its input of `length` positions: d [B, T, O] and the weight give [B, length, C].
//!
//! With stride s every input position n + padding = s u + p belongs to a phase p, which only taps k = p, p + s, ...
//! reach. So each phase is one matrix multiplication of overlapping rows of d, padded once, with those taps, and
//! nothing is scattered.

use super::{Concat, Conv1d, Unfold};
use super::{Doc, EvalCx, Group, OpDef, Vjp, Work};
use crate::dim::Dim;
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, rank, same_dim};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Conv1dInputGrad {
    pub stride: i64,
    pub padding: i64,
    pub groups: i64,
    pub length: Dim,
}

impl OpDef for Conv1dInputGrad {
    const DOC: Doc = Doc {
        group: Group::Gradient,
        signature: "d [B, T, O], weight [O, C/groups, K] -> [B, length, C]",
        about: "Gradient of `conv1d` for its input. The compiler makes it when it differentiates.",
        attributes: &[
            ("stride", "that of the convolution"),
            ("padding", "that of the convolution"),
            ("groups", "that of the convolution"),
            ("length", "positions of the input"),
        ],
        example: None,
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [d, w] = arity::<2>(args)?;
        rank("the output gradient", d, 3)?;
        let lead = w.rank() - 3;
        same_dim("channels of gradient and weight", &d.shape[2], &w.shape[lead])?;
        let c = w.shape[lead + 1].clone() * Dim::from(self.groups);
        Ok(vec![d.with_shape([d.shape[0].clone(), self.length.clone(), c])])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let (d, w) = (args[0], args[1]);
        let per_batch = w.shape.len() == 4;
        let [o_all, c_in, k_size] = w.shape[w.shape.len() - 3..] else {
            unreachable!("infer checked the rank")
        };
        let per_group = o_all / self.groups as usize;
        let mut out = Tensor::zeros(d.dtype, cx.shape(0));
        for b in 0..d.shape[0] {
            for t in 0..d.shape[1] {
                for k in 0..k_size {
                    let n = t as i64 * self.stride + k as i64 - self.padding;
                    if n < 0 || n >= out.shape[1] as i64 {
                        continue;
                    }
                    for o in 0..o_all {
                        for c in 0..c_in {
                            let weight = if per_batch {
                                w.at(&[b, o, c, k])
                            } else {
                                w.at(&[o, c, k])
                            };
                            let to = out.offset(&[b, n as usize, o / per_group * c_in + c]);
                            out.data[to] += d.at(&[b, t, o]) * weight;
                        }
                    }
                }
            }
        }
        vec![out]
    }
    /// Linear in both operands: the gradient for d is the convolution itself, the one for the weight its weight gradient.
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let conv = Conv1d {
            stride: self.stride,
            padding: self.padding,
            groups: self.groups,
        };
        let w = at.args[1];
        let dd = g.add_op(conv.clone(), &[at.grad(), w]);
        let grads = conv.vjp(
            g,
            &Vjp {
                args: &[at.grad(), w],
                results: &[dd],
                grads: &[Some(at.args[0])],
            },
        );
        vec![Some(dd), grads[1]]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Decompose(Box::new(|g, args| vec![self.as_products(g, args[0], args[1])]))
    }
    fn work(&self, _: &[&Type], results: &[Type]) -> Work {
        Work::untouched(results)
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let (groups, c, o, k, stride, padding) = (
            r.int(1, 2),
            r.int(1, 3),
            r.int(1, 3),
            r.int(1, 5),
            r.int(1, 3),
            r.int(0, 2),
        );
        let n = k + r.int(0, 12);
        let t = (n + 2 * padding - k).div_euclid(stride) + 1;
        let batch = r.int(1, 2);
        let mut w: Vec<Dim> = vec![(o * groups).into(), c.into(), k.into()];
        if r.flag() {
            w.insert(0, batch.into());
        }
        let d = vec![batch.into(), t.into(), (o * groups).into()];
        let op = Conv1dInputGrad {
            stride,
            padding,
            groups,
            length: n.into(),
        };
        Sample::new(op, vec![SampleArg::float(d), SampleArg::float(w)])
    }
}

impl Conv1dInputGrad {
    fn as_products(&self, g: &mut Graph, d: ValueId, w: ValueId) -> ValueId {
        let ws = g.shape(w).to_vec();
        let lead = ws.len() - 3;
        let (o, c) = (ws[lead].clone(), ws[lead + 1].clone());
        let k = ws[lead + 2].as_const().expect("infer checked the kernel");
        let (s, groups) = (self.stride, Dim::from(self.groups));
        let per_group = o
            .exact_div(&groups)
            .expect("infer checked the groups")
            .as_const()
            .expect("channel counts are constants");
        let ds = g.shape(d).to_vec();
        let (b, t) = (ds[0].clone(), ds[1].clone());
        let mut split = ws[..lead].to_vec();
        split.extend([groups.clone(), per_group.into(), c.clone(), k.into()]);
        let taps = g.reshape(w, split);
        let d = g.reshape(d, vec![b.clone(), t.clone(), groups.clone(), per_group.into()]);
        let d = g.transpose(d, &[0, 2, 1, 3]);
        // Positions of the padded input, in steps of the stride.
        let padded = self.length.clone() + Dim::from(2 * self.padding);
        let steps = (padded + Dim::from(s - 1)).floor_div(s);
        // Output u is reached from d rows u - j through tap p + s j. All phases read the same padded rows.
        let before = self.taps_of(0, k) - 1;
        let rows = g.pad(d, 2, before.into(), steps.clone() - t);
        let all = (steps.clone() + Dim::from(before)) * Dim::from(per_group);
        let rows = g.reshape(rows, vec![b.clone(), groups.clone(), all]);
        let phases: Vec<ValueId> = (0..s).map(|p| self.phase(g, rows, taps, p, k, &steps)).collect();
        let joined = match phases.as_slice() {
            [one] => *one,
            many => g.add_op(Concat { axis: 2 }, many),
        };
        let all = g.reshape(joined, vec![b, steps * Dim::from(s), groups * c]);
        g.slice(all, 1, self.padding.into(), self.length.clone())
    }

    /// How many of k taps reach phase p; none reaches more than the first.
    fn taps_of(&self, p: i64, k: i64) -> i64 {
        (k - p + self.stride - 1).div_euclid(self.stride).max(0)
    }

    /// [B, steps, 1, G, C]: the gradient of input positions s u + p, from padded rows of d, [B, G, rows * O/G].
    fn phase(&self, g: &mut Graph, rows: ValueId, taps: ValueId, p: i64, k: i64, steps: &Dim) -> ValueId {
        let (s, lead) = (self.stride, g.shape(taps).len() - 4);
        let (b, groups) = (g.shape(rows)[0].clone(), g.shape(rows)[1].clone());
        let (o, c) = (
            g.shape(taps)[lead + 1].as_const().expect("channels are constant"),
            g.shape(taps)[lead + 2].clone(),
        );
        let out = vec![b, steps.clone(), 1.into(), groups, c.clone()];
        let count = self.taps_of(p, k);
        if count == 0 {
            let zero = g.constant_like(rows, 0.0);
            return g.broadcast_to(zero, out);
        }
        // Rows u - (count-1) ..= u, taps in falling order.
        let skipped = (self.taps_of(0, k) - count) * o;
        let own = (steps.clone() + Dim::from(count - 1)) * Dim::from(o);
        let own = if skipped == 0 {
            rows
        } else {
            g.slice(rows, 2, skipped.into(), own)
        };
        let windows = g.add_op(
            Unfold {
                size: count * o,
                step: o,
            },
            &[own],
        );
        let chosen = if s == 1 {
            g.flip(taps, lead + 3)
        } else {
            let parts: Vec<ValueId> = (0..count)
                .rev()
                .map(|j| g.slice(taps, lead + 3, (p + s * j).into(), 1.into()))
                .collect();
            match parts.as_slice() {
                [one] => *one,
                many => g.add_op(Concat { axis: lead + 3 }, many),
            }
        };
        // [.., G, count, O/G, C]
        let perm: Vec<usize> = (0..lead).chain([0, 3, 1, 2].map(|i| lead + i)).collect();
        let matrix = g.transpose(chosen, &perm);
        let mut flat = g.shape(matrix).to_vec();
        flat.splice(lead + 1..lead + 3, [(count * o).into()]);
        let matrix = g.reshape(matrix, flat);
        let spec = if lead == 1 { "bguj,bgjc->bugc" } else { "bguj,gjc->bugc" };
        let y = g.einsum(spec, windows, matrix);
        g.reshape(y, out)
    }
}
