//! Scatter kernels: sums of rows into the rows that indices name, in order, so that collisions always add up alike.
//! Columns are the lanes of vectors and are divided over items; rows of one column are scalar work.

use crate::Error;
use crate::entry::{Emitted, Entry, Unit, V};
use inkwell::IntPredicate;
use inkwell::values::{IntValue, PointerValue, VectorValue};
use ir::dim::Dim;
use ir::kernel::{Kernel, Scatter};
use ir::scalar::DType;

/// Columns of one item of work.
const BLOCK: i64 = 128;

/// Writes the entry function of a scatter.
pub fn emit(unit: &Unit, name: &str, kernel: &Kernel, body: &Scatter) -> Result<Emitted, Error> {
    let e = unit.entry(name, &kernel.slots);
    let blocks = (body.width.clone() + Dim::from(BLOCK - 1)).floor_div(BLOCK);
    let extents = [body.rows.clone(), blocks];
    let items = e.open_loop(e.begin, e.end, &[]);
    let at = e.unravel(items.index, &extents);
    let (row, first) = (at[0], e.imul(at[1], e.i64(BLOCK)));
    let (count, into, width) = (e.dim(&body.count), e.dim(&body.into), e.dim(&body.width));
    let last = e.imin(width, e.iadd(first, e.i64(BLOCK)));
    let (dtype, source_type) = (e.slots[body.out].dtype, e.slots[body.from].dtype);
    let zero = e.constant(dtype, 0.0);
    let out = e.at(dtype, e.slot(body.out), e.imul(row, e.imul(into, width)));
    let from = e.at(source_type, e.slot(body.from), e.imul(row, e.imul(count, width)));
    if body.width.is_one() {
        e.for_vectors(e.i64(0), into, |i, mask| {
            e.store_vector(dtype, e.at(dtype, out, i), zero, mask)
        });
    } else {
        let l = e.open_loop(e.i64(0), into, &[]);
        let target = e.at(dtype, out, e.imul(l.index, width));
        e.for_vectors(first, last, |c, mask| {
            e.store_vector(dtype, e.at(dtype, target, c), zero, mask)
        });
        e.close_loop(l, e.i64(1), &[]);
    }
    let l = e.open_loop(e.i64(0), count, &[]);
    let index = e.at(DType::I32, e.slot(body.index), e.iadd(e.imul(row, count), l.index));
    let index = e.load(DType::I32, index);
    let index = e.resize(index, 64).into_int_value();
    // As unsigned numbers, negative ones lie beyond all others.
    let known = e.icmp(IntPredicate::ULT, index.into(), into.into()).into_int_value();
    e.when(known, || {
        let source = e.at(source_type, from, e.imul(l.index, width));
        let target = e.at(dtype, out, e.imul(index, width));
        if body.width.is_one() {
            e.store(
                target,
                sum(&e, dtype, e.load(dtype, target), e.load(source_type, source)),
            );
            return;
        }
        e.for_vectors(first, last, |c, mask| {
            add(&e, [source_type, dtype], source, target, c, mask)
        });
    });
    e.close_loop(l, e.i64(1), &[]);
    e.close_loop(items, e.i64(1), &[]);
    e.finish();
    Ok(Emitted {
        entries: vec![(name.into(), extents.into_iter().product())],
        ..Default::default()
    })
}

fn sum<'c>(e: &Entry<'_, 'c>, dtype: DType, x: V<'c>, y: V<'c>) -> V<'c> {
    if dtype.is_float() { e.fadd(x, y) } else { e.add(x, y) }
}

/// Adds a vector of columns of one row to another.
fn add<'c>(
    e: &Entry<'_, 'c>,
    [source_type, dtype]: [DType; 2],
    source: PointerValue<'c>,
    target: PointerValue<'c>,
    column: IntValue<'c>,
    mask: Option<VectorValue<'c>>,
) {
    let (source, target) = (e.at(source_type, source, column), e.at(dtype, target, column));
    let total = sum(
        e,
        dtype,
        e.load_vector(dtype, target, mask),
        e.load_vector(source_type, source, mask),
    );
    e.store_vector(dtype, target, total, mask);
}

#[cfg(test)]
mod tests;
