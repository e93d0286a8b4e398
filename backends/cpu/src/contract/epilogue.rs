//! What becomes of sums: values computed from them and stored, vector by vector.

use crate::entry::Entry;
use crate::gemm::code::Code;
use crate::value::Values;
use inkwell::values::{IntValue, PointerValue};
use ir::kernel::Contract;

/// Goes over the rows that `rows` calls its argument with, each with its number and the address of its sums: those of
/// `columns` columns from `column` on, at a position along the batch axes.
pub(super) fn write<'c>(
    (e, code): (&Entry<'_, 'c>, &Code<'_, 'c>),
    body: &Contract,
    (batch, column, columns): (&[IntValue<'c>], IntValue<'c>, IntValue<'c>),
    rows: impl FnOnce(&dyn Fn(IntValue<'c>, PointerValue<'c>)),
) {
    let axes = body.batch.len() + 2;
    let values = Values::new(e, &body.values, axes, 0);
    let roots = || body.store.iter().map(|s| s.value);
    let mut outer = values.point();
    for (axis, at) in outer.axes.iter_mut().zip(batch) {
        *axis = Some(*at);
    }
    values.hoist(&mut outer, roots());
    rows(&|row, sums| {
        let mut point = outer.clone();
        point.axes[axes - 2] = Some(row);
        values.hoist(&mut point, roots());
        code.each_vector(columns, |j, mask| {
            let mut point = point.clone();
            point.axes[axes - 1] = Some(code.add(column, j));
            point.lanes.mask = mask;
            // Whole panels were computed, so a whole vector is there even where the mask is not full.
            point.acc = Some(code.load(code.at(sums, code.scale(j, 4))).into());
            values.store_all(&body.store, &mut point);
        });
    });
}
