//! Axes of kernels: strides along them, and their order.

use crate::dim::Dim;
use crate::kernel::{Coord, Index, Store, Value};

/// Elements from one position along an axis to the next, as far as coordinates say; values in the index may add more.
pub fn stride_along(index: &Index, axis: usize) -> Dim {
    let strides = index.terms.iter().filter(|(_, coord)| *coord == Coord::Axis(axis));
    strides.fold(Dim::default(), |sum, (stride, _)| sum + stride.clone())
}

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
