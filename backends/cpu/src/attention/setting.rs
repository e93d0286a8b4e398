//! What the code of attention and of its gradients has in common: sizes, places, dropout, and the steps both take.

use crate::entry::{Entry, V};
use crate::gemm::code::Code;
use crate::gemm::{self, Factors, Layout, Order, Tile};
use inkwell::FloatPredicate;
use inkwell::values::{IntValue, PointerValue, VectorValue};
use ir::dim::Dim;
use ir::kernel::{Attention, HeadView};
use ir::scalar::DType;

/// Elements between the rows of scores beyond whole panels: rows do not compete for the same cache sets.
pub(super) const ROW_PADDING: i64 = 16;

pub(super) fn blocks(d: &Dim, by: i64) -> Dim {
    (d.clone() + Dim::from(by - 1)).floor_div(by)
}

/// What the code of attention and of its gradients has in common.
pub(super) struct Setting<'e, 'u, 'c> {
    pub(super) e: &'e Entry<'u, 'c>,
    pub(super) code: Code<'e, 'c>,
    pub(super) tile: Tile,
    pub(super) a: &'e Attention,
    /// Of the operands of heads.
    pub(super) dtype: DType,
}

/// One head of one batch element.
#[derive(Clone, Copy)]
pub(super) struct Head<'c> {
    pub(super) batch: IntValue<'c>,
    pub(super) head: IntValue<'c>,
    /// Number among all heads.
    pub(super) flat: IntValue<'c>,
    /// Keys that count.
    pub(super) length: IntValue<'c>,
}

/// Dropout of the probabilities of one query.
pub(super) struct Dropout<'c> {
    pub(super) keys: [IntValue<'c>; 2],
    pub(super) rate: V<'c>,
    /// What a probability that stays is multiplied with.
    pub(super) kept: V<'c>,
    /// The random counter of key 0, i64.
    pub(super) first: IntValue<'c>,
}

/// Operands of a product, see `gemm::product`.
pub(super) struct Product<'c> {
    pub(super) layout: Layout,
    pub(super) a: PointerValue<'c>,
    pub(super) a_stride: IntValue<'c>,
    pub(super) rows: IntValue<'c>,
    pub(super) panels: PointerValue<'c>,
    pub(super) panel_bytes: IntValue<'c>,
    pub(super) panel_count: IntValue<'c>,
    pub(super) depth: IntValue<'c>,
    pub(super) c: PointerValue<'c>,
    pub(super) c_stride: IntValue<'c>,
    pub(super) accumulate: IntValue<'c>,
}

impl<'e, 'u, 'c> Setting<'e, 'u, 'c> {
    pub(super) fn new(e: &'e Entry<'u, 'c>, a: &'e Attention) -> Self {
        let dtype = e.slots[a.q.slot].dtype;
        let factors = match dtype {
            DType::Bf16 => Factors::Pairs,
            _ => Factors::F32,
        };
        let tile = Tile {
            factors,
            ..Tile::of(e.unit.target, e.unit.target.schedule(crate::Shape::Rows))
        };
        Setting {
            e,
            code: Code::of(e),
            tile,
            a,
            dtype,
        }
    }

    // ---- sizes -----------------------------------------------------------------------------------------------------

    pub(super) fn all_heads(&self) -> Dim {
        self.a.batch.clone() * Dim::from(self.a.heads)
    }

    /// Queries of a block: whole tiles, about 84.
    pub(super) fn queries(&self) -> i64 {
        let rows = self.tile.rows as i64;
        (84 + rows / 2) / rows * rows
    }

