//! Some updates of a model against those that the processor made of the same clips from the same weights.

use super::numbers::distance;
use super::{Failure, Outcome, Worst, outcome};
use crate::error::Error;
use crate::session::{AdamStep, Data, Session, Tensor};
use crate::weights::initialize;
use ir::artifact::Precision;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Updates that are made.
pub const UPDATES: u64 = 5;

/// Clips, and what training on them gives.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrainingCheck {
    pub program: String,
    /// Of the parameters.
    pub seed: u64,
    pub inputs: Vec<(String, Given)>,
    pub expected: Trained,
}

/// A tensor of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Given {
    F32(Vec<usize>, Vec<f32>),
    I32(Vec<usize>, Vec<i32>),
}

impl From<&Tensor> for Given {
    fn from(t: &Tensor) -> Given {
        match &t.data {
            Data::F32(v) => Given::F32(t.shape.clone(), v.clone()),
            Data::I32(v) => Given::I32(t.shape.clone(), v.clone()),
        }
    }
}

impl From<&Given> for Tensor {
    fn from(g: &Given) -> Tensor {
        match g {
            Given::F32(shape, v) => Tensor::f32(shape, v.clone()),
            Given::I32(shape, v) => Tensor::i32(shape, v.clone()),
        }
    }
}

/// What training gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// Of each update.
    pub losses: Vec<f32>,
    /// Of the first update, in the layout of the parameters.
    pub grads: Vec<f32>,
    /// By how much all updates changed each parameter: the parameters themselves hardly move.
    pub changes: Vec<f32>,
}

/// Trains from the weights of a seed.
///
/// # Errors
/// Where a run fails, or the gradient is none.
pub fn train(
    session: &mut dyn Session,
    program: &str,
    seed: u64,
    inputs: &[(String, Tensor)],
) -> Result<Trained, Error> {
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let artifact = session.artifact().clone();
    let mut start = vec![0.0; artifact.param_elements];
    initialize(&artifact, &mut start, seed, &|_| true);
    session.params()?.copy_from_slice(&start);
    let (first, second) = session.moments()?;
    first.fill(0.0);
    second.fill(0.0);
    let (mut losses, mut grads) = (vec![], vec![]);
    for update in 1..=UPDATES {
        session.zero_grads()?;
        let outputs = session.run(program, &inputs)?;
        let loss = outputs.iter().find(|(name, _)| name == "loss");
        losses.extend(loss.and_then(|(_, t)| t.as_f32()).and_then(|l| l.first()));
        if update == 1 {
            grads = session.grads()?.to_vec();
        }
        let squares = session.grad_norm(program, 1.0)?;
        if !(squares.is_finite() && squares > 0.0) {
            return Err(Error::program(
                program,
                format!("the sum of squares of the gradients of update {update} is {squares}"),
            ));
        }
        session.adam(program, &step(update, squares))?;
    }
    let changes = session.params()?.iter().zip(&start).map(|(a, b)| a - b).collect();
    Ok(Trained { losses, grads, changes })
}

/// Gradients are made as long as 1.
fn step(update: u64, squares: f64) -> AdamStep {
    AdamStep {
        lr: 1e-4,
        beta1: 0.9,
        beta2: 0.98,
        eps: 1e-6,
        weight_decay: 0.01,
        step: update,
        scale: 1.0 / squares.sqrt() as f32,
    }
}

/// How far losses, gradients and changes may be off, as shares of their norms. Numbers of 8 bits give losses within their
/// rounding, and gradients in direction and size; Adam makes a change of 1e-4 even of gradients that are all rounding.
fn tolerances(precision: Precision) -> [f64; 3] {
    match precision {
        Precision::Fp32 => [1e-5, 1e-4, 1e-2],
        Precision::Bf16 => [1e-2, 1e-1, 0.5],
    }
}

/// What a check is called.
pub fn name(precision: Precision, check: &TrainingCheck) -> String {
    format!("tiny {} {precision:?}", check.program).to_lowercase()
}

/// Trains twice, and compares with what is expected; both runs must give the same bits.
pub fn check(session: &mut dyn Session, precision: Precision, check: &TrainingCheck) -> Outcome {
    let start = Instant::now();
    let result = train_twice(session, precision, check);
    outcome(&name(precision, check), start, result)
}

fn train_twice(session: &mut dyn Session, precision: Precision, check: &TrainingCheck) -> Result<Worst, Failure> {
    let inputs: Vec<(String, Tensor)> = check.inputs.iter().map(|(n, g)| (n.clone(), g.into())).collect();
    let mut once = || train(session, &check.program, check.seed, &inputs);
    let (first, second) = (once()?, once()?);
    let pieces = |t: &Trained| [t.losses.clone(), t.grads.clone(), t.changes.clone()];
    let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let (got, again, want) = (pieces(&first), pieces(&second), pieces(&check.expected));
    let (mut share, mut text, mut wrong) = (0f64, vec![], false);
    for (i, name) in ["losses", "gradients", "changes"].iter().enumerate() {
        if bits(&got[i]) != bits(&again[i]) {
            return Err(Failure::Wrong(format!("{name} have other bits when trained again")));
        }
        let (off, allowed) = (distance(&got[i], &want[i]), tolerances(precision)[i]);
        wrong |= off > allowed;
        share = share.max(off / allowed);
        text.push(format!("{name} off by {off:.1e} of {allowed:.0e}"));
    }
    let text = format!("{}; losses {:?}", text.join(", "), first.losses);
    if wrong {
        Err(Failure::Wrong(text))
    } else {
        Ok((share, text))
    }
}
