//! Element-wise kernels: a thread has a few consecutive columns of any row.

use crate::Error;
use crate::arith::Cmp;
use crate::builder::Ty;
use crate::function::{Function, Unit, blocks_of};
use crate::module::Emitted;
use crate::values::{Values, lanes_of};
use ir::dim::{Dim, numel};
use ir::kernel::{RowKernel, Store};
use melior::Context;

/// Threads of a block.
const THREADS: u32 = 256;

pub fn emit<'c>(context: &'c Context, unit: &Unit, k: &RowKernel, store: &[Store]) -> Result<Emitted<'c>, Error> {
    let f = Function::new(context, unit, 0, THREADS);
    let (columns, outer) = k.axes.split_last().expect("a row kernel has axes");
    let lanes = lanes_of(columns);
    f.scheduled(format!("element-wise, {lanes} columns per thread"));
    let values = Values::new(&f, &k.values, k.axes.len(), &[], lanes as usize);
    // Pieces of `lanes` columns are the innermost axis.
    let extents: Vec<Dim> = outer.iter().cloned().chain([columns.floor_div(lanes)]).collect();
    let total = numel(&extents);
    let block = f.widen(f.block(0), Ty::I64);
    let at = f.add(f.mul(block, f.i64(THREADS as i64)), f.widen(f.thread(), Ty::I64));
    f.when(f.cmp(Cmp::Lt, at, f.dim(&total)), || {
        let mut p = values.point();
        let at = f.unravel(at, &extents);
        p.axes = at.into_iter().map(Some).collect();
        p.axes[outer.len()] = p.axes[outer.len()].map(|piece| f.mul(piece, f.i64(lanes)));
        values.store_all(store, &mut p);
    });
    let blocks = [blocks_of(&total, THREADS as i64), Dim::from(1), Dim::from(1)];
    Ok(Emitted {
        functions: vec![f.finish(blocks)?],
        workspace: Dim::from(0),
    })
}
