//! How many frames a clip becomes: the model's own definition of `T`, evaluated.

use crate::error::Error;
use ir::artifact::Artifact;
use ir::dim::{Dim, Env};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Frames as a function of samples.
#[derive(Clone, Debug)]
pub struct Geometry {
    frames: Dim,
    samples: Arc<str>,
}

impl Geometry {
    /// From the size `T` of the artifact, or the time axis of its `mask` input or `logits` output; and the sample axis of
    /// its `wave` input.
    pub fn new(artifact: &Artifact) -> Result<Geometry, Error> {
        let fault = |what: &str| Error::program(&artifact.name, what);
        let ports = || artifact.programs.iter().flat_map(|p| p.inputs.iter().chain(&p.outputs));
        let axis = |name: &str| {
            ports()
                .find(|p| p.name == name && p.shape.len() >= 2)
                .map(|p| p.shape[1].clone())
        };
        let wave = axis("wave").ok_or_else(|| fault("no program takes a `wave` of [batch, samples]"))?;
        let samples = only_symbol(&wave).ok_or_else(|| fault("the sample axis of `wave` is no plain size"))?;
        let named = artifact
            .dims
            .iter()
            .find(|(name, _)| name == "T")
            .map(|(_, d)| d.clone());
        let mut frames = named
            .or_else(|| axis("mask"))
            .or_else(|| axis("logits"))
            .ok_or_else(|| fault("it defines no size `T`, which is the number of frames"))?;
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
