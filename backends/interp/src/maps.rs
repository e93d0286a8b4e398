//! Row and column kernels.

use crate::expr::{Exprs, Running, Stores};
use crate::memory::Slots;
use crate::{Error, positions};
use ir::dim::{Dim, Env};
use ir::kernel::{BodyDef, ColumnKernel, Phase, Reduction, RowKernel, ValId};

pub fn extents(dims: &[Dim], sizes: &Env) -> Result<Vec<i64>, Error> {
    dims.iter().map(|d| Ok(d.eval(sizes)?)).collect()
}

fn start(reduce: &[(Reduction, ValId)], exprs: &Exprs) -> Vec<Running> {
    reduce.iter().map(|r| Running::new(*r, exprs.dtype(r.1))).collect()
}

fn finish(running: Vec<Running>, exprs: &mut Exprs) {
    let results: Vec<f64> = running.iter().map(|r| r.finish(exprs.dtype(r.value))).collect();
    exprs.reduced.extend(results);
}

pub fn row(k: &RowKernel, memory: &mut Slots, sizes: &Env) -> Result<(), Error> {
    let axes = extents(&k.axes, sizes)?;
    // The verifier asks for at least one axis.
    let (columns, rows) = (axes[axes.len() - 1], &axes[..axes.len() - 1]);
    let all = k.reductions();
    let mut exprs = Exprs::new(&k.values, &all, memory, sizes)?;
    let mut phases = Vec::new();
    for phase in &k.phases {
        let (reduce, store) = match phase {
            Phase::Columns { reduce, store } => (Some(&reduce[..]), store),
            Phase::Row { store } => (None, store),
        };
        let stores = Stores::new(store, sizes)?;
        let order = exprs.needed(stores.roots().chain(reduce.into_iter().flatten().map(|(_, v)| *v)));
        phases.push((reduce, stores, order));
    }
    for mut at in positions(rows) {
        at.push(0);
        exprs.reduced.clear();
        for (reduce, stores, order) in &phases {
            let mut running = start(reduce.unwrap_or(&[]), &exprs);
            for column in 0..if reduce.is_some() { columns } else { 1 } {
                at[rows.len()] = column;
                exprs.compute(order, &at, memory)?;
                running.iter_mut().for_each(|r| r.add(exprs.now[r.value], column));
                stores.write(&exprs, &at, memory)?;
            }
            finish(running, &mut exprs);
        }
    }
    Ok(())
}

pub fn column(k: &ColumnKernel, memory: &mut Slots, sizes: &Env) -> Result<(), Error> {
    let (outer, reduced) = (extents(&k.outer, sizes)?, extents(&k.reduced, sizes)?);
    let mut exprs = Exprs::new(&k.values, &k.reduce, memory, sizes)?;
    let stores = Stores::new(&k.store, sizes)?;
    let reduce_order = exprs.needed(k.reduce.iter().map(|(_, v)| *v));
    let store_order = exprs.needed(stores.roots());
    let at = |outer: &[i64], reduced: &[i64], column: i64| [outer, reduced, &[column]].concat();
    for o in positions(&outer) {
        for column in 0..k.columns.eval(sizes)? {
            exprs.reduced.clear();
            let mut running = start(&k.reduce, &exprs);
            for r in positions(&reduced) {
                exprs.compute(&reduce_order, &at(&o, &r, column), memory)?;
                running.iter_mut().for_each(|r| r.add(exprs.now[r.value], column));
            }
            finish(running, &mut exprs);
            // The verifier keeps reduced axes out of stores.
            let here = at(&o, &vec![0; reduced.len()], column);
            exprs.compute(&store_order, &here, memory)?;
            stores.write(&exprs, &here, memory)?;
        }
    }
    Ok(())
}
