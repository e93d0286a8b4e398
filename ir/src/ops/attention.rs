//! softmax(scale * q k^T, keys below the length) v without a time x time tensor (Vaswani et al. 2017; tiling as Dao
//! 2022).
//!
//! Operands: q, k, v [B, T, H, d] each (or one [B, T, 3, H, d] if `packed`), lengths i32 [B], then with dropout its
//! rate f32 [1] and seed i32 [2]. Results: out [B, T, H, d] and the log-sum-exp of every row [B, H, T].

use super::{AttentionGrad, Uniform};
use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::dim::Dim;
use crate::graph::{Graph, ValueId};
use crate::kernel::{self, HeadView, Slot};
use crate::lower::{Bind, Lie, Lower, NotInMemory};
use crate::sample::{Rand, Sample, SampleArg};
use crate::scalar::{DType, Float};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{rank, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attention {
    pub scale: Float,
    pub packed: bool,
    /// The site of dropout on the probabilities, if there is any.
    pub dropout: Option<u32>,
}

impl Attention {
    /// Number of tensor operands before `lengths`.
    pub fn heads_operands(&self) -> usize {
        if self.packed { 1 } else { 3 }
    }
    pub fn operands(&self) -> usize {
        self.heads_operands() + 1 + if self.dropout.is_some() { 2 } else { 0 }
    }
    /// The type [B, T, H, d] of q.
    pub fn heads_type(&self, first: &Type) -> Type {
        let mut shape = first.shape.clone();
        if self.packed {
            shape.remove(2);
        }
        first.with_shape(shape)
    }
    pub fn check(&self, args: &[Type]) -> Result<Type, TypeError> {
        if args.len() != self.operands() {
            return type_error(format!("takes {} operands, got {}", self.operands(), args.len()));
        }
        let n = self.heads_operands();
        rank("q", &args[0], if self.packed { 5 } else { 4 })?;
        if self.packed && args[0].shape[2].as_const() != Some(3) {
            return type_error(format!("packed q, k, v must be [B, T, 3, H, d], got {}", args[0]));
        }
        if args[..n].iter().any(|a| *a != args[0]) {
            return type_error("q, k and v must have one type".to_string());
        }
        if args[n] != Type::i32([args[0].shape[0].clone()]) {
            return type_error(format!("lengths must be i32 [{}], got {}", args[0].shape[0], args[n]));
        }
        let heads = self.heads_type(&args[0]);
        if heads.shape[2..].iter().any(|d| d.as_const().is_none()) {
            return type_error(format!("heads and their width must be constants, got {heads}"));
        }
        Ok(heads)
    }
    /// The forward kernel, whose result and log-sum-exp lie where `results` says.
    pub fn kernel(
        &self,
        b: &mut dyn Bind,
        results: impl FnOnce(&mut dyn Bind) -> Result<(HeadView, Slot), NotInMemory>,
    ) -> Result<kernel::Attention, NotInMemory> {
        let mut heads = |i: usize| {
            Ok(if self.packed {
                HeadView::new(b.read_rows(0)?, Some(i as i64))
            } else {
                HeadView::new(b.read_rows(i)?, None)
            })
        };
        let (q, k, v) = (heads(0)?, heads(1)?, heads(2)?);
        let shape = self.heads_type(&b.arg_type(0)).shape;
        let [batch, time, heads, head_dim] = &shape[..] else {
            unreachable!("infer checked the rank")
        };
        let constant = |d: &Dim| d.as_const().expect("infer checked heads and width");
        let n = self.heads_operands();
        let lengths = b.read(n);
        let dropout = self.dropout.map(|site| kernel::AttentionDropout {
            rate: b.read(n + 1),
            seed: b.read(n + 2),
            site,
        });
        let (out, lse) = results(b)?;
        Ok(kernel::Attention {
            batch: batch.clone(),
            time: time.clone(),
            heads: constant(heads),
            head_dim: constant(head_dim),
            scale: self.scale.bits(),
            q,
            k,
            v,
            lengths,
            dropout,
            out,
            lse,
        })
    }
    /// q, k or v (0, 1, 2) of the evaluator's operands.
    pub fn part(&self, args: &[&Tensor], which: usize) -> Tensor {
        if !self.packed {
            return args[which].clone();
        }
        let mut shape = args[0].shape.clone();
        shape.remove(2);
        Tensor::build(args[0].dtype, shape, |at| {
            args[0].at(&[at[0], at[1], which, at[2], at[3]])
        })
    }
    /// What dropout multiplies each probability with, [B, H, T, T].
    pub fn dropout_mask(&self, cx: &EvalCx, args: &[&Tensor], heads: &[usize]) -> Tensor {
        let [b, t, h, _] = heads[..] else {
            unreachable!("rank is checked")
        };
        let shape = vec![b, h, t, t];
        let Some(site) = self.dropout else {
            return Tensor::build(DType::F32, shape, |_| 1.0);
        };
        let n = self.heads_operands();
        let rate = args[n + 1].data[0];
        let dims = shape.iter().map(|d| Dim::from(*d as i64)).collect();
        let ty = [Type::f32(Vec::clone(&dims))];
        let u = Uniform { site, shape: dims }.eval(
            &EvalCx {
                types: &ty,
                env: cx.env,
            },
            &[args[n + 2]],
        );
        Tensor::build(DType::F32, shape, |at| {
            if u[0].at(at) < rate { 0.0 } else { 1.0 / (1.0 - rate) }
        })
    }
    /// Probabilities [B, H, T, T] before dropout and the log-sum-exp [B, H, T].
    pub fn probabilities(&self, args: &[&Tensor]) -> (Tensor, Tensor) {
        let (q, k) = (self.part(args, 0), self.part(args, 1));
        let [b, t, h, d] = q.shape[..] else {
            unreachable!("rank is checked")
        };
        let lengths = args[self.heads_operands()];
        let mut p = Tensor::zeros(DType::F32, vec![b, h, t, t]);
        let mut lse = Tensor::zeros(DType::F32, vec![b, h, t]);
        for i in 0..b * h * t {
            let (bi, hi, ti) = (i / (h * t), i / t % h, i % t);
            let n = lengths.data[bi] as usize;
            let score = |s: usize| {
                (0..d)
                    .map(|c| q.at(&[bi, ti, hi, c]) * k.at(&[bi, s, hi, c]))
                    .sum::<f64>()
                    * self.scale.get()
            };
            let scores: Vec<f64> = (0..n).map(score).collect();
            let max = scores.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
            let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
            lse.data[i] = max + sum.ln();
            for (s, score) in scores.iter().enumerate() {
                p.data[i * t + s] = (score - lse.data[i]).exp();
            }
        }
        (p, lse)
    }
    pub fn sample_args(&self, r: &mut Rand) -> Vec<SampleArg> {
        let (b, t) = (r.int(1, 3), r.int(1, 20));
        let (heads, width) = (r.int(1, 3), *r.pick(&[4i64, 8, 16]));
        let mut shape: Vec<Dim> = vec![b.into(), t.into(), heads.into(), width.into()];
        if self.packed {
            shape.insert(2, 3.into());
        }
        let mut args = vec![SampleArg::float(shape); self.heads_operands()];
        args.push(SampleArg::int(vec![b.into()], 1, t));
        if self.dropout.is_some() {
            args.push(SampleArg::between(vec![Dim::from(1)], 0.1, 0.5));
            args.push(SampleArg::int(vec![Dim::from(2)], -99, 99));
        }
        args
    }
    pub fn sample_op(r: &mut Rand) -> Attention {
        Attention {
            scale: 0.4.into(),
            packed: r.flag(),
            dropout: r.flag().then_some(3),
        }
    }
}

impl OpDef for Attention {
    const DOC: Doc = Doc {
        group: Group::Network,
        signature: "q, k, v [B, T, H, d], lengths i32[B] -> out [B, T, H, d], log-sum-exp [B, H, T]",
        about: "out = softmax(scale q k^T) v per head, over the keys before `lengths`, without a tensor of T x T \
                scores in memory (Vaswani et al. 2017; tiled as Dao et al. 2022). Heads and their width must be \
                constants. The compiler also finds this pattern in networks written with `einsum` and `softmax`.",
        attributes: &[
            ("scale", "factor of the scores"),
            ("packed", "`true`: one operand [B, T, 3, H, d] in place of q, k and v"),
            (
                "dropout",
                "left out by authors: the compiler sets it where it finds dropout on the probabilities",
            ),
        ],
        example: Some(Example {
            inputs: &[
                ("q", "f32[B, T, 4, 16]"),
                ("k", "f32[B, T, 4, 16]"),
                ("v", "f32[B, T, 4, 16]"),
                ("lengths", "i32[B]"),
            ],
            body: "(y, _) = attention(q, k, v, lengths, scale: 0.25, packed: false)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let heads = self.check(args)?;
        let [b, t, h, _] = &heads.shape[..] else {
            unreachable!("rank is checked")
        };
        let lse = Type::f32([b.clone(), h.clone(), t.clone()]);
        Ok(vec![heads, lse])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let v = self.part(args, 2);
        let (p, lse) = self.probabilities(args);
        let mask = self.dropout_mask(cx, args, &v.shape);
        let t = v.shape[1];
        let out = Tensor::build(DType::F32, v.shape.clone(), |at| {
            let [b, i, h, c] = at[..] else {
                unreachable!("rank is checked")
            };
            (0..t)
                .map(|j| p.at(&[b, h, i, j]) * mask.at(&[b, h, i, j]) * v.at(&[b, j, h, c]))
                .sum()
        });
        vec![out, lse]
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let mut all = vec![None; at.args.len()];
        if let Some(d) = at.grads[0] {
            let args: Vec<ValueId> = at.args.iter().chain(at.results).copied().chain([d]).collect();
            let node = g.add_op(AttentionGrad { forward: self.clone() }, &args);
            for (slot, v) in all.iter_mut().zip(g.results(node)) {
                *slot = Some(v);
            }
        }
        all
    }
    fn lower(&self) -> Lower<'_> {
        let build = |b: &mut dyn Bind| {
            let body = self.kernel(b, |b| Ok((HeadView::new(b.write_rows(0), None), b.write(1))))?;
            Ok(body.into())
        };
        Lower::Kernel {
            operands: Lie::Rows,
            build: Box::new(build),
        }
    }
    fn work(&self, args: &[&Type], _: &[Type]) -> Work {
        let shape = self.heads_type(args[0]).shape;
        let [b, t, h, d] = &shape[..] else {
            unreachable!("infer checked the rank")
        };
        let scores = b.clone() * h.clone() * t.clone() * t.clone();
        Work::Kernel {
            operations: scores * (Dim::from(4) * d.clone() + Dim::from(16)),
        }
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let op = Attention::sample_op(r);
        let args = op.sample_args(r);
        Sample::new(op, args)
    }
}
