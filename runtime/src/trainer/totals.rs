//! Sums over micro-batches.

use crate::session::{Data, Tensor};
use serde::{Deserialize, Serialize};

/// Sums by name, and what they are divided by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Totals {
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
}

/// The sum of the elements of an output, where there is one.
pub(super) fn sum_of(outputs: &[(String, Tensor)], name: &str) -> Option<f64> {
    let (_, tensor) = outputs.iter().find(|(n, _)| n == name)?;
    match &tensor.data {
        Data::F32(v) => Some(v.iter().map(|x| *x as f64).sum()),
        Data::I32(v) => Some(v.iter().map(|x| *x as f64).sum()),
    }
}
