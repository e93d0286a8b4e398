//! Whether a kernel does the same whatever the run-time sizes are.

use ir::dim::Dim;
use ir::kernel::{Coord, Index, Kernel, Value};

/// Whether no size in a kernel is one of run time. Random numbers are not looked for: their seeds come from an input.
pub fn are_constant(kernel: &Kernel) -> bool {
    let body = &kernel.body;
    body.values().iter().all(value)
        && body.sizes().into_iter().all(constant)
        && body.stores().into_iter().all(|s| index(&s.index))
}

fn constant(d: &Dim) -> bool {
    d.as_const().is_some()
}

fn index(i: &Index) -> bool {
    let stride = |(stride, _): &(Dim, Coord)| constant(stride);
    constant(&i.base) && i.terms.iter().all(stride)
}

fn value(v: &Value) -> bool {
    match v {
        Value::Size(d) => constant(d),
        Value::Load { index: i, .. } | Value::Uniform { index: i, .. } => index(i),
        _ => true,
    }
}
