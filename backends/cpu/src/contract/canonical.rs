//! Equal contractions in the form that makes the better code.

use ir::dim::Dim;
use ir::kernel::{Contract, Coord, Index, Store, Value};

/// The same contraction with long steps of the summed axis and columns along which stores are contiguous.
pub(super) fn form(body: Contract) -> Contract {
    with_contiguous_columns(with_long_steps(body))
}

/// Makes the inner part of the summed axis long where that is free: one axis if both operands allow it.
pub(super) fn with_long_steps(mut body: Contract) -> Contract {
    if body.k.is_one() {
        std::mem::swap(&mut body.k, &mut body.k_outer);
        for operand in [&mut body.a, &mut body.b] {
            std::mem::swap(&mut operand.k, &mut operand.k_outer);
        }
    }
    if [&body.a, &body.b]
        .iter()
        .all(|operand| operand.k_outer == operand.k.clone() * body.k.clone())
    {
        body.k = body.k_outer * body.k;
        body.k_outer = Dim::from(1);
    }
    body
}

/// The transposed product where its stores then have unit stride along the columns, which become vectors.
fn with_contiguous_columns(mut body: Contract) -> Contract {
    let row = body.batch.len();
    let along = |index: &Index, axis| {
        let strides = index.terms.iter().filter(|(_, coord)| *coord == Coord::Axis(axis));
        strides.fold(Dim::default(), |sum, (stride, _)| sum + stride.clone())
    };
    let strided = |axis| body.store.iter().filter(|s| !along(&s.index, axis).is_one()).count();
    if strided(row + 1) <= strided(row) {
        return body;
    }
    let swap = |axis: &mut usize| {
        *axis = if *axis == row {
            row + 1
        } else if *axis == row + 1 {
            row
        } else {
            *axis
        }
    };
    let swap_index = |index: &mut Index| {
        for (_, coord) in &mut index.terms {
            if let Coord::Axis(axis) = coord {
                swap(axis);
            }
        }
    };
    for value in &mut body.values {
        match value {
            Value::Axis(axis) => swap(axis),
            Value::Load { index, .. } | Value::Uniform { index, .. } => swap_index(index),
            _ => {}
        }
    }
    for Store { index, .. } in &mut body.store {
        swap_index(index);
    }
    std::mem::swap(&mut body.a, &mut body.b);
    std::mem::swap(&mut body.m, &mut body.n);
    body
}
