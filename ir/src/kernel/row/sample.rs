//! Random row kernels.

use crate::dim::Dim;
use crate::kernel::*;
use crate::kernel_sample::exprs::{Exprs, Known};
use crate::kernel_sample::maps::{COLUMNS, ROWS, all, in_place, reductions, stores};
use crate::kernel_sample::{Draw, EPS, Extent, dims};

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
    d.sample(body)
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
    d.sample(RowKernel {
        axes: dims(&axes),
        values,
        phases,
    })
}

/// Rows around the sizes of blocks: 32 lanes, 256 and 1024 threads.
const LONG: &[i64] = &[33, 255, 256, 257, 511, 768, 1000, 1024, 1025, 2048, 2999, 3072];

/// A row kernel with up to 3072 columns: a softmax, a normalisation, or anything.
pub fn row_large(seed: u32) -> Sample {
    let mut d = Draw::new(seed);
    let rows = d.extent_to(0, &[1, 2, 3, 5]);
    let axes = vec![rows, d.extent_to(0, LONG)];
    match d.rand.int(0, 3) {
        0 => long_softmax(d, axes),
        1 => norm(d, axes),
        _ => phases(d, axes),
    }
}

/// A softmax with the tolerance of its data: the terms of a row add up with a relative error of `EPS` each, and that is the
/// error of its largest probability.
fn long_softmax(d: Draw, axes: Vec<Extent>) -> Sample {
    let (rows, columns) = (axes[0].size, axes[1].size);
    let mut sample = softmax(d, axes);
    let [x, last, out] = [0, 1, 2];
    let Body::Row(k) = &sample.kernel.body else {
        return sample;
    };
    let Value::Load { index, .. } = &k.values[0] else {
        return sample;
    };
    let stride = |axis| {
        let of = |(d, c): &(Dim, Coord)| {
            if *c == Coord::Axis(axis) {
                d.eval(&sample.sizes).unwrap_or(0)
            } else {
                0
            }
        };
        index.terms.iter().map(of).sum::<i64>()
    };
    let (base, down, along) = (index.base.eval(&sample.sizes).unwrap_or(0), stride(0), stride(1));
    let mut tolerance = 0f64;
    for r in 0..rows {
        let count = sample.operands[last].values[r as usize] as i64 + 1;
        let row = (0..columns.min(count)).map(|c| sample.operands[x].values[(base + down * r + along * c) as usize]);
        let most = row.clone().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.map(|x| (x - most).exp()).sum();
        tolerance = tolerance.max(EPS * (32.0 + count as f64) / sum);
    }
    sample.operands[out].tolerance = tolerance;
    sample
}

/// (x - mean) / sqrt(variance + 1/8) * gain, which also keeps mean and factor of each row.
///
/// Sums of eighths and of their squares are exact. So the mean is off by EPS, the variance (mean of squares less square of
/// the mean, both at most 1) by 4 EPS; its reciprocal root, 8^(1/2) at most with a slope of 8^(3/2) / 2, by
/// 4 EPS * 11.4 + 8 EPS * 2.9 < 72 EPS; the difference, 2 at most, by 3 EPS, and so the product by
/// 2 * 72 EPS + 2.9 * 3 EPS + 2 * 5.8 EPS < 170 EPS.
fn norm(mut d: Draw, axes: Vec<Extent>) -> Sample {
    let exprs = Exprs::new(axes.clone());
    let (index, len) = exprs.layout(&mut d, &[0, 1], false);
    let x = d.floats(Access::Read, len);
    let gain = d.floats(Access::Read, axes[1].size);
    let (place, len) = exprs.layout(&mut d, &[0, 1], true);
    let out = d.floats(Access::Write, len);
    let statistics = d.floats(Access::Write, 2 * axes[0].size);
    d.operands[out].tolerance = 170.0 * EPS;
    d.operands[statistics].tolerance = 72.0 * EPS;
    let at = |slot, index: &Index| Value::Load {
        slot,
        index: index.clone(),
        guard: None,
    };
    let index_of = |base: i64, stride: i64, axis| Index {
        base: Dim::from(base),
        terms: vec![(Dim::from(stride), Coord::Axis(axis))],
    };
    let store = |slot, index: Index, value| Store {
        slot,
        index,
        value,
        accumulate: false,
    };
    let values = vec![
        at(x, &index),
        Value::Binary(Binary::Mul, 0, 0),
        Value::Size(axes[1].dim.clone()),
        Value::Cast(DType::F32, 2),
        Value::Reduced(0),
        Value::Binary(Binary::Div, 4, 3),
        Value::Reduced(1),
        Value::Binary(Binary::Div, 6, 3),
        Value::Binary(Binary::Mul, 5, 5),
        Value::Binary(Binary::Sub, 7, 8),
        Value::constant(DType::F32, 0.125),
        Value::Binary(Binary::Add, 9, 10),
        Value::Unary(Unary::Rsqrt, 11),
        Value::Binary(Binary::Sub, 0, 5),
        Value::Binary(Binary::Mul, 13, 12),
        at(gain, &index_of(0, 1, 1)),
        Value::Binary(Binary::Mul, 14, 15),
    ];
    let phases = vec![
        Phase::Columns {
            reduce: vec![(Reduction::Sum, 0), (Reduction::Sum, 1)],
            store: vec![],
        },
        Phase::Row {
            store: vec![
                store(statistics, index_of(0, 2, 0), 5),
                store(statistics, index_of(1, 2, 0), 12),
            ],
        },
        Phase::Columns {
            reduce: vec![],
            store: vec![store(out, place, 16)],
        },
    ];
    d.sample(RowKernel {
        axes: dims(&axes),
        values,
        phases,
    })
}
