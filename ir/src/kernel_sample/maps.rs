//! Row and column kernels.

use super::exprs::{Exprs, Known};
use super::{Draw, EPS, Extent, Sample, dims};
use crate::kernel::*;
use crate::scalar::{Binary, DType, Unary};

const ROWS: &[i64] = &[1, 2, 3, 5];
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
fn reductions(
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

/// A row kernel of one to three phases; later ones may load what earlier ones stored and use their reductions.
pub fn row(seed: u32) -> Sample {
    let mut d = Draw::new(seed);
    let mut axes = d.extents(2, ROWS);
    axes.push(d.extent(COLUMNS));
    match d.rand.int(0, 15) {
        0 => softmax(d, axes),
        _ => phases(d, axes),
    }
}

/// Any row kernel over these axes.
pub fn phases(mut d: Draw, axes: Vec<Extent>) -> Sample {
    let (columns, count) = (axes.len() - 1, axes.len());
    let mut exprs = Exprs::new(axes.clone());
    let (mut phases, mut number): (Vec<Phase>, usize) = (vec![], 0);
    let mut stored: Vec<(Store, Known)> = vec![];
    exprs.leaf(&mut d, all(count));
    for p in 0..d.rand.int(1, 3) {
        let per_row = p > 0 && d.rand.int(0, 2) == 0;
        let allowed = if per_row { all(columns) } else { all(count) };
        let of: Vec<usize> = (0..if per_row { columns } else { count }).collect();
        if let (false, false, Some((s, known))) = (per_row, d.rand.flag(), stored.last().cloned()) {
            exprs.push(
                Value::Load {
                    slot: s.slot,
                    index: s.index,
                    guard: None,
                },
                known,
            );
        }
        let grown = d.rand.int(0, 8);
        exprs.grow(&mut d, allowed, grown);
        let found = if per_row {
            vec![]
        } else {
            let kinds = [Reduction::Sum, Reduction::Sum, Reduction::Max, Reduction::ArgMax];
            reductions(&mut d, &exprs, allowed, 1 << columns, &kinds)
        };
        let mut store = if found.is_empty() || d.rand.flag() {
            stores(&mut d, &mut exprs, &of, allowed)
        } else {
            vec![]
        };
        if !per_row {
            let written = store.iter().filter(|s| !s.accumulate);
            stored.extend(written.filter_map(|s| {
                exprs
                    .pool
                    .iter()
                    .find(|k| k.id == s.value)
                    .map(|k| (s.clone(), Known { axes: all(count), ..*k }))
            }));
        }
        if d.rand.int(0, 3) == 0 {
            store.push(in_place(&mut d, &mut exprs, &of));
        }
        let reduce = found.iter().map(|(r, _)| *r).collect();
        phases.push(if per_row {
            Phase::Row { store }
        } else {
            Phase::Columns { reduce, store }
        });
        for (_, known) in found {
            exprs.push(Value::Reduced(number), known);
            number += 1;
        }
    }
    if number > 0 && phases.iter().all(|p| !matches!(p, Phase::Row { .. })) {
        let of: Vec<usize> = (0..columns).collect();
        let last = stores(&mut d, &mut exprs, &of, all(columns));
        phases.push(Phase::Row { store: last });
    }
    let body = RowKernel {
        axes: dims(&axes),
        values: exprs.values,
        phases,
    };
    d.sample(Body::Row(body))
}

/// Softmax over the first columns of each row, masked by minus infinity; the first column always counts.
pub fn softmax(mut d: Draw, axes: Vec<Extent>) -> Sample {
    let columns = axes.len() - 1;
    let (rows, everywhere): (Vec<usize>, Vec<usize>) = ((0..columns).collect(), (0..=columns).collect());
    let exprs = Exprs::new(axes.clone());
    let (index, len) = exprs.layout(&mut d, &everywhere, false);
    let x = d.floats(Access::Read, len);
    let (lasts, count) = exprs.layout(&mut d, &rows, true);
    let most = axes[columns].size - 1;
    let last = d.slot(DType::I32, Access::Read, count, |r| r.int(0, most) as f64);
    let (place, len) = exprs.layout(&mut d, &everywhere, true);
    let out = d.floats(Access::Write, len);
    d.operands[out].tolerance = 32.0 * EPS;
    let at = |slot, index: &Index| Value::Load {
        slot,
        index: index.clone(),
        guard: None,
    };
    let store = |value| {
        vec![Store {
            slot: out,
            index: place.clone(),
            value,
            accumulate: false,
        }]
    };
    let values = vec![
        at(x, &index),
        at(last, &lasts),
        Value::Axis(columns),
        Value::Binary(Binary::LessEq, 2, 1),
        Value::constant(DType::F32, f64::NEG_INFINITY),
        Value::Select {
            cond: 3,
            then: 0,
            other: 4,
        },
        Value::Reduced(0),
        Value::Binary(Binary::Sub, 5, 6),
        Value::Unary(Unary::Exp, 7),
        Value::Reduced(1),
        at(out, &place),
        Value::Binary(Binary::Div, 10, 9),
    ];
    let phases = vec![
        Phase::Columns {
            reduce: vec![(Reduction::Max, 5)],
            store: vec![],
        },
        Phase::Columns {
            reduce: vec![(Reduction::Sum, 8)],
            store: store(8),
        },
        Phase::Columns {
            reduce: vec![],
            store: store(11),
        },
    ];
    d.sample(Body::Row(RowKernel {
        axes: dims(&axes),
        values,
        phases,
    }))
}

/// A column kernel that stores its reductions and functions of them.
pub fn column(seed: u32) -> Sample {
    let mut d = Draw::new(seed);
    let (outer, reduced_axes) = (d.extents(2, ROWS), d.extents(2, &[1, 2, 3, 9, 60]));
    let columns = d.extent(COLUMNS);
    let axes: Vec<Extent> = [&outer[..], &reduced_axes, std::slice::from_ref(&columns)].concat();
    let over = all(outer.len() + reduced_axes.len()) & !all(outer.len());
    let of: Vec<usize> = (0..axes.len()).filter(|a| over >> a & 1 == 0).collect();
    let allowed = all(axes.len());
    let mut exprs = Exprs::new(axes);
    exprs.load(&mut d, allowed);
    let grown = d.rand.int(0, 8);
    exprs.grow(&mut d, allowed, grown);
    let found = reductions(
        &mut d,
        &exprs,
        allowed,
        over,
        &[Reduction::Sum, Reduction::Sum, Reduction::Max],
    );
    let mut store = vec![];
    for (n, (_, known)) in found.iter().enumerate() {
        let result = exprs.push(Value::Reduced(n), *known);
        store.push(self::store(&mut d, &mut exprs, &of, result));
    }
    let grown = d.rand.int(0, 4);
    exprs.grow(&mut d, allowed & !over, grown);
    store.extend(stores(&mut d, &mut exprs, &of, allowed & !over));
    let reduce = found.into_iter().map(|(r, _)| r).collect();
    let body = ColumnKernel {
        outer: dims(&outer),
        reduced: dims(&reduced_axes),
        columns: columns.dim,
        values: exprs.values,
        reduce,
        store,
    };
    d.sample(Body::Column(body))
}
