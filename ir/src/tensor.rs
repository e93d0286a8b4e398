//! Concrete tensors of the reference evaluator: everything in f64, i32 included (every i32 is an f64).

use crate::scalar::DType;

#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Tensor {
    pub fn new(dtype: DType, shape: Vec<usize>, data: Vec<f64>) -> Tensor {
        assert_eq!(
            shape.iter().product::<usize>(),
            data.len(),
            "data does not fill shape {shape:?}"
        );
        Tensor { dtype, shape, data }
    }
    pub fn zeros(dtype: DType, shape: Vec<usize>) -> Tensor {
        let n = shape.iter().product();
        Tensor::new(dtype, shape, vec![0.0; n])
    }
    /// Fills by a function of the multi-index.
    pub fn build(dtype: DType, shape: Vec<usize>, mut f: impl FnMut(&[usize]) -> f64) -> Tensor {
        let mut out = Tensor::zeros(dtype, shape);
        let mut at = vec![0; out.shape.len()];
        for i in 0..out.data.len() {
            unravel(i, &out.shape, &mut at);
            out.data[i] = f(&at);
        }
        out
    }
    pub fn at(&self, index: &[usize]) -> f64 {
        self.data[self.offset(index)]
    }
    pub fn offset(&self, index: &[usize]) -> usize {
        debug_assert_eq!(index.len(), self.shape.len());
        index.iter().zip(&self.shape).fold(0, |acc, (i, d)| {
            debug_assert!(i < d, "{index:?} outside {:?}", self.shape);
            acc * d + i
        })
    }
    /// The element that broadcasts to `index` of a larger shape.
    pub fn at_broadcast(&self, index: &[usize]) -> f64 {
        let skip = index.len() - self.shape.len();
        let at: Vec<usize> = index[skip..]
            .iter()
            .zip(&self.shape)
            .map(|(i, d)| if *d == 1 { 0 } else { *i })
            .collect();
        self.at(&at)
    }
    /// Product of all dims but the last, and the last.
    pub fn rows_cols(&self) -> (usize, usize) {
        let cols = *self.shape.last().unwrap_or(&1);
        (self.shape.iter().rev().skip(1).product(), cols)
    }
}

/// Multi-index of a row-major position.
pub fn unravel(mut i: usize, shape: &[usize], at: &mut [usize]) {
    for (a, d) in at.iter_mut().zip(shape).rev() {
        *a = i % d;
        i /= d;
    }
}