    /// Steps of products over so many elements.
    pub(super) fn steps(&self, elements: IntValue<'c>) -> IntValue<'c> {
        match self.tile.factors {
            Factors::F32 => elements,
            Factors::Pairs => self.code.ceil_div(elements, 2),
        }
    }

    /// Those of a head's width.
    pub(super) fn width_steps(&self) -> i64 {
        let of_step = self.tile.factors.count();
        (self.a.head_dim + of_step - 1) / of_step
    }

    /// Those of time.
    pub(super) fn time_steps(&self) -> Dim {
        blocks(&self.a.time, self.tile.factors.count())
    }

    /// Bytes of the steps of a panel up to an even number of elements.
    pub(super) fn steps_bytes(&self, elements: IntValue<'c>) -> IntValue<'c> {
        self.code.scale(self.steps(elements), self.tile.step_bytes())
    }

    /// Whether rows of heads are steps as they lie in memory.
    pub(super) fn in_place(&self) -> bool {
        self.a.head_dim % self.tile.factors.count() == 0
    }

    /// Bytes of copies of a block's rows, where they are not read in place.
    pub(super) fn copies_bytes(&self) -> i64 {
        if self.in_place() {
            0
        } else {
            self.queries() * self.copy_stride()
        }
    }

    /// Bytes from one of them to the next, with room for a vector more.
    fn copy_stride(&self) -> i64 {
        4 * self.width_steps() + 64
    }

    /// Panels that hold the columns of a head.
    pub(super) fn width_panels(&self) -> i64 {
        (self.a.head_dim + self.tile.columns() - 1) / self.tile.columns()
    }

    /// Bytes of the packed keys of one head: their positions are the columns.
    pub(super) fn keys_bytes(&self) -> Dim {
        blocks(&self.a.time, self.tile.columns()) * Dim::from(self.keys_panel())
    }

    /// Bytes of one of their panels.
    pub(super) fn keys_panel(&self) -> i64 {
        self.width_steps() * self.tile.step_bytes()
    }

    /// Bytes of the packed values of one head: their positions are the depth.
    pub(super) fn values_bytes(&self) -> Dim {
        self.time_steps() * Dim::from(self.width_panels() * self.tile.step_bytes())
    }

    /// Bytes of one row of `head_dim` elements in whole panels.
    pub(super) fn row_stride(&self) -> i64 {
        self.width_panels() * self.tile.step_bytes()
    }

    /// Bytes of a block of such rows.
    pub(super) fn rows_bytes(&self) -> i64 {
        self.queries() * self.row_stride()
    }

    /// Bytes of one number per query of a block, in whole cache lines.
    pub(super) fn sums_bytes(&self) -> i64 {
        (4 * self.queries() + 63) / 64 * 64
    }

    // ---- places ----------------------------------------------------------------------------------------------------

    pub(super) fn head(&self, batch: IntValue<'c>, head: IntValue<'c>) -> Head<'c> {
        let (e, code) = (self.e, &self.code);
        let flat = code.add(code.scale(batch, self.a.heads), head);
        let length = e.load(DType::I32, e.at(DType::I32, e.slot(self.a.lengths), batch));
        let length = e.resize(length, 64).into_int_value();
        let length = code.min(code.max(length, code.int(0)), e.dim(&self.a.time));
        Head {
            batch,
            head,
            flat,
            length,
        }
    }

    /// The address of a head's row at `time`.
    pub(super) fn row(&self, view: &HeadView, head: Head<'c>, time: IntValue<'c>) -> PointerValue<'c> {
        let e = self.e;
        let terms = [(head.batch, &view.batch), (time, &view.time), (head.head, &view.head)];
        let at = terms.into_iter().fold(e.dim(&view.base), |at, (i, stride)| {
            e.iadd(at, e.imul(i, e.dim(stride)))
        });
        e.at(self.dtype, e.slot(view.slot), at)
    }

