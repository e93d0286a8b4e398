//! Rows of operands in shared memory.

use super::setting::Setting;
use crate::arith::Cmp;
use crate::builder::{Builder, Ty, V};
use crate::function::Function;
use crate::memory::stored;
use ir::kernel::HeadView;

/// Bytes of the widest copy.
const CHUNK: u32 = 16;

/// Rows of heads side by side. The bytes between two rows are an odd multiple of 16, so that eight accesses of 16 bytes to
/// one column of consecutive rows touch every bank once.
#[derive(Clone, Copy)]
pub struct Tile<'c> {
    pub at: V<'c>,
    pub rows: u32,
    /// Elements of a row; those beyond the operand's are 0.
    pub width: u32,
    /// F32, or I16 for bits of bf16.
    pub element: Ty,
}

impl<'c> Tile<'c> {
    /// `count` tiles one after the other: the first.
    pub fn new(f: &Function<'_, 'c>, rows: u32, width: u32, element: Ty, count: u32) -> Tile<'c> {
        let mut tile = Tile {
            at: f.workspace,
            rows,
            width,
            element,
        };
        tile.at = f.shared(tile.bytes() * count, CHUNK);
        tile
    }

    /// Elements from one row to the next.
    pub fn stride(&self) -> u32 {
        self.width + CHUNK / self.element.bytes()
    }

    fn bytes(&self) -> u32 {
        self.rows * self.stride() * self.element.bytes()
    }

    /// The `i`-th tile (i32) from this one.
    pub fn nth(&self, f: &Builder<'c>, i: V<'c>) -> Tile<'c> {
        let bytes = f.mul(i, f.i32(self.bytes() as i32));
        Tile {
            at: f.offset(self.at, Ty::I8, f.widen(bytes, Ty::I64)),
            ..*self
        }
    }

    /// The address of an element; both numbers are i32.
    pub fn element(&self, f: &Builder<'c>, row: V<'c>, column: V<'c>) -> V<'c> {
        let at = f.add(f.mul(row, f.i32(self.stride() as i32)), column);
        f.offset(self.at, self.element, f.widen(at, Ty::I64))
    }

    /// The address so many elements further than `address`.
    pub fn further(&self, f: &Builder<'c>, address: V<'c>, row: u32, column: u32) -> V<'c> {
        f.offset(address, self.element, f.i64((row * self.stride() + column) as i64))
    }
}

impl<'c> Builder<'c> {
    /// Begins to copy 4 bytes from global to shared memory; 0 instead unless `source` (i32) is 4.
    fn copy_word(&self, to: V<'c>, from: V<'c>, source: V<'c>) {
        let attrs = [("modifier", "#nvvm<load_cache_modifier ca>"), ("size", "4 : i32")];
        self.effect("nvvm.cp.async.shared.global", &[to, from, source], &attrs);
    }

    /// Waits until all copies have arrived that any thread of the block has begun.
    pub fn all_arrived(&self) {
        self.commit_copies();
        self.await_copies(0);
        self.barrier();
    }
}

impl<'c> Setting<'_, '_, 'c> {
    /// Begins to copy rows `first..` of an operand to a tile; what is beyond `limit` rows becomes 0. Both are i32.
    pub fn fetch(&self, view: &HeadView, (first, limit): (V<'c>, V<'c>), tile: Tile<'c>) {
        if self.aligned(view, CHUNK) && stored(self.f.slots[view.slot].dtype) == tile.element {
            self.fetch_chunks(view, (first, limit), tile);
        } else {
            self.fetch_elements(view, (first, limit), tile);
        }
    }

