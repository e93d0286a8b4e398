//! Row kernels.
//!
//! One walk over the columns without reductions is element-wise: rows and columns are one space ([`flat`]). Else a group of
//! threads has a row ([`phases`]).

mod flat;
mod phases;

use crate::Error;
use crate::function::Unit;
use crate::module::Emitted;
use ir::kernel::{Phase, RowKernel, Store};
use ir::kernel_needs::shares_elements;
use melior::Context;

pub fn emit<'c>(context: &'c Context, unit: &Unit, k: &RowKernel) -> Result<Emitted<'c>, Error> {
    match &k.phases[..] {
        [Phase::Columns { reduce, store }] if reduce.is_empty() && !ordered(k) => flat::emit(context, unit, k, store),
        _ => phases::emit(context, unit, k),
    }
}

/// Whether several columns may store to one element, so that their order matters.
fn ordered(k: &RowKernel) -> bool {
    let column = k.axes.len() - 1;
    let shared = |s: &Store| shares_elements(&k.values, column, &s.index);
    !k.axes[column].is_one()
        && k.phases.iter().any(|p| match p {
            Phase::Columns { store, .. } => store.iter().any(shared),
            Phase::Row { .. } => false,
        })
}
