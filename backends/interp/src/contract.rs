//! Contractions.

use crate::expr::{Exprs, Stores};
use crate::maps::extents;
use crate::memory::Slots;
use crate::{Error, positions};
use ir::dim::Env;
use ir::kernel::{Contract, Slot, Strided};

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

    fn load(&self, batch: &[i64], o: i64, free: i64, p: i64, memory: &Slots) -> Result<f64, Error> {
        let at: i64 = self.batch.iter().zip(batch).map(|(stride, b)| stride * b).sum();
        memory.load(
            self.slot,
            self.base + at + self.k_outer * o + self.free * free + self.k * p,
        )
    }
}

pub fn run(c: &Contract, memory: &mut Slots, sizes: &Env) -> Result<(), Error> {
    let batch = extents(&c.batch, sizes)?;
    let (m, n, k_outer, k) = (
        c.m.eval(sizes)?,
        c.n.eval(sizes)?,
        c.k_outer.eval(sizes)?,
        c.k.eval(sizes)?,
    );
    let (a, b) = (Operand::new(&c.a, sizes)?, Operand::new(&c.b, sizes)?);
    let mut exprs = Exprs::new(&c.values, &[], memory, sizes)?;
    let stores = Stores::new(&c.store, sizes)?;
    let order = exprs.needed(stores.roots());
    for at in positions(&batch) {
        for i in 0..m {
            for j in 0..n {
                let mut sum = 0.0;
                for o in 0..k_outer {
                    for p in 0..k {
                        sum += a.load(&at, o, i, p, memory)? * b.load(&at, o, j, p, memory)?;
                    }
                }
                exprs.acc = sum as f32 as f64;
                let here = [&at[..], &[i, j]].concat();
                exprs.compute(&order, &here, memory)?;
                stores.write(&exprs, &here, memory)?;
            }
        }
    }
    Ok(())
}
