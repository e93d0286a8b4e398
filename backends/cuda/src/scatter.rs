//! Scatter kernels, inverted: the thread of a target row searches the indices for those that name it. What they name is
//! added in registers, in order, so that nothing is zeroed first and no thread waits for another's sum. A block has one
//! target row, or where rows are narrow an element of the targets per thread.

use crate::Error;
use crate::arith::Cmp;
use crate::builder::{Ty, V};
use crate::function::{Function, Unit, blocks_of};
use crate::module::Emitted;
use crate::values::lanes_of;
use crate::warp::WARP;
use ir::dim::Dim;
use ir::kernel::Scatter;
use melior::Context;

/// Threads of a block.
const THREADS: u32 = 128;
/// Elements of a row up to which a thread has one of them alone.
const NARROW: i64 = 16;

pub fn emit<'c>(context: &'c Context, unit: &Unit, k: &Scatter) -> Result<Emitted<'c>, Error> {
    if k.width.as_const().is_some_and(|width| width <= NARROW) {
        return emit_narrow(context, unit, k);
    }
    let f = Function::new(context, unit, 0, THREADS);
    f.scheduled("a block per row of the result");
    let aligned = |lanes: i64| {
        let fits = |slot: usize| {
            let bytes = unit.slots[slot].dtype.bytes() as u32 * lanes as u32;
            unit.alignment[slot].is_multiple_of(bytes.min(16))
        };
        fits(k.from) && fits(k.out)
    };
    let lanes = lanes_of(&k.width);
    let lanes = if aligned(lanes) { lanes } else { 1 };
    let pieces = blocks_of(&k.width, THREADS as i64 * lanes);
    let target = Target {
        f: &f,
        k,
        lanes: lanes as u32,
        found: f.shared(4 * THREADS / WARP, 4),
    };
    let block = f.widen(f.block(0), Ty::I64);
    let at = f.unravel(block, &[k.rows.clone(), k.into.clone(), pieces.clone()]);
    let column = f.add(f.mul(at[2], f.i64(THREADS as i64)), f.widen(f.thread(), Ty::I64));
    target.emit(at[0], at[1], f.mul(column, f.i64(lanes)));
    let blocks = k.rows.clone() * k.into.clone() * pieces;
    Ok(Emitted {
        functions: vec![f.finish([blocks, Dim::from(1), Dim::from(1)])?],
        workspace: Dim::from(0),
    })
}

fn emit_narrow<'c>(context: &'c Context, unit: &Unit, k: &Scatter) -> Result<Emitted<'c>, Error> {
    let f = Function::new(context, unit, 0, THREADS);
    f.scheduled("a thread per element of the result");
    let elements = k.into.clone() * k.width.clone();
    let pieces = blocks_of(&elements, THREADS as i64);
    let at = f.unravel(f.widen(f.block(0), Ty::I64), &[k.rows.clone(), pieces.clone()]);
    let thread = f.widen(f.thread(), Ty::I64);
    let element = f.add(f.mul(at[1], f.i64(THREADS as i64)), thread);
    let (count, width) = (f.dim(&k.count), f.dim(&k.width));
    let inside = f.cmp(Cmp::Lt, element, f.dim(&elements));
    let (target, column) = (f.resize(f.udiv(element, width), Ty::I32), f.urem(element, width));
    // No index is that of a target which is not there.
    let target = f.select(inside, target, f.i32(i32::MIN));
    let first = f.mul(at[0], count);
    let indices = f.shared(4 * THREADS, 4);
    let zero = [f.of(f.slots[k.out].dtype, 0.0)];
    let sum = f.for_carried((f.i64(0), count, f.i64(THREADS as i64)), &zero, |stretch, sum| {
        let own = f.add(stretch, thread);
        f.when(f.cmp(Cmp::Lt, own, count), || {
            let index = f.load_element(k.index, f.add(first, own));
            f.store(f.offset(indices, Ty::I32, thread), index, 4);
        });
        f.barrier();
        let held = f.least(f.sub(count, stretch), f.i64(THREADS as i64));
        let sum = f.for_carried((f.i64(0), held, f.i64(1)), sum, |i, sum| {
            let hit = f.cmp(Cmp::Eq, f.load(Ty::I32, f.offset(indices, Ty::I32, i), 4), target);
            let add = || {
                let from = f.add(f.add(first, stretch), i);
                vec![f.add(sum[0], f.load_element(k.from, f.add(f.mul(from, width), column)))]
            };
            f.if_else(hit, add, || sum.to_vec())
        });
        f.barrier();
        sum
    });
    f.when(inside, || {
        f.store_element(k.out, f.add(f.mul(at[0], f.dim(&elements)), element), sum[0]);
    });
    let blocks = k.rows.clone() * pieces;
    Ok(Emitted {
        functions: vec![f.finish([blocks, Dim::from(1), Dim::from(1)])?],
        workspace: Dim::from(0),
    })
}

