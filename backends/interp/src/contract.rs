//! Contractions.

use crate::expr::{Exprs, Stores, round};
use crate::maps::extents;
use crate::memory::Slots;
use crate::{Error, positions};
use ir::dim::Env;
use ir::kernel::{Contract, Slot, Strided};
use ir::rounding::{Levels, Rounding};
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

    /// The summed elements of one row of a or column of b.
    fn line(&self, batch: &[i64], free: i64, sum: &Summed, memory: &Slots) -> Result<Vec<f64>, Error> {
        let at: i64 = self.batch.iter().zip(batch).map(|(stride, b)| stride * b).sum();
        let start = self.base + at + self.free * free;
        let steps = (0..sum.k_outer).flat_map(|o| (0..sum.k).map(move |p| (o, p)));
        steps
            .map(|(o, p)| memory.load(self.slot, start + self.k_outer * o + self.k * p))
            .collect()
    }
}

/// What is multiplied; `by_levels` is the rows' or the columns' way of dividing into levels.
fn rounded(line: Vec<f64>, how: Rounding, by_levels: fn(Levels, &[f32]) -> Vec<f64>) -> Vec<f64> {
    let all = |dtype| line.iter().map(|v| round(dtype, *v)).collect();
    match how {
        Rounding::F32 => all(DType::F32),
        Rounding::Bf16 => all(DType::Bf16),
        Rounding::Int8(levels) => by_levels(levels, &line.iter().map(|v| *v as f32).collect::<Vec<_>>()),
    }
}

/// The summed axis.
struct Summed {
    k_outer: i64,
    k: i64,
}

pub fn run(c: &Contract, memory: &mut Slots, sizes: &Env) -> Result<(), Error> {
    let batch = extents(&c.batch, sizes)?;
    let (m, n) = (c.m.eval(sizes)?, c.n.eval(sizes)?);
    let summed = Summed {
        k_outer: c.k_outer.eval(sizes)?,
        k: c.k.eval(sizes)?,
    };
    let (a, b) = (Operand::new(&c.a, sizes)?, Operand::new(&c.b, sizes)?);
    let mut exprs = Exprs::new(&c.values, &[], memory, sizes)?;
    let stores = Stores::new(&c.store, sizes)?;
    let order = exprs.needed(stores.roots());
    for at in positions(&batch) {
        let columns = (0..n)
            .map(|j| Ok(rounded(b.line(&at, j, &summed, memory)?, c.round, Levels::column)))
            .collect::<Result<Vec<_>, Error>>()?;
        for i in 0..m {
            let row = rounded(a.line(&at, i, &summed, memory)?, c.round, Levels::row);
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
