//! Turns a forward program into a training step: adds the gradients of the loss for the trained parameters.

use crate::module::Module;
use crate::pipeline::{CompileError, ProgramError, Settings};
use ir::gradient::{backward, save_slots};
use ir::graph::{Graph, ValueId};
use ir::names::gradient_of;
use ir::ops::Op;

/// Why a program cannot be differentiated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DifferentiateError {
    /// There is no such output.
    #[error("the program has no output `{0}` to differentiate")]
    NoLoss(String),
    /// The loss has more than one element.
    #[error("the loss `{0}` must be a single f32")]
    NotScalar(String),
}

pub(crate) fn run(m: &mut Module, _: &Settings) -> Result<(), CompileError> {
    for unit in m.stage.graphs() {
        unit.graph = match &unit.loss {
            Some(loss) => {
                let trains = |name: &str| unit.trains.iter().any(|t| t == name);
                let made = differentiate(&unit.graph, loss, &trains);
                made.map_err(|e| ProgramError::from(e).of(&unit.name))?
            }
            None => unit.graph.prune(),
        };
    }
    Ok(())
}

/// Adds an output [`gradient_of`] it for every parameter that `trains` names and the loss depends on.
pub fn differentiate(g: &Graph, loss: &str, trains: &dyn Fn(&str) -> bool) -> Result<Graph, DifferentiateError> {
    let mut g = save_slots(g);
    let named = |(n, v): &(String, ValueId)| (n == loss).then_some(*v);
    let loss_value = g
        .outputs
        .iter()
        .find_map(named)
        .ok_or_else(|| DifferentiateError::NoLoss(loss.into()))?;
    if !g.ty(loss_value).dtype.is_float() || g.shape(loss_value).iter().any(|d| !d.is_one()) {
        return Err(DifferentiateError::NotScalar(loss.into()));
    }
    let param = |(i, n): (usize, &ir::graph::Node)| match &n.op {
        Op::Param(p) if trains(&p.name) => Some((ValueId(i), p.name.clone())),
        _ => None,
    };
    let (wrt, names): (Vec<ValueId>, Vec<String>) = g.nodes.iter().enumerate().filter_map(param).unzip();
    let one = g.constant_like(loss_value, 1.0);
    let shape = g.shape(loss_value).to_vec();
    let seed = g.broadcast_to(one, shape);
    let grads = backward(&mut g, &[(loss_value, seed)], &wrt);
    for (name, grad) in names.into_iter().zip(grads) {
        if let Some(v) = grad {
            g.outputs.push((gradient_of(&name), v));
        }
    }
    Ok(g.prune())
}
