//! Connectionist temporal classification (Graves et al. 2006), blank = 0.
//!
//! Operands: log-probabilities [B, T, V], lengths i32 [B], labels i32 [B, L]. A length counts as 0 to T, and labels
//! outside 1..V are padding. Results: -log p(labels) [B], and its gradient for the log-probabilities [B, T, V] (minus
//! the posterior of every symbol). Both are 0 where the labels do not fit the frames.

use super::{Doc, EvalCx, Example, Group, Need, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::kernel;
use crate::lower::{Bind, Lie, Lower};
use crate::sample::{Rand, Sample, SampleArg};
use crate::scalar::DType;
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, int, rank, same_dim, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CtcLoss {}

/// log(exp a + exp b)
fn log_add(a: f64, b: f64) -> f64 {
    let (hi, lo) = if a > b { (a, b) } else { (b, a) };
    if lo == f64::NEG_INFINITY {
        hi
    } else {
        hi + (lo - hi).exp().ln_1p()
    }
}

/// Forward (or, on reversed inputs, backward) log-probabilities [T][S] of the labels with blanks between.
fn alpha(log_p: &dyn Fn(usize, usize) -> f64, t: usize, states: &[usize]) -> Vec<Vec<f64>> {
    let mut rows = vec![vec![f64::NEG_INFINITY; states.len()]; t];
    for i in 0..t {
        for (s, symbol) in states.iter().enumerate() {
            let mut total = match i {
                0 if s < 2 => 0.0,
                0 => f64::NEG_INFINITY,
                _ => rows[i - 1][s],
            };
            if i > 0 && s > 0 {
                total = log_add(total, rows[i - 1][s - 1]);
            }
            if i > 0 && s > 1 && *symbol != 0 && *symbol != states[s - 2] {
                total = log_add(total, rows[i - 1][s - 2]);
            }
            rows[i][s] = total + log_p(i, *symbol);
        }
    }
    rows
}

impl OpDef for CtcLoss {
    const DOC: Doc = Doc {
        group: Group::Network,
        signature: "log-probabilities f32[B, T, V], lengths i32[B], labels i32[B, L] -> loss [B], gradient [B, T, V]",
        about: "Connectionist temporal classification (Graves et al. 2006) with blank 0: -log p(labels). Labels \
                outside 1 .. V are padding; a length counts as 0 to T. Loss and gradient are 0 where the labels do \
                not fit the frames. The second result is the gradient for the log-probabilities.",
        attributes: &[],
        example: Some(Example {
            inputs: &[
                ("logits", "f32[B, T, 32]"),
                ("lengths", "i32[B]"),
                ("labels", "i32[B, 40]"),
            ],
            body: "(y, _) = ctc_loss(log_softmax(logits), lengths, labels)",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [log_p, lengths, labels] = arity::<3>(args)?;
        rank("log-probabilities", log_p, 3)?;
        rank("labels", labels, 2)?;
        if log_p.dtype != DType::F32 || log_p.shape[2].is_zero() {
            return type_error(format!(
                "log-probabilities must be f32 [B, T, V] of at least one symbol, got {log_p}"
            ));
        }
        int("labels", labels)?;
        let batch = &log_p.shape[0];
        if *lengths != Type::i32([batch.clone()]) {
            return type_error(format!("lengths must be i32 [{batch}], got {lengths}"));
        }
        same_dim("batch of labels", &labels.shape[0], batch)?;
        Ok(vec![Type::f32([batch.clone()]), log_p.clone()])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let (log_probs, lengths, labels) = (args[0], args[1], args[2]);
        let mut loss = Tensor::zeros(DType::F32, cx.shape(0));
        let mut grad = Tensor::zeros(DType::F32, cx.shape(1));
        let (max_labels, vocab) = (labels.shape[1], log_probs.shape[2] as f64);
        for b in 0..loss.data.len() {
            let t = lengths.data[b].clamp(0.0, log_probs.shape[1] as f64) as usize;
            let row = &labels.data[b * max_labels..(b + 1) * max_labels];
            let mut states = vec![0];
            for l in row.iter().filter(|l| **l >= 1.0 && **l < vocab) {
                states.extend([*l as usize, 0]);
            }
            let reversed: Vec<usize> = states.iter().rev().copied().collect();
            let forward = alpha(&|i, v| log_probs.at(&[b, i, v]), t, &states);
            let backward = alpha(&|i, v| log_probs.at(&[b, t - 1 - i, v]), t, &reversed);
            let n = states.len();
            let Some(last) = forward.last() else { continue };
            let total = if n > 1 {
                log_add(last[n - 1], last[n - 2])
            } else {
                last[0]
            };
            if total == f64::NEG_INFINITY {
                continue;
            }
            loss.data[b] = -total;
            for i in 0..t {
                for (s, v) in states.iter().enumerate() {
                    let both = forward[i][s] + backward[t - 1 - i][n - 1 - s] - log_probs.at(&[b, i, *v]);
                    let at = grad.offset(&[b, i, *v]);
                    grad.data[at] -= (both - total).exp();
                }
            }
        }
        vec![loss, grad]
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let d = at.grads[0].map(|d| {
            let batch = g.shape(d)[0].clone();
            let d = g.reshape(d, vec![batch, 1.into(), 1.into()]);
            g.mul(d, at.results[1])
        });
        vec![d, None, None]
    }
    fn lower(&self) -> Lower<'_> {
        let build = |b: &mut dyn Bind| {
            let shape = b.arg_type(0).shape;
            let [batch, time, vocab] = &shape[..] else {
                unreachable!("infer checked the rank")
            };
            let body = kernel::Ctc {
                batch: batch.clone(),
                time: time.clone(),
                vocab: vocab.clone(),
                labels: b.arg_type(2).shape[1].clone(),
                log_probs: b.read(0),
                lengths: b.read(1),
                label_ids: b.read(2),
                loss: b.write(0),
                grad: b.write(1),
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
    fn requires(&self, _: &[&Type], results: &[Type]) -> Vec<Need> {
        vec![Need {
            value: results[1].shape[2].clone(),
            least: 1,
            what: "the vocabulary",
        }]
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let (b, t, v, l) = (r.int(1, 3), r.int(4, 12), r.int(2, 6), r.int(1, 4));
        let args = vec![
            SampleArg::between(vec![b.into(), t.into(), v.into()], -3.0, 0.0),
            SampleArg::int(vec![b.into()], 1, t + 1),
            SampleArg::int(vec![b.into(), l.into()], -1, v),
        ];
        Sample::new(CtcLoss {}, args)
    }
}
