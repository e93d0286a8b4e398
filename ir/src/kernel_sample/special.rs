//! Samples of rare cases: a NaN, empty work.

use super::Sample;
use crate::kernel::*;
use crate::scalar::{Binary, DType};

/// The sample with a NaN where its kernel reads floats, if there is such a place and what becomes of it is defined.
pub fn with_nan(sample: &Sample, seed: u32) -> Option<Sample> {
    let mut sample = sample.clone();
    let to_i32 = |v: &Value| matches!(v, Value::Cast(DType::I32, _));
    let body = &sample.kernel.body;
    let positions = body.reductions().iter().any(|(how, _)| *how == Reduction::ArgMax);
    if positions || !body.spreads_nan() || body.values().iter().any(to_i32) {
        return None;
    }
    let read = |s: &usize| sample.kernel.slots[*s].access != Access::Write && sample.operands[*s].dtype.is_float();
    let slots: Vec<usize> = (0..sample.operands.len()).filter(read).collect();
    let values = &mut sample.operands[*slots.get(seed as usize % slots.len().max(1))?].values;
    let at = seed as usize % values.len();
    values[at] = f64::NAN;
    Some(sample)
}

/// The sample with one of its symbolic sizes as small as it may be, which makes extents 0 or 1; `None` where nothing changes.
/// Whether its gathers still lie within their operands, the interpreter knows.
pub fn least(sample: &Sample, seed: u32) -> Option<Sample> {
    let mut least = sample.clone();
    // `T - 1` and `(N - 1)/2` are extents too, and may not be negative.
    let (name, size) = [("T", 1), ("N", 1), ("i", 0), ("b", 0)][seed as usize % 4];
    least.sizes.insert(name.into(), size);
    let body = &sample.kernel.body;
    // The maximum of no numbers is beyond the range that the sample's values were drawn for.
    let sums = body.reductions().iter().all(|(how, _)| *how == Reduction::Sum);
    let legal = sums && body.may_be_resized(&sample.sizes, &least.sizes);
    // A divisor was drawn positive, as `floor_div` wants it; one that is worked out from a size may come to be 0.
    let list = body.values();
    let divides = list.iter().any(|v| match v {
        Value::Binary(Binary::FloorDiv, _, by) => !matches!(list[*by], Value::Const { .. }),
        _ => false,
    });
    (legal && !divides && least.sizes != sample.sizes).then_some(least)
}
