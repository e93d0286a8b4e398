//! Random valid kernels with operands, for property tests of backends.
//!
//! Expressions are drawn so that results are well defined on every backend: each value carries a range, within which
//! its function is smooth, and a bound on the error that rounding may cause. Comparisons, positions of maxima and casts
//! to i32 are applied only to values that every backend computes exactly.

pub(crate) mod exprs;
pub(crate) mod maps;
mod narrow;
mod special;

use crate::dim::{Dim, Env};
pub use crate::kernel::attention::sample::{attention, attention_grad, attention_grad_large, attention_large};
pub use crate::kernel::column::sample::column;
pub use crate::kernel::contract::boxed::contract_boxed;
pub use crate::kernel::contract::sample::{contract, contract_bytes, contract_large};
pub use crate::kernel::row::sample::{row, row_large};
use crate::kernel::{Access, Body, BodyDef, Ctc, Kernel, Scatter, Slot, SlotDecl};
use crate::sample::Rand;
use crate::scalar::DType;
pub use narrow::narrowed;
pub(crate) use narrow::{narrow, narrow_maps, narrow_some};
pub use special::{least, with_nan};

/// A valid kernel, the sizes it names (with `layer`), and a buffer for each of its slots, none shared.
#[derive(Clone, Debug)]
pub struct Sample {
    pub kernel: Kernel,
    pub sizes: Env,
    pub operands: Vec<Operand>,
}

/// Contents of one slot before the kernel runs.
#[derive(Clone, Debug)]
pub struct Operand {
    pub dtype: DType,
    /// Each is a value of `dtype`.
    pub values: Vec<f64>,
    /// How far apart two backends may be in any element afterwards, before it is rounded to bf16 where it is; 0 where they
    /// must agree.
    pub tolerance: f64,
    /// The same element by element, where that is known: less than `tolerance` for most. Empty elsewhere.
    pub tolerances: Vec<f64>,
}

impl Operand {
    /// Lets every element be off by another `share` of its size.
    pub(crate) fn tolerate(&mut self, sizes: &[f64], share: f64) {
        self.tolerances.resize(sizes.len(), self.tolerance);
        for (tolerance, size) in self.tolerances.iter_mut().zip(sizes) {
            *tolerance += share * size;
            self.tolerance = self.tolerance.max(*tolerance);
        }
    }

    /// Whether two backends may give these two numbers for element `i`.
    pub fn agrees(&self, i: usize, a: f64, b: f64) -> bool {
        if a == b || (a.is_nan() && b.is_nan()) {
            return true;
        }
        let tolerance = self.tolerances.get(i).copied().unwrap_or(self.tolerance);
        // Each was rounded by half a unit, which is 2^-8 of the number at most.
        let rounded = match self.dtype {
            DType::Bf16 if tolerance > 0.0 => 2f64.powi(-8) * (a.abs() + b.abs()),
            _ => 0.0,
        };
        (a - b).abs() <= tolerance + rounded
    }
}

/// A scatter.
pub fn scatter(seed: u32) -> Sample {
    Scatter::sample(seed)
}

/// The loss of CTC.
pub fn ctc(seed: u32) -> Sample {
    Ctc::sample(seed)
}

/// A kernel of any kind.
pub fn any(seed: u32) -> Sample {
    Body::SAMPLERS[seed as usize % Body::SAMPLERS.len()].1(seed)
}

/// A kernel of several blocks of a GPU, of any kind that has such.
///
/// # Panics
/// Never: some kinds do.
pub fn any_large(seed: u32) -> Sample {
    let all = Body::LARGE_SAMPLERS;
    let from = (0..all.len()).map(|i| all[(seed as usize + i) % all.len()].1(seed));
    from.flatten().next().expect("some kinds have large samples")
}

/// Rounding of f32: half a unit in the last place of 1, times 2 for operations that a backend contracts.
pub(crate) const EPS: f64 = 1.2e-7;