    /// Bytes from row to row of a head.
    pub(super) fn time_bytes(&self, view: &HeadView) -> IntValue<'c> {
        self.e.dim(&(view.time.clone() * Dim::from(self.dtype.bytes() as i64)))
    }

    /// The place of a query among all, as in `lse`.
    pub(super) fn query(&self, head: Head<'c>, time: IntValue<'c>) -> IntValue<'c> {
        self.code.add(self.code.mul(head.flat, self.e.dim(&self.a.time)), time)
    }

    pub(super) fn lse(&self, head: Head<'c>, time: IntValue<'c>) -> PointerValue<'c> {
        self.e.at(DType::F32, self.e.slot(self.a.lse), self.query(head, time))
    }

    pub(super) fn dropout(&self, head: Head<'c>, time: IntValue<'c>) -> Option<Dropout<'c>> {
        let e = self.e;
        self.a.dropout.as_ref().map(|d| {
            let (rate, kept) = e.in_head(|| {
                let rate = e.load(DType::F32, e.slot(d.rate));
                (rate, e.fdiv(e.f32(1.0), e.fsub(e.f32(1.0), rate)))
            });
            let first = e.imul(self.query(head, time), e.dim(&self.a.time));
            Dropout {
                keys: e.random_keys(d.seed, d.site),
                rate,
                kept,
                first,
            }
        })
    }

    /// `v` (lanes of keys from `key` on) after dropout; the same keys stay whatever `v` is.
    pub(super) fn drop(&self, dropout: &Dropout<'c>, key: IntValue<'c>, v: V<'c>) -> V<'c> {
        let e = self.e;
        let first = e.resize(e.iadd(dropout.first, key).into(), 32);
        let random = e.uniform(dropout.keys, e.add(first, e.iota(false)));
        e.select(
            e.fcmp(FloatPredicate::OLT, random, dropout.rate),
            e.f32(0.0),
            e.fmul(v, dropout.kept),
        )
    }

    /// `v` in the lanes of the mask, `other` elsewhere.
    pub(super) fn masked(&self, mask: VectorValue<'c>, v: V<'c>, other: f32) -> V<'c> {
        let other = self.e.splat(self.e.f32(other), self.e.lanes);
        self.e.select(mask.into(), v, other)
    }

    // ---- steps -----------------------------------------------------------------------------------------------------

    pub(super) fn multiply(&self, p: Product<'c>) {
        let args = [
            p.a.into(),
            p.a_stride.into(),
            p.rows.into(),
            p.panels.into(),
            p.panel_bytes.into(),
            p.panel_count.into(),
            p.depth.into(),
            p.c.into(),
            p.c_stride.into(),
            p.accumulate.into(),
        ];
        self.code.call(gemm::product(self.e.unit, self.tile, p.layout), &args);
    }

    /// Scores of `rows` rows from `time` on of `view`, against `count` packed keys (or values, transposed). `copies` has room
    /// for the rows where they are not read in place.
    pub(super) fn scores(
        &self,
        (view, head, time): (&HeadView, Head<'c>, IntValue<'c>),
        rows: IntValue<'c>,
        (panels, count): (PointerValue<'c>, IntValue<'c>),
        (to, stride): (PointerValue<'c>, IntValue<'c>),
        copies: PointerValue<'c>,
    ) {
        let code = &self.code;
        let (row, row_bytes) = (self.row(view, head, time), self.time_bytes(view));
        let (a, a_stride) = if self.in_place() {
            (row, row_bytes)
        } else {
            let stride = code.int(self.copy_stride());
            let copy = gemm::copy_pairs(self.e.unit, self.tile, Order::Depth, self.dtype);
            let (width, element) = (code.int(self.a.head_dim), code.int(self.dtype.bytes() as i64));
            let (from, of_row) = (row.into(), row_bytes.into());
            code.call(
                copy,
                &[
                    from,
                    of_row,
                    element.into(),
                    rows.into(),
                    width.into(),
                    copies.into(),
                    stride.into(),
                ],
            );
            (copies, stride)
        };
        self.multiply(Product {
            layout: Layout::Rows,
            a,
            a_stride,
            rows,
            panels,
            panel_bytes: code.int(self.keys_panel()),
            panel_count: code.ceil_div(count, self.tile.columns()),
            depth: code.int(self.width_steps()),
            c: to,
            c_stride: stride,
            accumulate: code.int(0),
        });
    }

    /// Packs rows `first..first + count` with their positions as columns; `to` is where the first panel begins.
    pub(super) fn pack_transposed(
        &self,
        (view, head, first): (&HeadView, Head<'c>, IntValue<'c>),
        count: IntValue<'c>,
        to: PointerValue<'c>,
    ) {
        let code = &self.code;
        let pack = match self.tile.factors {
            Factors::F32 => gemm::pack_along_depth(self.e.unit, self.tile),
            Factors::Pairs => gemm::pack_pairs(self.e.unit, self.tile, Order::Depth, self.dtype),
        };
        let (from, row_bytes) = (self.row(view, head, first).into(), self.time_bytes(view).into());
        let (width, panel_bytes) = (self.a.head_dim, code.int(self.keys_panel()).into());
        let args = [
            from,
            row_bytes,
            code.int(self.dtype.bytes() as i64).into(),
            count.into(),
            code.int(width).into(),
            to.into(),
            panel_bytes,
        ];
        code.call(pack, &args);
    }

    /// Packs rows `first..first + count` with their positions as depth.
    pub(super) fn pack(
        &self,
        (view, head, first): (&HeadView, Head<'c>, IntValue<'c>),
        count: IntValue<'c>,
        to: PointerValue<'c>,
        panel_bytes: IntValue<'c>,
    ) {
        let code = &self.code;
        let pack = match self.tile.factors {
            Factors::F32 => gemm::pack_along_columns(self.e.unit, self.tile),
            Factors::Pairs => gemm::pack_pairs(self.e.unit, self.tile, Order::Free, self.dtype),
        };
        let (from, row_bytes) = (self.row(view, head, first).into(), self.time_bytes(view).into());
        let width = code.int(self.a.head_dim).into();
        code.call(
            pack,
            &[
                from,
                code.int(self.dtype.bytes() as i64).into(),
                row_bytes,
                width,
                count.into(),
                to.into(),
                panel_bytes.into(),
            ],
        );
    }

    /// Writes `count` rows of scratch (0 where there is none) to a head's rows from `first` on.
    pub(super) fn write_rows(
        &self,
        (view, head, first): (&HeadView, Head<'c>, IntValue<'c>),
        count: IntValue<'c>,
        from: Option<PointerValue<'c>>,
        factor: impl Fn(IntValue<'c>) -> Option<V<'c>>,
    ) {
        let (e, code) = (self.e, &self.code);
        code.each(code.int(0), count, 1, |i| {
            let factor = factor(i);
            let to = self.row(view, head, code.add(first, i));
            let from = from.map(|from| code.at(from, code.scale(i, self.row_stride())));
            code.each_vector(code.int(self.a.head_dim), |at, mask| {
                let sums = |from| e.load_vector(DType::F32, e.at(DType::F32, from, at), None);
                let v = from.map_or(e.f32(0.0), sums);
                let v = factor.map_or(v, |factor| e.fmul(v, factor));
                e.store_vector(self.dtype, e.at(self.dtype, to, at), v, mask);
            });
        });
    }
}
