//! A file of tensors that a user gives for inputs.

use crate::error::Error;
use crate::random::{Purpose, Stream};
use crate::session::Tensor;
use crate::weights::TensorFile;
use std::path::Path;

/// The file, and what random numbers stand in for what it lacks.
pub struct File<'a> {
    pub tensors: &'a TensorFile,
    pub path: &'a Path,
    /// Names of the inputs that the program takes, for messages.
    pub takes: String,
    pub occasion: super::Occasion,
}

impl File<'_> {
    pub fn wrong(&self, what: impl Into<String>) -> Error {
        Error::weights(self.path, what, format!("it takes {}", self.takes))
    }

    pub fn has(&self, name: &str) -> bool {
        self.tensors.shape(name).is_some()
    }

    pub fn stream(&self, purpose: Purpose) -> Stream {
        self.occasion.stream(purpose)
    }

    /// An integer tensor of so many axes, or `None` where the file lacks it.
    pub fn ints(&self, name: &str, rank: usize) -> Result<Option<Tensor>, Error> {
        let Some(values) = self.tensors.integers(name)? else {
            return Ok(None);
        };
        let shape = self.tensors.shape(name).unwrap_or_default();
        if shape.len() != rank {
            return Err(self.wrong(format!("`{name}` has the shape {shape:?} and needs {rank} axes")));
        }
        Ok(Some(Tensor::i32(shape, values)))
    }

    /// Finite numbers, or `None` where the file lacks them.
    pub fn floats(&self, name: &str) -> Result<Option<Tensor>, Error> {
        let Some(values) = self.tensors.floats(name)? else {
            return Ok(None);
        };
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(self.wrong(format!("element {at} of `{name}` is {}", values[at])));
        }
        Ok(Some(Tensor::f32(self.tensors.shape(name).unwrap_or_default(), values)))
    }

    /// The tensor if it has the shape; an error if it has another.
    pub fn fit(&self, name: &str, own: Option<Tensor>, shape: &[usize]) -> Result<Option<Tensor>, Error> {
        match own {
            Some(own) if own.shape != shape => {
                Err(self.wrong(format!("`{name}` has the shape {:?} and needs {shape:?}", own.shape)))
            }
            own => Ok(own),
        }
    }

    pub fn lacks(&self, name: &str) -> Error {
        self.wrong(format!("it has no `{name}`"))
    }
}
