//! What random kernels with expressions share: stores and reductions.

use super::exprs::{Exprs, Known};
use super::{Draw, EPS};
use crate::kernel::*;
use crate::scalar::{Binary, DType};

pub const ROWS: &[i64] = &[1, 2, 3, 5];
pub const COLUMNS: &[i64] = &[1, 2, 3, 7, 8, 9, 16, 17, 31, 64, 65, 130];

/// All of `count` axes.
pub fn all(count: usize) -> u64 {
    (1 << count) - 1
}

/// Stores `value` along the axes of `of`, each element its own: written to a new slot, added to one, or in place of
/// what the slot held and the value took in.
pub fn store(d: &mut Draw, exprs: &mut Exprs, of: &[usize], value: Known) -> Store {
    let natural = d.rand.int(0, 2) > 0;
    let (index, len) = exprs.layout(d, of, natural);
    let accumulate = value.dtype != DType::I32 && d.rand.int(0, 2) == 0;
    let access = if accumulate { Access::Update } else { Access::Write };
    let slot = d.slot(value.dtype, access, len, |r| r.int(-8, 8) as f64);
    let rounding = if accumulate && value.dtype == DType::F32 {
        EPS * (8.0 + value.low.abs().max(value.high.abs()))
    } else {
        0.0
    };
    d.operands[slot].tolerance = value.error + rounding;
    Store {
        slot,
        index,
        value: value.id,
        accumulate,
    }
}

/// One to three stores of values along `allowed` axes.
pub fn stores(d: &mut Draw, exprs: &mut Exprs, of: &[usize], allowed: u64) -> Vec<Store> {
    let mut list = vec![];
    for _ in 0..d.rand.int(1, 3) {
        // There is always a leaf.
        let value = match exprs.pick(d, allowed, |_| true) {
            Some(v) => v,
            None => exprs.leaf(d, allowed),
        };
        list.push(store(d, exprs, of, value));
    }
    list
}

/// Reads a slot and writes a function of that in its place.
pub fn in_place(d: &mut Draw, exprs: &mut Exprs, of: &[usize]) -> Store {
    let (index, len) = exprs.layout(d, of, true);
    let slot = d.floats(Access::Update, len);
    let axes = of.iter().fold(0, |m, a| m | 1 << a);
    let load = Value::Load {
        slot,
        index: index.clone(),
        guard: None,
    };
    let before = Known {
        id: 0,
        dtype: DType::F32,
        low: -1.0,
        high: 1.0,
        error: 0.0,
        exact: true,
        axes,
    };
    let there = exprs.push(load, before);
    let factor = exprs.constant(DType::F32, 0.5);
    exprs.values.push(Value::Binary(Binary::Mul, there.id, factor.id));
    let value = exprs.values.len() - 1;
    // Other uses of what was there would depend on when they happen.
    exprs.pool.retain(|k| k.id != there.id);
    Store {
        slot,
        index,
        value,
        accumulate: false,
    }
}

/// What is known of a reduction of `value` over `count` positions along `axes`; `None` where it would be too uncertain.
fn reduced(how: Reduction, value: &Known, count: i64, axes: u64) -> Option<Known> {
    let n = count as f64;
    let known = match how {
        // Sums of more than one f32 may be taken in any order.
        Reduction::Sum => Known {
            low: value.low.min(value.low * n),
            high: value.high.max(value.high * n),
            error: n * value.error
                + if value.dtype == DType::I32 {
                    0.0
                } else {
                    EPS * n * n * value.low.abs().max(value.high.abs())
                },
            exact: value.dtype == DType::I32,
            ..*value
        },
        Reduction::Max => *value,
        Reduction::ArgMax => Known {
            dtype: DType::I32,
            low: 0.0,
            high: n - 1.0,
            ..*value
        },
    };
    let small = known.low.abs().max(known.high.abs()) <= 1e4 && known.error <= 2e-3;
    small.then_some(Known {
        axes: value.axes & !axes,
        ..known
    })
}

/// Up to two reductions of values along `allowed` axes over the axes `over`, and what is known of their results.
pub fn reductions(
    d: &mut Draw,
    exprs: &Exprs,
    allowed: u64,
    over: u64,
    kinds: &[Reduction],
) -> Vec<((Reduction, ValId), Known)> {
    let count: i64 = exprs
        .axes
        .iter()
        .enumerate()
        .filter(|(a, _)| over >> a & 1 == 1)
        .map(|(_, e)| e.size)
        .product();
    let mut list = vec![];
    for _ in 0..d.rand.int(0, 2) {
        let how = *d.rand.pick(kinds);
        let value = exprs.pick(d, allowed, |k| how != Reduction::ArgMax || k.exact);
        if let Some(known) = value.and_then(|v| reduced(how, &v, count, over).map(|k| ((how, v.id), k))) {
            list.push(known);
        }
    }
    list
}