struct Target<'a, 'k, 'c> {
    f: &'a Function<'k, 'c>,
    k: &'a Scatter,
    /// Consecutive columns of a thread.
    lanes: u32,
    /// i32 [warps]: for a stretch of indices, one per thread, a bit for each that names the target.
    found: V<'c>,
}

impl<'c> Target<'_, '_, 'c> {
    /// The row `target` of `row`, from `column` on (all i64).
    fn emit(&self, row: V<'c>, target: V<'c>, column: V<'c>) {
        let (f, k) = (self.f, self.k);
        let (count, width) = (f.dim(&k.count), f.dim(&k.width));
        let thread = f.widen(f.thread(), Ty::I64);
        let inside = f.cmp(Cmp::Lt, column, width);
        let first = f.mul(row, count);
        let zero = vec![f.of(f.slots[k.out].dtype, 0.0); self.lanes as usize];
        let range = (f.i64(0), count, f.i64(THREADS as i64));
        let sum = f.for_carried(range, &zero, |stretch, sum| {
            self.look(f.add(stretch, thread), first, count, target);
            f.barrier();
            let words = (f.i64(0), f.i64((THREADS / WARP) as i64), f.i64(1));
            let sum = f.for_carried(words, sum, |word, sum| {
                let bits = f.load(Ty::I32, f.offset(self.found, Ty::I32, word), 4);
                let base = f.add(f.add(first, stretch), f.mul(word, f.i64(WARP as i64)));
                self.add_found(bits, base, column, inside, sum)
            });
            f.barrier();
            sum
        });
        let to = f.add(f.mul(f.add(f.mul(row, f.dim(&k.into)), target), width), column);
        f.when(inside, || match self.lanes {
            1 => f.store_element(k.out, to, sum[0]),
            _ => f.store_elements(k.out, to, &sum),
        });
    }

    /// Notes whether the index at position `at` (below `count`) names the target.
    fn look(&self, at: V<'c>, first: V<'c>, count: V<'c>, target: V<'c>) {
        let f = self.f;
        let none = f.i32(-1);
        let there = f.cmp(Cmp::Lt, at, count);
        let load = || vec![f.load_element(self.k.index, f.add(first, at))];
        let index = f.if_else(there, load, || vec![none])[0];
        let hit = f.cmp(Cmp::Eq, index, f.resize(target, Ty::I32));
        let bits = f.ballot(hit);
        f.when(f.cmp(Cmp::Eq, f.lane(), f.i32(0)), || {
            f.store(f.offset(self.found, Ty::I32, f.widen(f.warp(), Ty::I64)), bits, 4);
        });
    }

    /// Adds the rows of `from` that are `base` plus the numbers of set bits, lowest first.
    fn add_found(&self, bits: V<'c>, base: V<'c>, column: V<'c>, inside: V<'c>, sum: &[V<'c>]) -> Vec<V<'c>> {
        let (f, k) = (self.f, self.k);
        let state: Vec<V> = std::iter::once(bits).chain(sum.iter().copied()).collect();
        let any = f.cmp(Cmp::Ne, bits, f.i32(0));
        f.if_else(
            any,
            || {
                let last = f.repeat_while(&state, |state| {
                    let (bits, sum) = (state[0], &state[1..]);
                    let lowest = f.op_with("llvm.intr.cttz", &[bits], Ty::I32, &[("is_zero_poison", "true")]);
                    let from = f.add(base, f.widen(lowest, Ty::I64));
                    let from = f.add(f.mul(from, f.dim(&k.width)), column);
                    let zero = || vec![f.of(f.slots[k.from].dtype, 0.0); self.lanes as usize];
                    let load = || match self.lanes {
                        1 => vec![f.load_element(k.from, from)],
                        n => f.load_elements(k.from, from, n),
                    };
                    let row = f.if_else(inside, load, zero);
                    let rest = f.and(bits, f.sub(bits, f.i32(1)));
                    let sum = sum.iter().zip(&row).map(|(s, v)| f.add(*s, *v));
                    let next = std::iter::once(rest).chain(sum).collect();
                    (f.cmp(Cmp::Ne, rest, f.i32(0)), next)
                });
                last[1..].to_vec()
            },
            || sum.to_vec(),
        )
    }
}