/// What is being drawn: slots, sizes, operands.
pub(crate) struct Draw {
    pub rand: Rand,
    pub slots: Vec<SlotDecl>,
    pub operands: Vec<Operand>,
    pub sizes: Env,
}

/// An extent as written and its value.
#[derive(Clone)]
pub(crate) struct Extent {
    pub dim: Dim,
    pub size: i64,
}

impl Draw {
    pub fn new(seed: u32) -> Draw {
        let mut rand = Rand::new(seed);
        // `i` and `b` are names that text must keep apart from coordinates.
        let names = [
            ("T", rand.int(2, 12)),
            ("N", rand.int(3, 40)),
            ("i", rand.int(1, 3)),
            ("b", rand.int(1, 3)),
        ];
        let mut sizes: Env = names.into_iter().map(|(n, v)| (n.into(), v)).collect();
        sizes.insert("layer".into(), rand.int(0, 11));
        Draw {
            rand,
            slots: vec![],
            operands: vec![],
            sizes,
        }
    }

    pub fn size(&self, dim: &Dim) -> i64 {
        // Only the names above are used.
        dim.eval(&self.sizes).unwrap_or(0)
    }

    /// A constant or symbolic extent of at least 1.
    pub fn extent(&mut self, constants: &[i64]) -> Extent {
        self.extent_to(i64::MAX, constants)
    }

    /// An extent of `most` or less, as the constants are.
    pub fn extent_to(&mut self, most: i64, constants: &[i64]) -> Extent {
        let text = *self
            .rand
            .pick(&["T", "N", "i", "b", "T - 1", "(N - 1)/2", "(N + 3)/5 + 1", "2*i*b"]);
        // Written out here, and correct.
        let mut dim = text.parse().unwrap_or_default();
        if self.size(&dim) > most || self.rand.flag() {
            dim = Dim::from(*self.rand.pick(constants));
        }
        let size = self.size(&dim);
        Extent { dim, size }
    }

    pub fn extents(&mut self, most: i64, constants: &[i64]) -> Vec<Extent> {
        (0..self.rand.int(0, most)).map(|_| self.extent(constants)).collect()
    }

    /// A new slot of `len` elements.
    pub fn slot(&mut self, dtype: DType, access: Access, len: i64, draw: impl FnMut(&mut Rand) -> f64) -> Slot {
        let mut draw = draw;
        let values = (0..len).map(|_| draw(&mut self.rand)).collect();
        self.slots.push(SlotDecl { dtype, access });
        self.operands.push(Operand {
            dtype,
            values,
            tolerance: 0.0,
            tolerances: vec![],
        });
        self.slots.len() - 1
    }

    /// Eighths between -1 and 1: exact in f32 and often equal to each other.
    pub fn floats(&mut self, access: Access, len: i64) -> Slot {
        self.slot(DType::F32, access, len, |r| r.int(-8, 8) as f64 / 8.0)
    }

    pub fn sample(self, body: impl Into<Body>) -> Sample {
        Sample {
            kernel: Kernel {
                slots: self.slots,
                body: body.into(),
            },
            sizes: self.sizes,
            operands: self.operands,
        }
    }
}

pub(crate) fn dims(extents: &[Extent]) -> Vec<Dim> {
    extents.iter().map(|e| e.dim.clone()).collect()
}

#[cfg(test)]
mod tests {
    use crate::kernel_verify::verify;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn samples_are_valid(seed: u32) {
            for s in [super::any(seed), super::contract_bytes(seed), super::narrowed(super::any(seed), seed)] {
                prop_assert_eq!(verify(&s.kernel), Ok(()), "{}", s.kernel);
                prop_assert_eq!(s.kernel.slots.len(), s.operands.len());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn large_samples_are_valid(seed: u32) {
            for s in [super::any_large(seed), super::narrowed(super::any_large(seed), seed)] {
                prop_assert_eq!(verify(&s.kernel), Ok(()), "{}", s.kernel);
            }
        }
    }
}
