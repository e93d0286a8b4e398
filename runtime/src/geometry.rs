//! How many frames a clip becomes: the model's own definition, evaluated.

use crate::error::Error;
use ir::artifact::Artifact;
use ir::dim::{Dim, Env};
use ir::task::{Arg, Feed, Task};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Frames as a function of samples.
#[derive(Clone, Debug)]
pub struct Geometry {
    frames: Dim,
    samples: Arc<str>,
}

impl Geometry {
    /// Of a task: the sample axis of the input that takes recordings, and the number of frames that its feed names.
    pub fn new(artifact: &Artifact, task: &Task) -> Result<Geometry, Error> {
        let fault = |what: &str| Error::program(&task.name, what);
        let recordings = |(input, feed): &(String, Feed)| {
            let frames = feed.args.iter().find_map(|a| match a {
                Arg::Size(frames) if feed.kind == crate::feeds::RECORDINGS => Some(frames.clone()),
                _ => None,
            })?;
            Some((input.clone(), frames))
        };
        let (input, mut frames) = task
            .feeds
            .iter()
            .find_map(recordings)
            .ok_or_else(|| fault("none of its inputs takes recordings"))?;
        let ports = task
            .programs()
            .filter_map(|p| artifact.program(p))
            .flat_map(|p| &p.inputs);
        let axis = ports
            .filter(|p| p.name == input)
            .find_map(|p| only_symbol(p.shape.get(1)?));
        let samples = axis.ok_or_else(|| fault(&format!("the sample axis of `{input}` is no plain size")))?;
        // Definitions may lean on each other; each round resolves one level.
        for _ in 0..=artifact.dims.len() {
            let define = |s: &str| artifact.dims.iter().find(|(n, _)| n == s).map(|(_, d)| d.clone());
            frames = frames.substitute(&|s| if s == &*samples { None } else { define(s) });
        }
        match only_symbol_of(&frames) {
            Some(s) if s == samples => Ok(Geometry { frames, samples }),
            _ => Err(fault(&format!(
                "the number of frames, {frames}, must depend on `{samples}` alone"
            ))),
        }
    }

    /// Frames of a clip; 0 where it is shorter than the receptive field.
    pub fn frames(&self, samples: usize) -> usize {
        let env = Env::from([(self.samples.clone(), samples as i64)]);
        self.frames.eval(&env).expect("the only symbol is bound").max(0) as usize
    }

    /// Samples of the shortest clip with so many frames.
    pub fn least_samples(&self, frames: usize) -> usize {
        let (mut low, mut high) = (0, 1);
        while self.frames(high) < frames {
            high *= 2;
        }
        while high - low > 1 {
            let middle = (low + high) / 2;
            if self.frames(middle) < frames {
                low = middle
            } else {
                high = middle
            }
        }
        high
    }

    /// Samples from one frame to the next.
    pub fn hop(&self) -> usize {
        let (near, far) = (1 << 20, 1 << 28);
        ((far - near) as f64 / (self.frames(far) - self.frames(near)).max(1) as f64).round() as usize
    }
}

fn only_symbol_of(dim: &Dim) -> Option<Arc<str>> {
    let mut symbols = BTreeSet::new();
    dim.symbols(&mut symbols);
    if symbols.len() == 1 { symbols.pop_first() } else { None }
}

/// The symbol that the dim is.
fn only_symbol(dim: &Dim) -> Option<Arc<str>> {
    only_symbol_of(dim).filter(|s| *dim == Dim::sym(s))
}
