//! Column kernels: reductions over leading axes that keep columns. A block of columns is held in registers while the
//! reduced positions pass by; a masked vector at a time takes what is left of the last block.
//!
//! Sums have two levels: 64 positions in the values' type, and these partial sums in f64.

use crate::Error;
use crate::entry::{BUILT, Emitted, Entry, Unit, V};
use crate::reduce::Accumulator;
use crate::value::{Point, Values, roots};
use inkwell::IntPredicate;
use inkwell::values::IntValue;
use ir::dim::{Dim, numel};
use ir::kernel::{ColumnKernel, Kernel};

/// Vectors of columns that one item of work covers.
const VECTORS: u32 = 4;
/// Reduced positions summed before their sum is added to the total.
const POSITIONS: i64 = 64;

/// Writes the entry function of a column kernel.
pub fn emit(unit: &Unit, name: &str, kernel: &Kernel, body: &ColumnKernel) -> Result<Emitted, Error> {
    let e = unit.entry(name, &kernel.slots);
    let axes = body.outer.len() + body.reduced.len() + 1;
    let values = Values::new(&e, &body.values, axes, body.reduce.len());
    let width = (e.lanes * VECTORS) as i64;
    let blocks = (body.columns.clone() + Dim::from(width - 1)).floor_div(width);
    let extents: Vec<Dim> = body.outer.iter().cloned().chain([blocks]).collect();

    let items = e.open_loop(e.begin, e.end, &[]);
    let mut at = e.unravel(items.index, &extents);
    let first = e.imul(at.pop().expect("the block is a coordinate"), e.i64(width));
    let mut item = values.point();
    for (axis, at) in at.into_iter().enumerate() {
        item.axes[axis] = Some(at);
    }
    let walk = Walk {
        e: &e,
        values: &values,
        body,
    };
    values.hoist(&mut item, walk.roots());
    let n = e.dim(&body.columns);
    let past = e.iadd(first, e.i64(width));
    let length = body.columns.as_const();
    if length.is_none_or(|n| n >= width) {
        let whole = e.b.build_int_compare(IntPredicate::SLE, past, n, "").expect(BUILT);
        e.when(whole, || {
            let vectors = (0..VECTORS).map(|v| {
                let mut p = item.clone();
                p.axes[values.column()] = Some(e.iadd(first, e.i64((v * e.lanes) as i64)));
                p
            });
            walk.vectors(&item, vectors.collect());
        });
    }
    if length.is_none_or(|n| n % width != 0) {
        e.when(e.ilt(n, past), || {
            let l = e.open_loop(first, n, &[]);
            let mut p = item.clone();
            p.axes[values.column()] = Some(l.index);
            p.lanes.mask = Some(e.lane_mask(l.index, n));
            walk.vectors(&item, vec![p]);
            e.close_loop(l, e.i64(e.lanes as i64), &[]);
        });
    }
    e.close_loop(items, e.i64(1), &[]);
    e.finish();
    Ok(Emitted {
        entries: vec![(name.into(), numel(&extents))],
        ..Default::default()
    })
}

struct Walk<'a, 'u, 'c> {
    e: &'a Entry<'u, 'c>,
    values: &'a Values<'a, 'u, 'c>,
    body: &'a ColumnKernel,
}

impl<'c> Walk<'_, '_, 'c> {
    fn roots(&self) -> Vec<usize> {
        self.body
            .reduce
            .iter()
            .map(|(_, v)| *v)
            .chain(roots(&self.body.store))
            .collect()
    }

