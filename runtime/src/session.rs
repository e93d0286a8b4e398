//! The interface between training and execution: named tensors in, named tensors out, and the arenas of the parameters.

use crate::error::Error;
use crate::exec::program::ranges;
use crate::ranks::Ranks;
use ir::artifact::{Artifact, Factors};

/// Elements of a block of [`Session::squares`]; ranges that begin at multiples of it have the blocks of the whole.
pub const NORM_BLOCK: usize = 4096;

#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    F32(Vec<f32>),
    I32(Vec<i32>),
}

/// A dense row-major tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Data,
}

impl Tensor {
    /// # Panics
    /// If the shape and the number of elements disagree: shapes here come from code, never from a user.
    pub fn f32(shape: &[usize], data: Vec<f32>) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "shape {shape:?}");
        Tensor {
            shape: shape.to_vec(),
            data: Data::F32(data),
        }
    }

    /// # Panics
    /// As [`Tensor::f32`].
    pub fn i32(shape: &[usize], data: Vec<i32>) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "shape {shape:?}");
        Tensor {
            shape: shape.to_vec(),
            data: Data::I32(data),
        }
    }

    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(v) => Some(v),
            Data::I32(_) => None,
        }
    }

    pub fn as_i32(&self) -> Option<&[i32]> {
        match &self.data {
            Data::I32(v) => Some(v),
            Data::F32(_) => None,
        }
    }
}

/// One update of Adam with decoupled weight decay, in fairseq's form: `p -= lr*wd*p`, then
/// `p -= lr * sqrt(1-b2^t)/(1-b1^t) * m/(sqrt(v)+eps)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    pub lr: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub eps: f32,
    pub weight_decay: f32,
    /// `t`, counted from 1.
    pub step: u64,
    /// Gradients are multiplied by this first.
    pub scale: f32,
}

/// What one kernel took in a run.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct KernelTime {
    pub kernel: String,
    /// What it does, in a line.
    pub what: String,
    pub launches: usize,
    pub seconds: f64,
    /// Floating-point operations, and bytes read and written at least, of all its launches.
    pub flops: f64,
    pub bytes: f64,
    /// What it multiplies.
    pub factors: Factors,
    /// Share of its threads' time that they waited for the busiest one, where threads are timed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imbalance: Option<f64>,
}

/// Gradients that nothing writes any more until the next run.
pub struct Final {
    /// Where they begin in the arena.
    pub start: usize,
    /// Where they are in memory, which stays theirs while the session is neither used nor dropped.
    pub values: *mut f32,
    pub length: usize,
}

/// Is given gradients as they become final.
pub type Take<'a> = &'a mut dyn FnMut(Final);

/// A compiled model with its parameters, gradients and moments in memory.
pub trait Session {
    fn artifact(&self) -> &Artifact;

    /// Gives run sizes values. Parameters are zeros after that, and [`Session::artifact`] says where they lie: to be done
    /// before anything else.
    ///
    /// # Errors
    /// Where there is no such size, or its value is out of range.
    fn choose(&mut self, sizes: &[(&str, i64)]) -> Result<(), Error>;

    /// Says that parameters will not change any more and that this program alone will run: what depends on parameters alone
    /// is done once, in the program's next run, and the session lets go of parameters that nothing reads after that.
    ///
    /// # Errors
    /// Where there is no such program, or another was named before.
    fn freeze(&mut self, _program: &str) -> Result<(), Error> {
        Ok(())
    }

    /// The parameter arena; `Param::offset` says where each parameter lies. Whoever asks may change it.
    ///
    /// # Errors
    /// Here and below: where a device that holds the newest values does not give them. After [`Session::freeze`], where that
    /// lets go of parameters.
    fn params(&mut self) -> Result<&mut [f32], Error>;

    /// The gradient arena, laid out like the parameters.
    fn grads(&mut self) -> Result<&mut [f32], Error>;

    /// Adam's first and second moments, laid out like the parameters.
    fn moments(&mut self) -> Result<(&mut [f32], &mut [f32]), Error>;

    /// Makes every gradient 0, wherever the gradients are.
    fn zero_grads(&mut self) -> Result<(), Error>;

    /// Whether a run fits into memory, where that is not the host's: a refusal names needed and free bytes. `None` where
    /// programs run in the host's memory.
    fn admit(&self, _program: &str, _inputs: &[(&str, &Tensor)], _remedy: &str) -> Option<Result<(), Error>> {
        None
    }

    /// The name of the device that computes, where that is not this machine's processor.
    fn device(&self) -> Option<String> {
        None
    }

    /// Bytes held on a device of its own; `None` where programs run in the host's memory.
    fn device_bytes(&self) -> Option<usize> {
        None
    }

    /// Bytes the program's activations need for these sizes, before anything is allocated; after [`Session::freeze`] with
    /// those by which memory grows at most while parameters are replaced by what is made from them.
    fn peak_bytes(&self, program: &str, inputs: &[(&str, &Tensor)]) -> Result<usize, Error>;

    /// Runs a program; a training program adds its gradients to `grads`.
    fn run(&mut self, program: &str, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Error>;

    /// All that a program trains, as start and length, in the order in which it becomes final.
    fn points(&self, program: &str) -> Result<Vec<(usize, usize)>, Error> {
        ranges(self.artifact(), program)
    }

    /// As [`Session::run`] of a training program; `take` is given each of [`Session::points`] in turn while the program runs, or
    /// none of them where the session cannot do that.
    fn run_giving(
        &mut self,
        program: &str,
        inputs: &[(&str, &Tensor)],
        _take: Take,
    ) -> Result<Vec<(String, Tensor)>, Error> {
        self.run(program, inputs)
    }

    /// Connects the device that computes with those of other ranks, where it has one; why gradients are not summed there.
    fn join(&mut self, _ranks: &Ranks) -> Result<Option<String>, Error> {
        Ok(None)
    }

    /// Sums stretches of the gradients over ranks on the devices that have them; false where that is not done there.
    fn sum_here(&mut self, _stretches: &[(usize, usize)]) -> Result<bool, Error> {
        Ok(false)
    }

    /// From here on every launch is timed, where launches can be.
    fn start_profile(&mut self) {}

    /// What each kernel took since [`Session::start_profile`], in any order. `None` where launches are not timed.
    fn take_profile(&mut self) -> Option<Vec<KernelTime>> {
        None
    }

    /// Sums of squares of gradients in a range (start and length), one for each [`NORM_BLOCK`] elements from its start on.
    fn squares(&mut self, range: (usize, usize)) -> Result<Vec<f32>, Error>;

    /// Updates the parameters in a range from their gradients.
    fn adam_over(&mut self, range: (usize, usize), adam: &AdamStep) -> Result<(), Error>;

    /// Says that moments in a range are not needed here for now: whoever asks for them may find anything.
    fn forget_moments(&mut self, _range: (usize, usize)) {}

    /// Sum of squares of the gradients of the program's trained parameters, in a fixed order, times `scale` squared.
    fn grad_norm(&mut self, program: &str, scale: f32) -> Result<f64, Error> {
        let mut total = 0.0;
        for range in ranges(self.artifact(), program)? {
            total += self.squares(range)?.iter().map(|s| *s as f64).sum::<f64>();
        }
        Ok(total * scale as f64 * scale as f64)
    }

    /// Updates the program's trained parameters from their gradients.
    fn adam(&mut self, program: &str, adam: &AdamStep) -> Result<(), Error> {
        ranges(self.artifact(), program)?
            .into_iter()
            .try_for_each(|range| self.adam_over(range, adam))
    }
}
