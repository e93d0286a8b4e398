//! Facts about the scalar values of a kernel: which there are, what they need, their dtypes.

use crate::kernel::*;
use crate::kernel_verify::{Checked, VerifyError};
use crate::scalar::{Binary, DType, Unary};
use std::collections::BTreeSet;

/// The values that `roots` are computed from, themselves included, operands before users.
pub fn needed(values: &[Value], roots: impl IntoIterator<Item = ValId>) -> Vec<ValId> {
    let (mut seen, mut open) = (BTreeSet::new(), roots.into_iter().collect::<Vec<_>>());
    while let Some(v) = open.pop() {
        if seen.insert(v) {
            open.extend(values[v].operands());
        }
    }
    seen.into_iter().collect()
}

/// The values that stores take: what they write and where.
pub fn store_roots(stores: &[Store]) -> impl Iterator<Item = ValId> + '_ {
    stores
        .iter()
        .flat_map(|s| std::iter::once(s.value).chain(index_values(&s.index)))
}

pub(crate) fn index_values(index: &Index) -> impl Iterator<Item = ValId> + '_ {
    index
        .terms
        .iter()
        .filter_map(|(_, c)| if let Coord::Value(v) = c { Some(*v) } else { None })
}

pub(crate) fn index_axes(index: &Index) -> impl Iterator<Item = usize> + '_ {
    index
        .terms
        .iter()
        .filter_map(|(_, c)| if let Coord::Axis(a) = c { Some(*a) } else { None })
}

/// The dtype of every value; `reductions` as [`BodyDef::reductions`] lists them.
///
/// # Panics
/// Where [`verify`](crate::kernel_verify::verify) would return an error.
pub fn value_dtypes(values: &[Value], slots: &[SlotDecl], reductions: &[(Reduction, ValId)]) -> Vec<DType> {
    infer(values, slots, reductions).unwrap_or_else(|e| panic!("kernel IR was not verified: {e}"))
}

pub(crate) fn infer(values: &[Value], slots: &[SlotDecl], reductions: &[(Reduction, ValId)]) -> Checked<Vec<DType>> {
    let mut dtypes = Vec::with_capacity(values.len());
    for value in values {
        dtypes.push(infer_one(value, &dtypes, slots, reductions)?);
    }
    Ok(dtypes)
}

/// The dtype of the value that follows those of `before`.
fn infer_one(value: &Value, before: &[DType], slots: &[SlotDecl], reductions: &[(Reduction, ValId)]) -> Checked<DType> {
    let at = || format!("v{}", before.len());
    let of = |v: ValId| {
        before
            .get(v)
            .copied()
            .ok_or_else(|| VerifyError::NoValue { at: at(), value: v })
    };
    let is_i32 = |v: ValId| {
        expect(
            of(v)? == DType::I32,
            || format!("v{v}, used by {},", at()),
            "i32",
            before[v],
        )
    };
    let index = |index: &Index| index_values(index).try_for_each(is_i32);
    let same = |a: ValId, b: ValId| {
        let (da, db) = (of(a)?, of(b)?);
        if da == db {
            Ok(da)
        } else {
            Err(VerifyError::Mixed {
                at: at(),
                a: da.name(),
                b: db.name(),
            })
        }
    };
    match value {
        Value::Const {
            dtype: DType::I32,
            bits,
        } => {
            let value = f64::from_bits(*bits);
            if value as i32 as f64 == value {
                Ok(DType::I32)
            } else {
                Err(VerifyError::BadConstant { at: at(), value })
            }
        }
        Value::Const { dtype, .. } => no_storage_type(*dtype, at),
        Value::Axis(_) | Value::Size(_) => Ok(DType::I32),
        Value::Load { slot, index: i, guard } => {
            index(i)?;
            guard.iter().try_for_each(|g| is_i32(*g))?;
            Ok(decl(slots, *slot, at)?.dtype.loaded())
        }
        Value::Unary(f, a) => {
            let d = of(*a)?;
            match f {
                Unary::Neg | Unary::Abs => {}
                Unary::Not => is_i32(*a)?,
                _ => expect(d.is_float(), || format!("v{a}, used by {},", at()), "a float", d)?,
            }
            Ok(d)
        }
        Value::Binary(f, a, b) => {
            let d = same(*a, *b)?;
            match f {
                Binary::And | Binary::Or | Binary::FloorDiv => is_i32(*a)?,
                Binary::Div => expect(d.is_float(), || format!("v{a}, used by {},", at()), "a float", d)?,
                _ => {}
            }
            Ok(if f.is_comparison() { DType::I32 } else { d })
        }
        Value::Select { cond, then, other } => {
            is_i32(*cond)?;
            same(*then, *other)
        }
        Value::Cast(d, a) => of(*a).and_then(|_| no_storage_type(*d, at)),
        Value::Reduced(n) => {
            let count = reductions.len();
            let (how, v) = *reductions.get(*n).ok_or_else(|| VerifyError::NoReduction {
                at: at(),
                reduction: *n,
                count,
            })?;
            Ok(if how == Reduction::ArgMax {
                of(v).map(|_| DType::I32)?
            } else {
                of(v)?
            })
        }
        Value::Acc => Ok(DType::F32),
        Value::Uniform { seed, index: i, .. } => {
            index(i)?;
            expect_slot(slots, *seed, DType::I32, at)?;
            Ok(DType::F32)
        }
    }
}

/// `dtype`, if values can be of it.
fn no_storage_type(dtype: DType, at: impl Fn() -> String) -> Checked<DType> {
    if dtype.loaded() == dtype {
        Ok(dtype)
    } else {
        Err(VerifyError::StorageType {
            at: at(),
            dtype: dtype.name(),
        })
    }
}

pub(crate) fn expect(ok: bool, at: impl Fn() -> String, expected: &'static str, found: DType) -> Checked {
    if ok {
        Ok(())
    } else {
        Err(VerifyError::DType {
            at: at(),
            expected,
            found: found.name(),
        })
    }
}

pub(crate) fn decl(slots: &[SlotDecl], slot: Slot, at: impl Fn() -> String) -> Checked<&SlotDecl> {
    slots.get(slot).ok_or_else(|| VerifyError::NoSlot {
        at: at(),
        slot,
        count: slots.len(),
    })
}

pub(crate) fn expect_slot(slots: &[SlotDecl], slot: Slot, dtype: DType, at: impl Fn() -> String) -> Checked {
    let found = decl(slots, slot, &at)?.dtype;
    expect(found == dtype, || format!("{}: slot {slot}", at()), dtype.name(), found)
}

/// Axes a value refers to itself, not through its operands.
pub(crate) fn value_axes(value: &Value) -> Vec<usize> {
    match value {
        Value::Axis(a) => vec![*a],
        Value::Load { index, .. } | Value::Uniform { index, .. } => index_axes(index).collect(),
        _ => vec![],
    }
}

/// A reduction in words.
pub(crate) fn name_of(reduction: Reduction) -> &'static str {
    match reduction {
        Reduction::Sum => "sum",
        Reduction::Max => "max",
        Reduction::ArgMax => "arg max",
    }
}
