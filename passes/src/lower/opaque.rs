//! Ops that become one kernel each.

use super::kernel::KernelBuilder;
use super::region::Region;
use super::{Builder, LowerError};
use crate::fuse::{root, strided};
use ir::artifact::Step;
use ir::dim::{Dim, numel};
use ir::graph::ValueId;
use ir::kernel::{self, Access, Body, HeadView};
use ir::ops::{self, Op};

pub fn emit(region: &Region, b: &mut Builder, v: ValueId) -> Result<Step, LowerError> {
    match &region.g.node(v).op {
        Op::Attention(op) => {
            let mut k = KernelBuilder::new(region, None);
            let body = attention(&mut k, op, &region.g.node(v).args, Some(v))?;
            Ok(k.launch(b, "attention", |_| Body::Attention(body)))
        }
        Op::AttentionGrad(op) => attention_grad(region, b, v, op),
        Op::Scatter(op) => Ok(scatter(region, b, v, op)),
        Op::CtcLoss(_) => Ok(ctc(region, b, v)),
        op => Err(LowerError::Unsupported {
            op: op.name().into(),
            types: format!("{:?}", region.g.node(v).types),
            why: "has no kernel".into(),
        }),
    }
}

/// The slot of result `i` of a node.
fn result(k: &mut KernelBuilder, v: ValueId, i: usize) -> kernel::Slot {
    let place = k.region.result_place(v, i).clone();
    k.slot(&place, k.region.g.node(v).types[i].dtype, Access::Write)
}

/// A [B, T, H, d] view, `part` of a packed one or the whole.
fn heads(k: &mut KernelBuilder, v: ValueId, part: Option<i64>) -> Result<HeadView, LowerError> {
    let region = k.region;
    let g = region.g;
    let in_memory: Vec<bool> = (0..g.nodes.len())
        .map(|i| region.places.contains_key(&ValueId(i)))
        .collect();
    let view = strided(g, &in_memory, v)
        .filter(|s| s.strides.last().is_some_and(Dim::is_one))
        .ok_or_else(|| LowerError::Unsupported {
            op: "attention".into(),
            types: g.ty(v).to_string(),
            why: "an operand is not in memory".into(),
        })?;
    let s = &view.strides;
    let (base, head) = match part {
        Some(p) => (view.base.clone() + s[2].clone() * Dim::from(p), s[3].clone()),
        None => (view.base.clone(), s[2].clone()),
    };
    Ok(HeadView {
        slot: k.read(view.of),
        base,
        batch: s[0].clone(),
        time: s[1].clone(),
        head,
    })
}

/// A result [B, T, H, d] (or one part of a packed one).
fn heads_result(k: &mut KernelBuilder, v: ValueId, i: usize, part: Option<i64>) -> HeadView {
    let slot = result(k, v, i);
    let strides = k.region.g.node(v).types[i].strides();
    let (base, head) = match part {
        Some(p) => (strides[2].clone() * Dim::from(p), strides[3].clone()),
        None => (Dim::from(0), strides[2].clone()),
    };
    HeadView {
        slot,
        base,
        batch: strides[0].clone(),
        time: strides[1].clone(),
        head,
    }
}

/// The forward kernel's description. `at` is the node whose results it writes; without one, `out` and the log-sum-exp are
/// the operands after its own.
fn attention(
    k: &mut KernelBuilder,
    op: &ops::Attention,
    args: &[ValueId],
    at: Option<ValueId>,
) -> Result<kernel::Attention, LowerError> {
    let g = k.region.g;
    let part = |i: usize| {
        if op.packed {
            (args[0], Some(i as i64))
        } else {
            (args[i], None)
        }
    };
    let mut view = |i: usize| {
        let (v, p) = part(i);
        heads(k, v, p)
    };
    let (q, key, value) = (view(0)?, view(1)?, view(2)?);
    let n = op.heads_operands();
    let shape = op.heads_type(g.ty(args[0])).shape;
    let constant = |d: &Dim| d.as_const().expect("infer checked heads and width");
    let lengths = k.read(args[n]);
    let dropout = op.dropout.map(|site| kernel::AttentionDropout {
        rate: k.read(args[n + 1]),
        seed: k.read(args[n + 2]),
        site,
    });
    let (out, lse) = match at {
        Some(node) => (heads_result(k, node, 0, None), result(k, node, 1)),
        None => (heads(k, args[op.operands()], None)?, k.read(args[op.operands() + 1])),
    };
    Ok(kernel::Attention {
        batch: shape[0].clone(),
        time: shape[1].clone(),
        heads: constant(&shape[2]),
        head_dim: constant(&shape[3]),
        scale: op.scale.bits(),
        q,
        k: key,
        v: value,
        lengths,
        dropout,
        out,
        lse,
    })
}

fn attention_grad(region: &Region, b: &mut Builder, v: ValueId, op: &ops::AttentionGrad) -> Result<Step, LowerError> {
    let args = region.g.node(v).args.clone();
    let mut k = KernelBuilder::new(region, None);
    let forward = attention(&mut k, &op.forward, &args, None)?;
    let d_out = heads(&mut k, args[op.forward.operands() + 2], None)?;
    let mut part = |i: usize| match op.forward.packed {
        true => heads_result(&mut k, v, 0, Some(i as i64)),
        false => heads_result(&mut k, v, i, None),
    };
    let (dq, dk, dv) = (part(0), part(1), part(2));
    Ok(k.launch(b, "attention_grad", |_| {
        Body::AttentionGrad(Box::new(kernel::AttentionGrad {
            forward,
            d_out,
            dq,
            dk,
            dv,
        }))
    }))
}

fn scatter(region: &Region, b: &mut Builder, v: ValueId, op: &ops::Scatter) -> Step {
    let g = region.g;
    let (from, index) = (g.node(v).args[0], g.node(v).args[1]);
    let shape = g.shape(index).to_vec();
    let mut k = KernelBuilder::new(region, None);
    let body = kernel::Scatter {
        rows: numel(&shape[..op.batch]),
        count: numel(&shape[op.batch..]),
        into: op.size.clone(),
        width: numel(&g.shape(from)[shape.len()..]),
        from: k.read(root(g, from)),
        index: k.read(root(g, index)),
        out: k.write(v),
    };
    k.launch(b, "scatter", |_| Body::Scatter(body))
}

fn ctc(region: &Region, b: &mut Builder, v: ValueId) -> Step {
    let g = region.g;
    let args = g.node(v).args.clone();
    let shape = g.shape(args[0]).to_vec();
    let mut k = KernelBuilder::new(region, None);
    let read = [0, 1, 2].map(|i| k.read(root(g, args[i])));
    let body = kernel::Ctc {
        batch: shape[0].clone(),
        time: shape[1].clone(),
        vocab: shape[2].clone(),
        labels: g.shape(args[2])[1].clone(),
        log_probs: read[0],
        lengths: read[1],
        label_ids: read[2],
        loss: result(&mut k, v, 0),
        grad: result(&mut k, v, 1),
    };
    k.launch(b, "ctc", |_| Body::Ctc(body))
}