    fn fetch_chunks(&self, view: &HeadView, (first, limit): (V<'c>, V<'c>), tile: Tile<'c>) {
        let f = self.f;
        let n = CHUNK / tile.element.bytes();
        let per_row = tile.width / n;
        let (total, threads) = (tile.rows * per_row, f.threads());
        let copy = |i: V<'c>| {
            let (row, chunk) = (f.udiv(i, f.i32(per_row as i32)), f.urem(i, f.i32(per_row as i32)));
            let (t, column) = (f.add(first, row), f.mul(chunk, f.i32(n as i32)));
            let inside = f.cmp(Cmp::Lt, t, limit);
            let inside = if tile.width as i64 == self.a.head_dim {
                inside
            } else {
                f.and(inside, f.cmp(Cmp::Lt, column, f.i32(self.a.head_dim as i32)))
            };
            // Where nothing is read the address is still one of the operand.
            let from = f.add(
                self.row(view, f.select(inside, t, f.i32(0))),
                f.widen(f.select(inside, column, f.i32(0)), Ty::I64),
            );
            let source = f.select(inside, f.i32(CHUNK as i32), f.i32(0));
            f.copy_chunk(tile.element(f, row, column), f.at(view.slot, from), source);
        };
        for k in 0..total.div_ceil(threads) {
            let i = f.add(f.thread(), f.i32((k * threads) as i32));
            if (k + 1) * threads <= total {
                copy(i);
            } else {
                f.when(f.cmp(Cmp::Lt, i, f.i32(total as i32)), || copy(i));
            }
        }
    }

    fn fetch_elements(&self, view: &HeadView, (first, limit): (V<'c>, V<'c>), tile: Tile<'c>) {
        let f = self.f;
        let total = f.i32((tile.rows * tile.width) as i32);
        let width = f.i32(tile.width as i32);
        f.for_each((f.thread(), total, f.i32(f.threads() as i32)), |i| {
            let (row, column) = (f.udiv(i, width), f.urem(i, width));
            let t = f.add(first, row);
            let inside = f.and(
                f.cmp(Cmp::Lt, t, limit),
                f.cmp(Cmp::Lt, column, f.i32(self.a.head_dim as i32)),
            );
            let v = f.if_else(
                inside,
                || vec![f.load_element(view.slot, f.add(self.row(view, t), f.widen(column, Ty::I64)))],
                || vec![f.f32(0.0)],
            )[0];
            let v = if tile.element == Ty::F32 { v } else { f.to_bf16(v) };
            f.store(tile.element(f, row, column), v, tile.element.bytes());
        });
    }

    /// Begins to copy `count` numbers of an f32 [batch, heads, time] to shared memory, from row `first` on; 0 beyond the last.
    pub fn fetch_numbers(&self, numbers: V<'c>, first: V<'c>, (to, count): (V<'c>, u32)) {
        let f = self.f;
        assert!(count <= f.threads(), "a thread copies one number");
        let i = f.thread();
        f.when(f.cmp(Cmp::Lt, i, f.i32(count as i32)), || {
            let t = f.add(first, i);
            let inside = f.cmp(Cmp::Lt, t, self.time);
            let from = f.offset(numbers, Ty::F32, self.line(f.select(inside, t, f.i32(0))));
            let to = f.offset(to, Ty::F32, f.widen(i, Ty::I64));
            f.copy_word(to, from, f.select(inside, f.i32(4), f.i32(0)));
        });
    }

    /// Stores `values` (one or two) to the elements of row `t` (i32) from `column` (i32) on, the first of which exists.
    pub fn store_columns(&self, view: &HeadView, t: V<'c>, column: V<'c>, values: &[V<'c>]) {
        let f = self.f;
        let at = f.add(self.row(view, t), f.widen(column, Ty::I64));
        // An even column where there are two.
        if values.len() == 2 && self.aligned(view, 2 * f.slots[view.slot].dtype.bytes() as u32) {
            return f.store_elements(view.slot, at, values);
        }
        f.store_element(view.slot, at, values[0]);
        for (i, v) in values.iter().enumerate().skip(1) {
            let inside = f.cmp(Cmp::Lt, f.add(column, f.i32(i as i32)), f.i32(self.a.head_dim as i32));
            f.when(inside, || f.store_element(view.slot, f.add(at, f.i64(i as i64)), *v));
        }
    }
}
