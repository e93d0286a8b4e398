//! Row kernels: for every row, phases over its columns. Columns are the lanes of vectors: a loop over whole vectors, then
//! one masked vector. What does not depend on the column is computed once per row and phase.

mod order;

use crate::Error;
use crate::entry::{Emitted, Entry, Unit, V};
use crate::reduce::Accumulator;
use crate::value::{Point, Values, roots};
use inkwell::values::IntValue;
use ir::dim::Dim;
use ir::kernel::{Kernel, Phase, Reduction, RowKernel, Store, ValId};

/// Columns of one item of work where rows may be cut: phases that only store. Kernels that transpose have one vector.
const BLOCK: i64 = 4096;
/// Longest rows whose f32 sums are accumulated in f32; others, and those of unknown length, use f64.
const SHORT: i64 = 4096;
/// How many bytes ahead of their loads rows are asked for that are only read. By itself the processor reads a single stream at
/// half the speed of memory.
const AHEAD: i64 = 2048;
/// Shortest rows for which that is worth while, in columns.
const LONG_ROW: i64 = 512;

/// Writes the entry function of a row kernel.
pub fn emit(unit: &Unit, name: &str, kernel: &Kernel, body: &RowKernel) -> Result<Emitted, Error> {
    let e = unit.entry(name, &kernel.slots);
    let transposing = order::transposing(body, e.lanes as i64);
    let (body, transposes) = (transposing.as_ref().unwrap_or(body), transposing.is_some());
    let (columns, outer) = body.axes.split_last().expect("a row kernel has a column axis");
    let reductions: Vec<(Reduction, ValId)> = body.phases.iter().flat_map(reductions_of).copied().collect();
    let values = Values::new(&e, &body.values, body.axes.len(), reductions.len());
    let cut = matches!(body.phases.as_slice(), [Phase::Columns { reduce, .. }] if reduce.is_empty());
    let block_columns = if transposes { e.lanes as i64 } else { BLOCK };
    let blocks = if cut {
        (columns.clone() + Dim::from(block_columns - 1)).floor_div(block_columns)
    } else {
        Dim::from(1)
    };
    // Blocks are the innermost axis, or the outermost.
    let place = if transposes { 0 } else { outer.len() };
    let mut extents = outer.to_vec();
    extents.insert(place, blocks);

    let items = e.open_loop(e.begin, e.end, &[]);
    let mut at = e.unravel(items.index, &extents);
    let block = at.remove(place);
    let n = e.dim(columns);
    let (first, last) = if extents[place].is_one() {
        (e.i64(0), n)
    } else {
        let first = e.imul(block, e.i64(block_columns));
        (first, e.imin(n, e.iadd(first, e.i64(block_columns))))
    };
    let mut row = values.point();
    for (axis, at) in at.into_iter().enumerate() {
        row.axes[axis] = Some(at);
    }
    let walk = Walk {
        e: &e,
        values: &values,
        first,
        last,
        columns,
        reductions: &reductions,
    };
    let mut done = 0;
    for phase in &body.phases {
        match phase {
            Phase::Columns { reduce, store } => {
                for result in walk.columns(&mut row, reduce, store) {
                    row.reduced[done] = Some(result);
                    done += 1;
                }
            }
            Phase::Row { store } => values.store_all(store, &mut row),
        }
        values.forget_loads(&mut row);
    }
    e.close_loop(items, e.i64(1), &[]);
    e.finish();
    Ok(Emitted {
        entries: vec![(name.into(), extents.into_iter().product())],
        ..Default::default()
    })
}

fn reductions_of(phase: &Phase) -> &[(Reduction, ValId)] {
    match phase {
        Phase::Columns { reduce, .. } => reduce,
        Phase::Row { .. } => &[],
    }
}

/// The columns of one item of work.
struct Walk<'a, 'u, 'c> {
    e: &'a Entry<'u, 'c>,
    values: &'a Values<'a, 'u, 'c>,
    first: IntValue<'c>,
    last: IntValue<'c>,
    /// Length of a whole row.
    columns: &'a Dim,
    reductions: &'a [(Reduction, ValId)],
}

impl<'c> Walk<'_, '_, 'c> {
    /// One walk over the columns; gives the results of its reductions.
    fn columns(&self, row: &mut Point<'c>, reduce: &[(Reduction, ValId)], store: &[Store]) -> Vec<V<'c>> {
        let e = self.e;
        let length = self.columns.as_const();
        let long = length.is_none_or(|n| n > SHORT);
        let accumulators: Vec<Accumulator> = reduce
            .iter()
            .map(|(kind, v)| Accumulator::new(*kind, self.values.dtype(*v, self.reductions), long))
            .collect();
        self.values
            .hoist(row, reduce.iter().map(|(_, v)| *v).chain(roots(store)));

        let lanes = e.i64(e.lanes as i64);
        let count = e.isub(self.last, self.first);
        let whole = e.and(count.into(), e.i64(-(e.lanes as i64)).into()).into_int_value();
        let whole = e.iadd(self.first, whole);
        let mut state: Vec<V<'c>> = accumulators.iter().flat_map(|a| a.start(e)).collect();
        for masked in [false, true] {
            let never = match length {
                Some(n) if masked => n % e.lanes as i64 == 0,
                Some(n) => n < e.lanes as i64,
                None => false,
            };
            if never {
                continue;
            }
            let (from, to) = if masked {
                (whole, self.last)
            } else {
                (self.first, whole)
            };
            let l = e.open_loop(from, to, &state);
            let mut p = row.clone();
            p.axes[self.values.column()] = Some(l.index);
            p.lanes.mask = masked.then(|| e.lane_mask(l.index, to));
            let streams = store.is_empty() && length.is_some_and(|n| n >= LONG_ROW);
            p.lanes.ahead = streams.then_some(AHEAD);
            let next = self.vector(&mut p, &accumulators, reduce, store, &l.carried);
            state = e.close_loop(l, lanes, &next);
        }
        let mut state = state.as_slice();
        accumulators
            .iter()
            .map(|a| a.finish(e, take(&mut state, a.len())))
            .collect()
    }

    /// One vector of columns.
    fn vector(
        &self,
        p: &mut Point<'c>,
        accumulators: &[Accumulator],
        reduce: &[(Reduction, ValId)],
        store: &[Store],
        mut state: &[V<'c>],
    ) -> Vec<V<'c>> {
        let e = self.e;
        let first = p.axes[self.values.column()].expect("the column axis is open");
        let position = || e.add(e.resize(first.into(), 32), e.iota(false));
        let mut next = vec![];
        for (a, (_, v)) in accumulators.iter().zip(reduce) {
            let x = self.values.eval(*v, p);
            next.extend(a.add(e, take(&mut state, a.len()), x, position, p.lanes.mask));
        }
        self.values.store_all(store, p);
        next
    }
}

/// Splits off the first `n`.
fn take<'s, 'c>(state: &mut &'s [V<'c>], n: usize) -> &'s [V<'c>] {
    let (head, tail) = state.split_at(n);
    *state = tail;
    head
}

#[cfg(test)]
mod tests;
