//! What distinguishes one training from another.

use crate::batch::Batch;
use crate::data::Clip;
use crate::error::Error;
use crate::session::{Session, Tensor};
use serde_json::{Map, Value};

/// Sums over micro-batches, by name, and the sample size they are divided by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Hidden frames in pretraining, sentences in fine-tuning.
    pub weight: f64,
    /// Micro-batches.
    pub batches: f64,
    sums: Vec<(String, f64)>,
}

impl Totals {
    pub fn of(weight: f64, sums: Vec<(String, f64)>) -> Totals {
        Totals {
            weight,
            batches: 1.0,
            sums,
        }
    }

    pub fn add(&mut self, other: &Totals) {
        self.weight += other.weight;
        self.batches += other.batches;
        for (name, value) in &other.sums {
            match self.sums.iter_mut().find(|(n, _)| n == name) {
                Some((_, sum)) => *sum += value,
                None => self.sums.push((name.clone(), *value)),
            }
        }
    }

    /// The sum of a name; 0 where there is none.
    pub fn get(&self, name: &str) -> f64 {
        self.find(name).unwrap_or(0.0)
    }

    pub fn find(&self, name: &str) -> Option<f64> {
        self.sums.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.sums.iter().map(|(n, v)| (n.as_str(), *v))
    }
}

/// A validation's outcome.
pub struct Score {
    /// Lower is better, compared in order.
    pub key: Vec<f64>,
    pub fields: Vec<(String, f64)>,
    /// Things to name: (name, message).
    pub warnings: Vec<(&'static str, String)>,
    /// Lines for the log alone: (kind, fields).
    pub records: Vec<(&'static str, Map<String, Value>)>,
}

pub trait Objective {
    fn command(&self) -> &'static str;

    /// The program of an update, which is counted from 0.
    fn program(&self, update: u64) -> &'static str;

    fn lr(&self, update: u64) -> f64;

    /// Of the Gumbel-softmax, where there is one.
    fn temperature(&self, update: u64) -> Option<f64>;

    /// The labels of a clip (none in pretraining), or why it cannot be used.
    fn labels(&self, clip: &Clip, frames: usize) -> Result<Vec<i32>, String>;

    /// Sample size and sums of a micro-batch.
    fn read(&self, batch: &Batch, outputs: &[(String, Tensor)]) -> Result<Totals, Error>;

    /// Numbers for the log.
    fn report(&self, totals: &Totals) -> Vec<(String, f64)>;

    /// Signs of collapse and of learning nothing, told once each, after so many updates: (name, message).
    fn warnings(&mut self, update: u64, totals: &Totals) -> Vec<(&'static str, String)>;

    /// Whether validation hides spans.
    fn masks_in_validation(&self) -> bool;

    /// The number in files of each class of the head, where there is one.
    fn class_order(&self) -> Option<&[usize]> {
        None
    }

    /// Notes what a validation batch of `clips` has shown.
    fn observe(
        &mut self,
        session: &mut dyn Session,
        clips: &[Clip],
        batch: &Batch,
        outputs: &[(String, Tensor)],
    ) -> Result<(), Error>;

    /// Score of what was observed since the last score; `totals` are those of all batches.
    fn score(&mut self, totals: &Totals) -> Score;
}

/// The sum of the elements of an f32 output, where there is one.
pub fn sum_of(outputs: &[(String, Tensor)], name: &str) -> Option<f64> {
    let (_, tensor) = outputs.iter().find(|(n, _)| n == name)?;
    match &tensor.data {
        crate::session::Data::F32(v) => Some(v.iter().map(|x| *x as f64).sum()),
        crate::session::Data::I32(v) => Some(v.iter().map(|x| *x as f64).sum()),
    }
}

/// As [`sum_of`], for an output that must be there.
pub fn need(outputs: &[(String, Tensor)], program: &str, name: &str) -> Result<f64, Error> {
    sum_of(outputs, name).ok_or_else(|| Error::program(program, format!("it has no output `{name}`")))
}
