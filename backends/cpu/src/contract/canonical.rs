//! Equal contractions in the form that makes the better code.

use ir::dim::Dim;
use ir::kernel::Contract;
use ir::kernel_axes::renumber_axes;

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
    let strided = |axis| body.store.iter().filter(|s| !s.index.stride_of(axis).is_one()).count();
    if strided(row + 1) <= strided(row) {
        return body;
    }
    let swap = |axis| match axis {
        a if a == row => row + 1,
        a if a == row + 1 => row,
        a => a,
    };
    renumber_axes(&mut body.values, &mut body.store, swap);
    std::mem::swap(&mut body.a, &mut body.b);
    std::mem::swap(&mut body.m, &mut body.n);
    body
}
