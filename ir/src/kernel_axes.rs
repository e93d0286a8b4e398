//! The order of the axes of kernels.

use crate::kernel::{Coord, Index, Store, Value};

/// Gives every axis that values and stores speak of its number in another order of the axes.
pub fn renumber_axes<'s>(
    values: &mut [Value],
    stores: impl IntoIterator<Item = &'s mut Store>,
    number: impl Fn(usize) -> usize,
) {
    let in_index = |index: &mut Index| {
        for (_, coord) in &mut index.terms {
            if let Coord::Axis(axis) = coord {
                *axis = number(*axis);
            }
        }
    };
    for value in values {
        match value {
            Value::Axis(axis) => *axis = number(*axis),
            Value::Load { index, .. } | Value::Uniform { index, .. } => in_index(index),
            _ => {}
        }
    }
    for store in stores {
        in_index(&mut store.index);
    }
}
