//! Checks what every backend relies on in kernel IR: numbers in range, dtypes that agree, values that exist where they
//! are used, and slots accessed as declared.

use crate::kernel::*;
use crate::kernel_values::{decl, expect, expect_slot, index_axes, index_values, infer, value_axes};
use crate::rounding::Levels;
use crate::scalar::DType;
use std::collections::BTreeSet;

pub use crate::kernel_values::{needed, store_roots, value_dtypes};

/// What is wrong with a kernel. `at` says where: `v3` is the value of that number.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum VerifyError {
    #[error("a row kernel needs at least one axis, the columns")]
    NoColumns,
    #[error("{at}: there is no slot {slot}; the kernel has {count}")]
    NoSlot { at: String, slot: Slot, count: usize },
    #[error("{at}: v{value} does not come before its user")]
    NoValue { at: String, value: ValId },
    #[error("{at}: there is no axis {axis}; the kernel has {count}")]
    NoAxis { at: String, axis: usize, count: usize },
    #[error("{at}: there is no reduction {reduction}; the kernel has {count}")]
    NoReduction { at: String, reduction: usize, count: usize },
    #[error("{at} is {found}, where {expected} is needed")]
    DType {
        at: String,
        expected: &'static str,
        found: &'static str,
    },
    #[error("{at}: operands have different dtypes, {a} and {b}")]
    Mixed {
        at: String,
        a: &'static str,
        b: &'static str,
    },
    #[error("{at}: {value} is no i32")]
    BadConstant { at: String, value: f64 },
    #[error("{at} uses axis {axis} through v{value}, but has no single position along it")]
    AxisOutOfScope { at: String, axis: usize, value: ValId },
    #[error("{at} writes along axis {axis}, but has no single position along it")]
    StoreAxisOutOfScope { at: String, axis: usize },
    #[error("{at} uses reduction {reduction} before the phase that computes it is over")]
    ReducedTooEarly { at: String, reduction: usize },
    #[error("{at} uses the accumulated product, which only the epilogue of a contraction has")]
    AccOutsideContract { at: String },
    #[error("{at} reads slot {slot}, which is declared written and which no earlier phase has stored")]
    ReadOfWrite { at: String, slot: Slot },
    #[error("{at} writes slot {slot}, which is declared read")]
    WriteOfRead { at: String, slot: Slot },
    #[error("{at} adds to slot {slot}, which is not declared updated")]
    AccumulateWithoutUpdate { at: String, slot: Slot },
    #[error("{at} adds to slot {slot}, which holds bf16; sums are kept in f32")]
    AccumulateInBf16 { at: String, slot: Slot },
    #[error("{at} is {dtype}, which is a way to lie in memory and no type of a value")]
    StorageType { at: String, dtype: &'static str },
    #[error("slot {slot} is declared written, but nothing writes it")]
    NeverWritten { slot: Slot },
    #[error("{at}: {found} batch strides for {expected} batch axes")]
    Strides { at: String, found: usize, expected: usize },
    #[error("{at}: a column kernel sums or takes the maximum, it does not look for positions")]
    ArgMaxOverRows { at: String },
    #[error("attention needs at least one head of at least one element, not {heads} of {head_dim}")]
    NoHeads { heads: i64, head_dim: i64 },
    #[error("operands of a product cannot be rounded to {levels}")]
    BadLevels { levels: Levels },
}

/// What a check comes to.
pub type Checked<T = ()> = Result<T, VerifyError>;

/// What the values used at one place of a kernel may refer to.
pub struct Scope<'a> {
    /// Which place, for messages.
    pub at: String,
    /// Axes without a single position here.
    pub hidden: std::ops::Range<usize>,
    /// Reductions that are over.
    pub reduced: usize,
    /// Whether there is an accumulated product.
    pub acc: bool,
    /// Slots that an earlier phase has stored.
    pub stored: &'a BTreeSet<Slot>,
}

/// A kernel while it is checked.
pub struct Verifier<'a> {
    slots: &'a [SlotDecl],
    values: &'a [Value],
    dtypes: Vec<DType>,
    /// Slots that are written by what was checked so far.
    pub written: BTreeSet<Slot>,
}

/// Checks a kernel; the first thing found wrong is the error.
pub fn verify(kernel: &Kernel) -> Checked {
    let (slots, values) = (&kernel.slots[..], kernel.body.values());
    let dtypes = infer(values, slots, &kernel.body.reductions())?;
    let mut v = Verifier {
        slots,
        values,
        dtypes,
        written: BTreeSet::new(),
    };
    kernel.body.verify(&mut v)?;
    match (0..slots.len()).find(|s| slots[*s].access == Access::Write && !v.written.contains(s)) {
        Some(slot) => Err(VerifyError::NeverWritten { slot }),
        None => Ok(()),
    }
}

