//! A batch of clips, and the inputs of a program that are made of it.

use super::Marks;
use crate::random::{Purpose, Stream};
use crate::session::Tensor;
use std::collections::BTreeMap;

/// Inputs by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs(pub Vec<(String, Tensor)>);

impl Inputs {
    pub fn refs(&self) -> Vec<(&str, &Tensor)> {
        self.0.iter().map(|(n, t)| (n.as_str(), t)).collect()
    }

    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, t)| t)
    }
}

/// When numbers are drawn, which decides what they are, and what is drawn at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Occasion {
    pub seed: u64,
    /// Update, or batch of a validation.
    pub major: u64,
    /// Micro-batch.
    pub minor: u64,
    /// Updates done.
    pub update: u64,
    /// Hide spans.
    pub masks: bool,
    /// What only training has: dropout, skipped layers, noise.
    pub noise: bool,
    /// Run every layer, whatever is drawn.
    pub whole: bool,
}

impl Occasion {
    /// Nothing is drawn: recordings are listened to as they are.
    pub const STILL: Occasion = Occasion {
        seed: 0,
        major: 0,
        minor: 0,
        update: 0,
        masks: false,
        noise: false,
        whole: true,
    };
    /// Everything is drawn, as in the first update of a training, and every layer is run: for measurements, which must not
    /// depend on what was drawn.
    pub const MEASURED: Occasion = Occasion {
        seed: 1,
        masks: true,
        noise: true,
        ..Occasion::STILL
    };

    pub fn stream(&self, purpose: Purpose) -> Stream {
        Stream::new(self.seed, purpose, self.major, self.minor)
    }
}

/// A batch of clips, with labels where the task has any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clips<'a> {
    pub waves: &'a [&'a [f32]],
    pub labels: &'a [Vec<i32>],
}

/// What every feed may know of a batch.
#[derive(Clone, Debug, Default)]
pub struct Layout<'a> {
    pub clips: Clips<'a>,
    /// Samples of each clip, and the most that one has.
    pub samples: Vec<usize>,
    pub longest: usize,
    /// Frames of each clip, and those of the longest.
    pub frames: Vec<usize>,
    pub most_frames: usize,
    /// Positions by the input that marks them.
    pub marks: BTreeMap<String, Marks>,
}

impl Layout<'_> {
    pub fn rows(&self) -> usize {
        self.samples.len()
    }

    /// What the input marks; nothing where it is not there.
    pub fn marked(&self, input: &str) -> &[Vec<usize>] {
        self.marks.get(input).map_or(&[], Vec::as_slice)
    }

    /// The most positions that a clip has marked.
    pub fn most_marked(&self, input: &str) -> usize {
        self.marked(input).iter().map(Vec::len).max().unwrap_or(0)
    }
}

/// Inputs of a program and what the host knows of them.
#[derive(Clone, Debug)]
pub struct Batch {
    pub inputs: Inputs,
    /// Frames of each clip.
    pub frames: Vec<usize>,
}
