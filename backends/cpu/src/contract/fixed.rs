//! Products whose packed operand need not be packed anew at each launch.

use ir::kernel::{Contract, Slot, Value};

/// The slot of the right operand, where nothing but packing reads it and packing depends on no run-time size.
pub(super) fn packed_slot(body: &Contract) -> Option<Slot> {
    let b = &body.b;
    let read_too =
        |v: &Value| matches!(v, Value::Load { slot, .. } | Value::Uniform { seed: slot, .. } if *slot == b.slot);
    let read_too = body.a.slot == b.slot || body.values.iter().any(read_too);
    let stored = body.store.iter().any(|s| s.slot == b.slot);
    // An axis along which the operand stays where it is has no part in packing.
    let axes = body.batch.iter().zip(&b.batch).filter(|(_, stride)| !stride.is_zero());
    let mut sizes = vec![&body.n, &body.k_outer, &body.k, &b.base, &b.k_outer, &b.free, &b.k];
    sizes.extend(axes.flat_map(|(extent, stride)| [extent, stride]));
    let fixed = sizes.iter().all(|d| d.as_const().is_some());
    (fixed && !read_too && !stored).then_some(b.slot)
}