impl Verifier<'_> {
    /// The dtype of a slot.
    ///
    /// # Errors
    /// There is none.
    pub fn dtype(&self, at: &str, slot: Slot) -> Checked<DType> {
        Ok(decl(self.slots, slot, || at.into())?.dtype)
    }

    /// The dtype of a slot that holds f32 or bf16.
    pub fn float_storage(&self, at: &str, slot: Slot) -> Checked<DType> {
        let dtype = self.dtype(at, slot)?;
        expect(
            dtype.loaded() == DType::F32,
            || format!("{at}: slot {slot}"),
            "f32 or bf16",
            dtype,
        )?;
        Ok(dtype)
    }

    /// A slot of this dtype is read.
    pub fn reads(&self, at: &str, slot: Slot, dtype: DType) -> Checked {
        expect_slot(self.slots, slot, dtype, || at.into())?;
        match self.slots[slot].access {
            Access::Write => Err(VerifyError::ReadOfWrite { at: at.into(), slot }),
            Access::Read | Access::Update => Ok(()),
        }
    }

    /// A slot of this dtype is written.
    pub fn writes(&mut self, at: &str, slot: Slot, dtype: DType) -> Checked {
        expect_slot(self.slots, slot, dtype, || at.into())?;
        if self.slots[slot].access == Access::Read {
            return Err(VerifyError::WriteOfRead { at: at.into(), slot });
        }
        self.written.insert(slot);
        Ok(())
    }

    /// Every axis number in the values is below `count`.
    pub fn axes(&self, count: usize) -> Checked {
        for (i, value) in self.values.iter().enumerate() {
            if let Some(axis) = value_axes(value).into_iter().find(|a| *a >= count) {
                return Err(VerifyError::NoAxis {
                    at: format!("v{i}"),
                    axis,
                    count,
                });
            }
        }
        Ok(())
    }

    /// What is reduced is there.
    pub fn reduce(&self, reduce: &[(Reduction, ValId)], scope: &Scope) -> Checked {
        self.roots(reduce.iter().map(|(_, v)| *v), scope)
    }

    /// What is stored is there, and so is where it goes.
    pub fn store(&mut self, stores: &[Store], axes: usize, scope: &Scope) -> Checked {
        self.roots(store_roots(stores), scope)?;
        for (n, store) in stores.iter().enumerate() {
            let at = format!("{}, store {n}", scope.at);
            for axis in index_axes(&store.index) {
                if axis >= axes {
                    return Err(VerifyError::NoAxis { at, axis, count: axes });
                }
                if scope.hidden.contains(&axis) {
                    return Err(VerifyError::StoreAxisOutOfScope { at, axis });
                }
            }
            for v in index_values(&store.index) {
                expect(
                    self.dtypes[v] == DType::I32,
                    || format!("{at}: index v{v}"),
                    "i32",
                    self.dtypes[v],
                )?;
            }
            let held = decl(self.slots, store.slot, || at.clone())?.dtype;
            let value = self.dtypes[store.value];
            self.writes(&at, store.slot, if held.loaded() == value { held } else { value })?;
            if store.accumulate && held == DType::Bf16 {
                return Err(VerifyError::AccumulateInBf16 { at, slot: store.slot });
            }
            if store.accumulate && self.slots[store.slot].access != Access::Update {
                return Err(VerifyError::AccumulateWithoutUpdate { at, slot: store.slot });
            }
        }
        Ok(())
    }

    /// Everything that `roots` are computed from is there in `scope`.
    fn roots(&self, roots: impl Iterator<Item = ValId>, scope: &Scope) -> Checked {
        let at = || scope.at.clone();
        let roots: Vec<ValId> = roots.collect();
        if let Some(value) = roots.iter().find(|v| **v >= self.values.len()) {
            return Err(VerifyError::NoValue {
                at: at(),
                value: *value,
            });
        }
        for v in needed(self.values, roots) {
            if let Some(axis) = value_axes(&self.values[v])
                .into_iter()
                .find(|a| scope.hidden.contains(a))
            {
                return Err(VerifyError::AxisOutOfScope {
                    at: at(),
                    axis,
                    value: v,
                });
            }
            match &self.values[v] {
                Value::Reduced(n) if *n >= scope.reduced => {
                    return Err(VerifyError::ReducedTooEarly {
                        at: at(),
                        reduction: *n,
                    });
                }
                Value::Acc if !scope.acc => return Err(VerifyError::AccOutsideContract { at: at() }),
                Value::Load { slot, .. } | Value::Uniform { seed: slot, .. }
                    if self.slots[*slot].access == Access::Write && !scope.stored.contains(slot) =>
                {
                    return Err(VerifyError::ReadOfWrite {
                        at: format!("{}, v{v}", scope.at),
                        slot: *slot,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
