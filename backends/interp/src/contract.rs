//! Contractions.

use crate::expr::{Exprs, Stores, round};
use crate::maps::extents;
use crate::memory::Slots;
use crate::{Error, positions};
use ir::dim::Env;
use ir::kernel::{Contract, Slot, Strided};
use ir::scalar::DType;

/// A matrix operand with its strides known.
struct Operand {
    slot: Slot,
    base: i64,
    batch: Vec<i64>,
    k_outer: i64,
    free: i64,
    k: i64,
}

impl Operand {
    fn new(s: &Strided, sizes: &Env) -> Result<Operand, Error> {
        Ok(Operand {
            slot: s.slot,
            base: s.base.eval(sizes)?,
            batch: extents(&s.batch, sizes)?,
            k_outer: s.k_outer.eval(sizes)?,
            free: s.free.eval(sizes)?,
            k: s.k.eval(sizes)?,
        })
    }

    /// The summed elements of one row (of a) or column (of b), rounded.
    fn line(&self, batch: &[i64], free: i64, sum: &Summed, memory: &Slots) -> Result<Vec<f64>, Error> {
        let at: i64 = self.batch.iter().zip(batch).map(|(stride, b)| stride * b).sum();
        let start = self.base + at + self.free * free;
        let steps = (0..sum.k_outer).flat_map(|o| (0..sum.k).map(move |p| (o, p)));
        steps
            .map(|(o, p)| {
                Ok(round(
                    sum.round,
                    memory.load(self.slot, start + self.k_outer * o + self.k * p)?,
                ))
            })
            .collect()
    }
}

/// The summed axis.
struct Summed {
    k_outer: i64,
    k: i64,
    round: DType,
}

pub fn run(c: &Contract, memory: &mut Slots, sizes: &Env) -> Result<(), Error> {
    let batch = extents(&c.batch, sizes)?;
    let (m, n) = (c.m.eval(sizes)?, c.n.eval(sizes)?);
    let summed = Summed {
        k_outer: c.k_outer.eval(sizes)?,
        k: c.k.eval(sizes)?,
        round: c.round,
    };
    let (a, b) = (Operand::new(&c.a, sizes)?, Operand::new(&c.b, sizes)?);
    let mut exprs = Exprs::new(&c.values, &[], memory, sizes)?;
    let stores = Stores::new(&c.store, sizes)?;
    let order = exprs.needed(stores.roots());
    for at in positions(&batch) {
        let columns = (0..n)
            .map(|j| b.line(&at, j, &summed, memory))
            .collect::<Result<Vec<_>, _>>()?;
        for i in 0..m {
            let row = a.line(&at, i, &summed, memory)?;
            for (j, column) in (0..n).zip(&columns) {
                let sum: f64 = row.iter().zip(column).map(|(x, y)| x * y).sum();
                exprs.acc = sum as f32 as f64;
                let here = [&at[..], &[i, j]].concat();
                exprs.compute(&order, &here, memory)?;
                stores.write(&exprs, &here, memory)?;
            }
        }
    }
    Ok(())
}
