//! Row kernels.

use crate::Error;
use crate::arith::Cmp;
use crate::builder::Ty;
use crate::function::{Function, Unit, blocks_of, divisible};
use crate::module::Emitted;
use crate::values::Values;
use ir::dim::{Dim, numel};
use ir::kernel::{Phase, RowKernel};
use melior::Context;

/// Threads of a block.
const THREADS: u32 = 256;

pub fn emit<'c>(context: &'c Context, unit: &Unit, k: &RowKernel) -> Result<Emitted<'c>, Error> {
    match &k.phases[..] {
        [Phase::Columns { reduce, store }] if reduce.is_empty() => {
            let f = Function::new(context, unit, 0, THREADS);
            let columns = k.axes.last().expect("a row kernel has axes");
            let lanes = [4, 2, 1].into_iter().find(|n| divisible(columns, *n)).expect("1 divides all");
            let values = Values::new(&f, &k.values, k.axes.len(), &[], lanes as usize);
            let per_row = columns.floor_div(lanes);
            let total = numel(&k.axes[..k.axes.len() - 1]) * per_row.clone();
            let at = f.add(f.mul(f.block(0), f.i32(THREADS as i32)), f.thread());
            let at = f.widen(at, Ty::I64);
            f.when(f.cmp(Cmp::Lt, at, f.dim(&total)), || {
                let mut p = values.point();
                let mut rest = at;
                for (i, axis) in k.axes.iter().enumerate().rev() {
                    let extent = if i + 1 == k.axes.len() { &per_row } else { axis };
                    let own = f.urem(rest, f.dim(extent));
                    rest = f.udiv(rest, f.dim(extent));
                    p.axes[i] = Some(if i + 1 == k.axes.len() { f.mul(own, f.i64(lanes)) } else { own });
                }
                values.store_all(store, &mut p);
            });
            let blocks = [blocks_of(&total, THREADS as i64), Dim::from(1), Dim::from(1)];
            Ok(Emitted {
                functions: vec![f.finish(blocks)?],
                workspace: Dim::from(0),
            })
        }
        _ => Err(Error::Unsupported("rows with reductions")),
    }
}
