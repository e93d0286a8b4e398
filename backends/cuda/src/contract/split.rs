//! Sums in pieces: the workspace that holds them, and the function that adds them up, in order.

use super::epilogue::{self, Epilogue};
use super::product::{Product, coordinates};
use crate::Error;
use crate::arith::Cmp;
use crate::builder::{Ty, V};
use crate::function::{Finished, Function, Unit, blocks_of};
use ir::dim::Dim;
use ir::kernel::Contract;
use melior::Context;

const THREADS: u32 = 256;

/// Bytes of the pieces: f32 [splits, batches, rows, n].
pub fn workspace(p: &Product, splits: i64) -> Dim {
    if splits == 1 {
        Dim::from(0)
    } else {
        Dim::from(4 * splits) * p.results()
    }
}

/// Stores a run of columns of one piece.
pub fn store<'c>(
    f: &Function<'_, 'c>,
    p: &Product,
    (split, batch, row): (V<'c>, V<'c>, V<'c>),
    column: V<'c>,
    sums: &[V<'c>],
) {
    let flat = [(batch, p.batches()), (row, p.rows.clone())]
        .iter()
        .fold(f.widen(split, Ty::I64), |at, (v, extent)| {
            f.add(f.mul(at, f.dim(extent)), f.widen(*v, Ty::I64))
        });
    let at = f.add(f.mul(flat, f.dim(&p.n)), column);
    let to = f.offset(f.workspace, Ty::F32, at);
    let v = if sums.len() == 1 { sums[0] } else { f.pack(sums) };
    f.store(to, v, 4 * sums.len() as u32);
}

/// Adds the pieces and writes the results: one run of columns per thread.
pub fn add_up<'c>(
    context: &'c Context,
    unit: &Unit,
    c: &Contract,
    p: &Product,
    splits: i64,
) -> Result<Finished<'c>, Error> {
    let f = Function::new(context, unit, 1, THREADS);
    f.scheduled("adds the pieces");
    let epilogue = Epilogue::new(&f, c, p);
    let lanes = epilogue::lanes(&p.n);
    let runs = p.n.floor_div(lanes as i64);
    let total = p.batches() * p.rows.clone() * runs.clone();
    let thread = f.widen(f.thread(), Ty::I64);
    let number = f.add(f.mul(f.widen(f.block(0), Ty::I64), f.i64(THREADS as i64)), thread);
    f.when(f.cmp(Cmp::Lt, number, f.dim(&total)), || {
        let first = f.offset(f.workspace, Ty::F32, f.mul(number, f.i64(lanes as i64)));
        let piece = f.dim(&p.results());
        let at = |i| f.offset(first, Ty::F32, f.mul(piece, f.i64(i)));
        let pieces: Vec<Vec<V>> = (0..splits).map(|i| epilogue::load(&f, at(i), lanes)).collect();
        let sum = |column: usize| {
            pieces[1..]
                .iter()
                .fold(pieces[0][column], |sum, piece| f.add(sum, piece[column]))
        };
        let sums = (0..lanes as usize).map(sum).collect();
        let row = f.resize(f.udiv(number, f.dim(&runs)), Ty::I32);
        let axes = [&p.batch[..], &p.row_axes].concat();
        let mut point = epilogue.point(coordinates(&f, row, &axes));
        let column = f.mul(f.urem(number, f.dim(&runs)), f.i64(lanes as i64));
        point.axes[p.axes - 1] = Some(column);
        epilogue.write(&mut point, sums);
    });
    f.finish([blocks_of(&total, THREADS as i64), Dim::from(1), Dim::from(1)])
}
