//! Attention, forward and backward, without time x time values in memory (Dao 2023, FlashAttention-2).
//!
//! A block computes some rows of a result for one head. It walks over tiles of the other operands in shared memory: scores,
//! then weights, live in registers for one tile only. Forward, the softmax is carried on from tile to tile by the largest
//! score so far; backward, weights are computed again from the log-sum-exp. Nothing is added up across blocks, so results
//! do not depend on the order in which blocks run.
//!
//! Heads in bf16 of up to 128 elements go to tensor cores ([`mma`]), all others through f32 ([`fma`]).

mod backward;
mod engine;
mod fma;
mod forward;
mod mma;
mod setting;
mod tile;

use crate::Error;
use crate::function::{Finished, Function, Unit};
use crate::module::Emitted;
use engine::Shape;
use fma::Fma;
use ir::dim::Dim;
use ir::kernel::{Attention, AttentionGrad};
use ir::scalar::DType;
use melior::Context;
use mma::{Mma, Pass};

/// Shape of a function, and whether it is for tensor cores.
fn shape(unit: &Unit, a: &Attention, pass: Pass) -> Result<(Shape, bool), Error> {
    let narrow = unit.slots[a.q.slot].dtype == DType::Bf16;
    let on_tensor_cores = mma::shape(a.head_dim, pass).filter(|_| narrow).map(|s| (s, true));
    on_tensor_cores
        .or_else(|| fma::shape(a.head_dim).map(|s| (s, false)))
        .ok_or(Error::Unsupported("attention with heads of more than 512 elements"))
}

fn described(s: &Shape, tensor: bool) -> String {
    let how = if tensor { "mma bf16" } else { "fma f32" };
    format!(
        "{how}, {} rows over tiles of {}, {} stages",
        s.rows, s.columns, s.stages
    )
}

pub fn emit<'c>(context: &'c Context, unit: &Unit, a: &Attention) -> Result<Emitted<'c>, Error> {
    let (shape, tensor) = shape(unit, a, Pass::Forward)?;
    let f = Function::new(context, unit, 0, shape.threads);
    f.scheduled(described(&shape, tensor));
    if tensor {
        forward::write(&Mma::new(&f, shape), a);
    } else {
        forward::write(&Fma::new(&f, shape), a);
    }
    Ok(Emitted {
        functions: vec![f.finish(setting::blocks(a, shape.rows))?],
        workspace: Dim::from(0),
    })
}

pub fn emit_grad<'c>(context: &'c Context, unit: &Unit, g: &AttentionGrad) -> Result<Emitted<'c>, Error> {
    Ok(Emitted {
        functions: vec![
            means(context, unit, g)?,
            gradient(context, unit, g, 1, Pass::Keys)?,
            gradient(context, unit, g, 2, Pass::Queries)?,
        ],
        workspace: backward::lines(&g.forward) * Dim::from(4),
    })
}

fn means<'c>(context: &'c Context, unit: &Unit, g: &AttentionGrad) -> Result<Finished<'c>, Error> {
    let f = Function::new(context, unit, 0, backward::MEANS_THREADS);
    f.scheduled("row means of out * d_out");
    backward::write_means(&f, g);
    f.finish(backward::means_blocks(&g.forward))
}

fn gradient<'c>(
    context: &'c Context,
    unit: &Unit,
    g: &AttentionGrad,
    n: usize,
    pass: Pass,
) -> Result<Finished<'c>, Error> {
    let (shape, tensor) = shape(unit, &g.forward, pass)?;
    let f = Function::new(context, unit, n, shape.threads);
    f.scheduled(described(&shape, tensor));
    match (tensor, pass) {
        (true, Pass::Keys) => backward::write_keys(&Mma::new(&f, shape), g),
        (true, _) => backward::write_queries(&Mma::new(&f, shape), g),
        (false, Pass::Keys) => backward::write_keys(&Fma::new(&f, shape), g),
        (false, _) => backward::write_queries(&Fma::new(&f, shape), g),
    }
    f.finish(setting::blocks(&g.forward, shape.rows))
}
