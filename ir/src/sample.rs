//! Random op instances for property tests: a small generator of choices, and what a sampler gives back.

use crate::dim::Dim;
use crate::rng;
use crate::scalar::DType;
use crate::tensor::Tensor;
use crate::types::Type;

/// A stream of random choices from a seed.
pub struct Rand {
    seed: u32,
    count: u32,
}

impl Rand {
    pub fn new(seed: u32) -> Rand {
        Rand { seed, count: 0 }
    }
    pub fn bits(&mut self) -> u32 {
        self.count += 1;
        rng::bits(rng::keys([self.seed, 0], 7, 0), self.count)
    }
    /// In low..=high.
    pub fn int(&mut self, low: i64, high: i64) -> i64 {
        low + (self.bits() as i64) % (high - low + 1)
    }
    pub fn flag(&mut self) -> bool {
        self.bits() & 1 == 1
    }
    pub fn float(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.bits() as f64 / u32::MAX as f64)
    }
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.int(0, of.len() as i64 - 1) as usize]
    }
    /// A small size; odd ones and 1 included.
    pub fn size(&mut self) -> Dim {
        Dim::from(*self.pick(&[1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17]))
    }
    pub fn shape(&mut self, rank: usize) -> Vec<Dim> {
        (0..rank).map(|_| self.size()).collect()
    }
}

/// An op with operands it accepts.
pub struct Sample<T> {
    pub op: T,
    pub args: Vec<SampleArg>,
    /// False where the derivative is undefined or unbounded at sampled values, or the gradient is a surrogate.
    pub differentiable: bool,
}

/// An operand type (constant sizes) with the range its values are drawn from.
#[derive(Clone, Debug)]
pub struct SampleArg {
    pub ty: Type,
    pub low: f64,
    pub high: f64,
}

impl SampleArg {
    pub fn float(shape: Vec<Dim>) -> SampleArg {
        SampleArg {
            ty: Type::f32(shape),
            low: -2.0,
            high: 2.0,
        }
    }
    pub fn between(shape: Vec<Dim>, low: f64, high: f64) -> SampleArg {
        SampleArg {
            ty: Type::f32(shape),
            low,
            high,
        }
    }
    /// Integers in low..=high.
    pub fn int(shape: Vec<Dim>, low: i64, high: i64) -> SampleArg {
        SampleArg {
            ty: Type::i32(shape),
            low: low as f64,
            high: high as f64,
        }
    }
    /// Values of this operand, exact in its dtype.
    pub fn draw(&self, r: &mut Rand) -> Tensor {
        let size = |d: &Dim| d.as_const().expect("samples have constant sizes") as usize;
        let shape: Vec<usize> = self.ty.shape.iter().map(size).collect();
        Tensor::build(self.ty.dtype, shape, |_| match self.ty.dtype {
            DType::I32 => r.int(self.low as i64, self.high as i64) as f64,
            _ => r.float(self.low, self.high) as f32 as f64,
        })
    }
}

impl<T> Sample<T> {
    pub fn new(op: T, args: Vec<SampleArg>) -> Sample<T> {
        Sample {
            op,
            args,
            differentiable: true,
        }
    }
    pub fn without_gradient(mut self) -> Sample<T> {
        self.differentiable = false;
        self
    }
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Sample<U> {
        Sample {
            op: f(self.op),
            args: self.args,
            differentiable: self.differentiable,
        }
    }
}