    /// Reduces and stores some vectors of columns; `item` is the point outside of them.
    fn vectors(&self, item: &Point<'c>, mut vectors: Vec<Point<'c>>) {
        let e = self.e;
        for p in &mut vectors {
            self.values.hoist(p, self.roots());
        }
        let accumulators = |long| -> Vec<Accumulator> {
            let of = |(kind, v): &(_, _)| Accumulator::new(*kind, self.values.dtype(*v, &self.body.reduce), long);
            self.body.reduce.iter().map(of).collect()
        };
        let (part, total) = (accumulators(false), accumulators(true));
        let start =
            |a: &[Accumulator]| -> Vec<V<'c>> { vectors.iter().flat_map(|_| a).flat_map(|a| a.start(e)).collect() };
        let count = total.len() * vectors.len();
        let n = e.dim(&numel(&self.body.reduced));
        let origin: Vec<V<'c>> = self.body.reduced.iter().map(|_| e.i64(0).into()).collect();

        let init: Vec<_> = start(&total).into_iter().chain(origin).collect();
        let outer = e.open_loop(e.i64(0), n, &init);
        let (sums, at) = outer.carried.split_at(count);
        let end = e.imin(n, e.iadd(outer.index, e.i64(POSITIONS)));
        let init: Vec<_> = start(&part).into_iter().chain(at.iter().copied()).collect();
        let inner = e.open_loop(outer.index, end, &init);
        let (partial, at) = inner.carried.split_at(count);
        let at: Vec<IntValue<'c>> = at.iter().map(|v| v.into_int_value()).collect();
        let mut next = self.position(item, &vectors, &part, partial, &at);
        next.extend(self.advance(&at));
        let after = e.close_loop(inner, e.i64(1), &next);
        let mut next: Vec<V<'c>> = vec![];
        for (i, v) in after[..count].iter().enumerate() {
            next.extend(total[i % total.len()].add(e, &sums[i..=i], *v, || e.iota(false), None));
        }
        next.extend_from_slice(&after[count..]);
        let results = e.close_loop(outer, e.i64(POSITIONS), &next);
        for (v, p) in vectors.iter_mut().enumerate() {
            for (r, a) in total.iter().enumerate() {
                p.reduced[r] = Some(e.cast(results[v * total.len() + r], a.dtype()));
            }
            self.values.store_all(&self.body.store, p);
        }
    }

    /// Adds one reduced position to the accumulators of all vectors.
    fn position(
        &self,
        item: &Point<'c>,
        vectors: &[Point<'c>],
        accumulators: &[Accumulator],
        state: &[V<'c>],
        at: &[IntValue<'c>],
    ) -> Vec<V<'c>> {
        let e = self.e;
        let open = |p: &Point<'c>| {
            let mut p = p.clone();
            for (i, at) in at.iter().enumerate() {
                p.axes[self.body.outer.len() + i] = Some(*at);
            }
            p
        };
        // What does not depend on the column is shared by the vectors.
        let mut shared = open(item);
        self.values.hoist(&mut shared, self.body.reduce.iter().map(|(_, v)| *v));
        let mut next = vec![];
        for (v, p) in vectors.iter().enumerate() {
            let mut p = open(p);
            p.adopt(&shared);
            for (r, (a, (_, value))) in accumulators.iter().zip(&self.body.reduce).enumerate() {
                let i = v * accumulators.len() + r;
                let x = self.values.eval(*value, &mut p);
                next.extend(a.add(e, &state[i..=i], x, || e.iota(false), p.lanes.mask));
            }
        }
        next
    }

    /// The coordinates of the next reduced position.
    fn advance(&self, at: &[IntValue<'c>]) -> Vec<V<'c>> {
        let e = self.e;
        let mut carry = e.i64(1);
        let mut next = vec![];
        for (i, at) in at.iter().enumerate().rev() {
            let up = e.iadd(*at, carry);
            if i == 0 {
                next.push(up.into());
                break;
            }
            let over = e.icmp(IntPredicate::EQ, up.into(), e.dim(&self.body.reduced[i]).into());
            next.push(e.select(over, e.i64(0).into(), up.into()));
            carry = e.resize(e.truth(over), 64).into_int_value();
        }
        next.reverse();
        next
    }
}

#[cfg(test)]
mod tests;
