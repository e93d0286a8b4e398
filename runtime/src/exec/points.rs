//! Where in a program gradients are final: sums over ranks begin there, while the rest of the backward pass goes on.
//!
//! Every launch that writes gradients begins at a parameter's own offset, so the program's steps alone say who writes one last. What
//! follows depends on the program and not on a batch: a layer that a batch skips is passed in its turn.

use crate::error::Error;
use crate::exec::program::size_value;
use ir::artifact::{Artifact, BufferKind, Operand, Program, Step};
use ir::dim::Dim;
use std::collections::BTreeMap;

/// Gradients below this many bytes are joined with those that are final next; a program has a few points in any case.
const LEAST_BYTES: usize = 4 << 20;
const LEAST_POINTS: usize = 8;

/// Gradients that nothing writes any more once so many steps are done. A step is a launch, or an iteration of a loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    pub steps: usize,
    /// Start and length in the arena.
    pub stretches: Vec<(usize, usize)>,
}

/// When each place was last written: the step, by the place at which the writer begins.
struct Writers<'a> {
    artifact: &'a Artifact,
    program: &'a Program,
    last: BTreeMap<usize, usize>,
}

impl Writers<'_> {
    fn note(&mut self, operand: &Operand, layer: i64, step: usize) -> Result<(), Error> {
        if self.program.buffers[operand.buffer].kind != BufferKind::Grads {
            return Ok(());
        }
        let env = self.artifact.run_env();
        let value = |d: &Dim| size_value(self.program, &env, d);
        let at = value(&operand.offset)? + layer * value(&operand.layer_stride)?;
        let last = self.last.entry(at.max(0) as usize).or_default();
        *last = (*last).max(step);
        Ok(())
    }

    /// Notes all that steps write in one iteration of a loop around them.
    fn walk(&mut self, steps: &[Step], layer: i64, number: usize) -> Result<(), Error> {
        for step in steps {
            match step {
                Step::Launch(launch) => {
                    for operand in &launch.operands {
                        self.note(operand, layer, number)?;
                    }
                }
                Step::Loop { count, body, .. } => {
                    for inner in 0..*count {
                        self.walk(body, inner, number)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The points of a program that trains, in their order; together they are all that it trains.
///
/// # Errors
/// Where a gradient's place depends on a batch.
pub fn points(artifact: &Artifact, program: &Program) -> Result<Vec<Point>, Error> {
    let mut writers = Writers {
        artifact,
        program,
        last: BTreeMap::new(),
    };
    let mut steps = 0;
    for step in &program.steps {
        match step {
            Step::Launch(_) => {
                steps += 1;
                writers.walk(std::slice::from_ref(step), 0, steps)?;
            }
            Step::Loop {
                count, reverse, body, ..
            } => {
                for i in 0..*count {
                    steps += 1;
                    let layer = if *reverse { count - 1 - i } else { i };
                    writers.walk(body, layer, steps)?;
                }
            }
        }
    }
    let last = writers.last;
    let mut final_at: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
    for i in &program.trains {
        let (start, length) = (artifact.params[*i].offset, artifact.params[*i].len());
        // Who begins before a parameter may reach into it, where nobody begins with it.
        let from = last.range(..=start).next_back().map_or(start, |(at, _)| *at);
        let step = last
            .range(from..start + length)
            .map(|(_, step)| *step)
            .max()
            .unwrap_or(0);
        final_at.entry(step).or_default().push((start, length));
    }
    let total: usize = program.trains.iter().map(|i| artifact.params[*i].len() * 4).sum();
    let least = LEAST_BYTES.min(total / LEAST_POINTS) / 4;
    let mut all: Vec<Point> = vec![];
    let mut held = vec![];
    for (step, stretches) in final_at {
        held.extend(stretches);
        if held.iter().map(|(_, length)| length).sum::<usize>() >= least {
            all.push(Point {
                steps: step,
                stretches: joined(std::mem::take(&mut held)),
            });
        }
    }
    if !held.is_empty() {
        all.push(Point {
            steps,
            stretches: joined(held),
        });
    }
    Ok(all)
}

/// Neighbours as one, in the order of their places.
fn joined(mut stretches: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    stretches.sort_unstable();
    let mut out: Vec<(usize, usize)> = vec![];
    for (start, length) in stretches {
        match out.last_mut() {
            Some((s, l)) if *s + *l == start => *l += length,
            _ => out.push((start, length)),
        }
    }
    out
}
