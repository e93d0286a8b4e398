//! What all functions of attention know of the block they run in, and how they reach operands.

use crate::arith::Cmp;
use crate::builder::{Ty, V};
use crate::function::{Function, blocks_of, divisible};
use ir::dim::Dim;
use ir::kernel::{Attention, HeadView, Slot};

/// One batch element and head, and the rows of it that a block computes.
pub struct Setting<'f, 'k, 'c> {
    pub f: &'f Function<'k, 'c>,
    pub a: &'f Attention,
    batch: V<'c>,
    head: V<'c>,
    /// Number of this batch element and head among all, times the number of time steps: i32 and i64.
    lines: [V<'c>; 2],
    /// First row of this block, i32.
    pub first: V<'c>,
    pub time: V<'c>,
    /// Number of keys that count, i32.
    pub length: V<'c>,
}

/// Blocks of a function that computes `rows` rows per block.
pub fn blocks(a: &Attention, rows: u32) -> [Dim; 3] {
    let heads = a.batch.clone() * Dim::from(a.heads);
    [heads * blocks_of(&a.time, rows as i64), Dim::from(1), Dim::from(1)]
}

impl<'f, 'k, 'c> Setting<'f, 'k, 'c> {
    /// Blocks of one head follow each other, so that they find its keys and values in the cache.
    pub fn new(f: &'f Function<'k, 'c>, a: &'f Attention, rows: u32) -> Self {
        if let Some(d) = &a.dropout {
            f.random_keys(d.seed, d.site);
        }
        let tiles = f.dim32(&blocks_of(&a.time, rows as i64));
        let (block, heads) = (f.block(0), f.i32(a.heads as i32));
        let (tile, flat) = (f.urem(block, tiles), f.udiv(block, tiles));
        let (batch, head) = (f.udiv(flat, heads), f.urem(flat, heads));
        let time = f.dim32(&a.time);
        let length = f.load_element(a.lengths, f.widen(batch, Ty::I64));
        let wide = f.mul(f.widen(flat, Ty::I64), f.dim(&a.time));
        Setting {
            f,
            a,
            batch: f.widen(batch, Ty::I64),
            head: f.widen(head, Ty::I64),
            lines: [f.resize(wide, Ty::I32), wide],
            first: f.mul(tile, f.i32(rows as i32)),
            time,
            length: f.least(f.most(length, f.i32(0)), time),
        }
    }

    /// Whether every row of an operand begins at a multiple of `bytes` bytes and is as long.
    pub fn aligned(&self, view: &HeadView, bytes: u32) -> bool {
        let elements = bytes as i64 / self.f.slots[view.slot].dtype.bytes() as i64;
        let strides = [&view.base, &view.batch, &view.time, &view.head];
        self.f.alignment(view.slot).is_multiple_of(bytes)
            && self.a.head_dim % elements == 0
            && strides.into_iter().all(|d| divisible(d, elements))
    }

    /// Element where row `t` (i32) of this head begins.
    pub fn row(&self, view: &HeadView, t: V<'c>) -> V<'c> {
        let f = self.f;
        let origin = f.add(
            f.add(f.dim(&view.base), f.mul(self.batch, f.dim(&view.batch))),
            f.mul(self.head, f.dim(&view.head)),
        );
        f.add(origin, f.mul(f.widen(t, Ty::I64), f.dim(&view.time)))
    }

    /// Place of row `t` (i32) in numbers of shape [batch, heads, time].
    pub fn line(&self, t: V<'c>) -> V<'c> {
        self.f.add(self.lines[1], self.f.widen(t, Ty::I64))
    }

    /// The number of row `t` (i32) in an f32 [batch, heads, time]; 0 beyond the last row.
    pub fn number(&self, numbers: V<'c>, t: V<'c>) -> V<'c> {
        let f = self.f;
        let there = f.cmp(Cmp::Lt, t, self.time);
        f.if_else(
            there,
            || vec![f.load(Ty::F32, f.offset(numbers, Ty::F32, self.line(t)), 4)],
            || vec![f.f32(0.0)],
        )[0]
    }

    pub fn slot(&self, slot: Slot) -> V<'c> {
        self.f.slot(slot)
    }

    /// How many tiles of `columns` cover `extent` (i32).
    pub fn tiles(&self, extent: V<'c>, columns: u32) -> V<'c> {
        let f = self.f;
        f.udiv(f.add(extent, f.i32(columns as i32 - 1)), f.i32(columns as i32))
    }

    pub fn dropout(&self) -> Option<Dropout<'_, 'f, 'k, 'c>> {
        let f = self.f;
        let d = self.a.dropout.as_ref()?;
        let rate = f.load_element(d.rate, f.i64(0));
        // At a rate of 1 nothing is kept that could be scaled.
        let some = f.cmp(Cmp::Lt, rate, f.f32(1.0));
        let scale = f.select(some, f.div(f.f32(1.0), f.sub(f.f32(1.0), rate)), f.f32(0.0));
        Some(Dropout {
            s: self,
            keys: f.random_keys(d.seed, d.site),
            dropped: f.tickets_below(rate),
            scale,
        })
    }
}

/// Dropout of probabilities.
pub struct Dropout<'s, 'f, 'k, 'c> {
    pub s: &'s Setting<'f, 'k, 'c>,
    keys: [V<'c>; 2],
    /// Probabilities whose ticket is below this are dropped.
    dropped: V<'c>,
    /// What the probabilities that are kept are multiplied with.
    pub scale: V<'c>,
}

impl<'c> Dropout<'_, '_, '_, 'c> {
    /// Whether anything may be dropped at all.
    fn any(&self) -> V<'c> {
        let f = self.s.f;
        f.cmp(Cmp::Gt, self.dropped, f.i32(0))
    }

    /// `lost` of the probabilities that are dropped, the others as they are. Element [r][c] is that of row `rows[r]` and
    /// column `columns[c]` (i32); rows are queries, or keys where `keys_are_rows`.
    pub fn apply(
        &self,
        p: Vec<Vec<V<'c>>>,
        (rows, columns): (&[V<'c>], &[V<'c>]),
        keys_are_rows: bool,
        lost: &dyn Fn(V<'c>) -> V<'c>,
    ) -> Vec<Vec<V<'c>>> {
        let (s, f) = (self.s, self.s.f);
        let drop = || {
            // Counters are the low halves of indices, so their arithmetic may wrap.
            let begin = |query| f.mul(f.add(s.lines[0], query), s.time);
            let queries: Vec<V> = if keys_are_rows { columns } else { rows }
                .iter()
                .map(|q| begin(*q))
                .collect();
            let kept = |r: usize, c: usize| {
                let counter = if keys_are_rows {
                    f.add(queries[c], rows[r])
                } else {
                    f.add(queries[r], columns[c])
                };
                let dropped = f.cmp(Cmp::Lt, f.ticket(self.keys, counter), self.dropped);
                f.select(dropped, lost(p[r][c]), p[r][c])
            };
            (0..rows.len() * columns.len())
                .map(|i| kept(i / columns.len(), i % columns.len()))
                .collect()
        };
        let flat = f.if_else(self.any(), drop, || p.concat());
        flat.chunks(columns.len()).map(<[V]>::to_vec).collect()
    }
}
