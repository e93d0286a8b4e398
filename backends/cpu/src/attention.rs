//! Attention: one block of queries of one head against all of its keys, so that only `Setting::queries` rows of scores
//! exist at a time.
//!
//! A first entry packs the keys (transposed) and values of every head into the workspace. Each item of the second multiplies
//! its queries with all keys that count, makes probabilities of the scores in place, and multiplies these with the values.
//! Scores are masked by never being computed: only the first `lengths[b]` keys take part.

mod grad;

use crate::Error;
use crate::entry::{Emitted, Entry, Unit, V};
use crate::gemm::code::Code;
use crate::gemm::{self, Layout, Tile};
use inkwell::FloatPredicate;
use inkwell::values::{IntValue, PointerValue, VectorValue};
use ir::dim::Dim;
use ir::kernel::{Attention, HeadView, Kernel};
use ir::scalar::DType;

pub use grad::emit as emit_grad;

/// Keys that one item of the packing entry packs.
const PACK_KEYS: i64 = 256;
/// Elements between the rows of scores beyond whole panels: rows do not compete for the same cache sets.
const ROW_PADDING: i64 = 16;

/// Writes the entry functions of attention.
pub fn emit(unit: &Unit, name: &str, kernel: &Kernel, body: &Attention) -> Result<Emitted, Error> {
    let pack_name = format!("{name}_pack");
    let tile = Tile::for_lanes(unit.target.lanes());
    let pack = unit.entry(&pack_name, &kernel.slots);
    Setting {
        e: &pack,
        code: Code::of(&pack),
        tile,
        a: body,
    }
    .write_pack();
    pack.finish();
    let main = unit.entry(name, &kernel.slots);
    let s = Setting {
        e: &main,
        code: Code::of(&main),
        tile,
        a: body,
    };
    s.write_forward();
    let (heads, scratch) = (
        s.all_heads(),
        s.scores_bytes() + Dim::from(s.sums_bytes() + s.rows_bytes()),
    );
    let workspace = heads.clone() * (s.keys_bytes() + s.values_bytes());
    let entries = vec![
        (pack_name, heads.clone() * blocks(&body.time, PACK_KEYS)),
        (name.into(), heads * blocks(&body.time, s.queries())),
    ];
    main.finish();
    Ok(Emitted {
        entries,
        workspace,
        scratch,
    })
}

fn blocks(d: &Dim, by: i64) -> Dim {
    (d.clone() + Dim::from(by - 1)).floor_div(by)
}

/// What the code of attention and of its gradients has in common.
struct Setting<'e, 'u, 'c> {
    e: &'e Entry<'u, 'c>,
    code: Code<'e, 'c>,
    tile: Tile,
    a: &'e Attention,
}

/// One head of one batch element.
#[derive(Clone, Copy)]
struct Head<'c> {
    batch: IntValue<'c>,
    head: IntValue<'c>,
    /// Number among all heads.
    flat: IntValue<'c>,
    /// Keys that count.
    length: IntValue<'c>,
}

/// Dropout of the probabilities of one query.
struct Dropout<'c> {
    keys: [IntValue<'c>; 2],
    rate: V<'c>,
    /// What a probability that stays is multiplied with.
    kept: V<'c>,
    /// The random counter of key 0, i64.
    first: IntValue<'c>,
}

/// Operands of a product, see `gemm::product`.
struct Product<'c> {
    layout: Layout,
    a: PointerValue<'c>,
    a_stride: IntValue<'c>,
    rows: IntValue<'c>,
    panels: PointerValue<'c>,
    panel_bytes: IntValue<'c>,
    panel_count: IntValue<'c>,
    depth: IntValue<'c>,
    c: PointerValue<'c>,
    c_stride: IntValue<'c>,
    accumulate: IntValue<'c>,
}

impl<'e, 'u, 'c> Setting<'e, 'u, 'c> {
    // ---- sizes -----------------------------------------------------------------------------------------------------

    fn all_heads(&self) -> Dim {
        self.a.batch.clone() * Dim::from(self.a.heads)
    }

    /// Queries of a block: whole tiles, about 64.
    fn queries(&self) -> i64 {
        let rows = self.tile.rows as i64;
        (64 + rows / 2) / rows * rows
    }

    /// Panels that hold the columns of a head.
    fn width_panels(&self) -> i64 {
        (self.a.head_dim + self.tile.columns() - 1) / self.tile.columns()
    }

    /// Bytes of the packed keys of one head: their positions are the columns.
    fn keys_bytes(&self) -> Dim {
        blocks(&self.a.time, self.tile.columns()) * Dim::from(self.a.head_dim * self.tile.step_bytes())
    }

    /// Bytes of the packed values of one head: their positions are the depth.
    fn values_bytes(&self) -> Dim {
        self.a.time.clone() * Dim::from(self.width_panels() * self.tile.step_bytes())
    }

    /// Bytes from one query's scores to the next one's.
    fn scores_stride(&self) -> Dim {
        blocks(&self.a.time, self.tile.columns()) * Dim::from(self.tile.step_bytes()) + Dim::from(4 * ROW_PADDING)
    }

    fn scores_bytes(&self) -> Dim {
        self.scores_stride() * Dim::from(self.queries())
    }

    /// Bytes of one row of `head_dim` elements in whole panels.
    fn row_stride(&self) -> i64 {
        self.width_panels() * self.tile.step_bytes()
    }

    /// Bytes of a block of such rows.
    fn rows_bytes(&self) -> i64 {
        self.queries() * self.row_stride()
    }

    /// Bytes of one number per query of a block, in whole cache lines.
    fn sums_bytes(&self) -> i64 {
        (4 * self.queries() + 63) / 64 * 64
    }

    // ---- places ----------------------------------------------------------------------------------------------------

    fn head(&self, batch: IntValue<'c>, head: IntValue<'c>) -> Head<'c> {
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
    fn row(&self, view: &HeadView, head: Head<'c>, time: IntValue<'c>) -> PointerValue<'c> {
        let e = self.e;
        let terms = [(head.batch, &view.batch), (time, &view.time), (head.head, &view.head)];
        let at = terms.into_iter().fold(e.dim(&view.base), |at, (i, stride)| {
            e.iadd(at, e.imul(i, e.dim(stride)))
        });
        e.at(DType::F32, e.slot(view.slot), at)
    }

    /// Bytes from row to row of a head.
    fn time_bytes(&self, view: &HeadView) -> IntValue<'c> {
        self.e.dim(&(view.time.clone() * Dim::from(4)))
    }

    /// The place of a query among all, as in `lse`.
    fn query(&self, head: Head<'c>, time: IntValue<'c>) -> IntValue<'c> {
        self.code.add(self.code.mul(head.flat, self.e.dim(&self.a.time)), time)
    }

    fn lse(&self, head: Head<'c>, time: IntValue<'c>) -> PointerValue<'c> {
        self.e.at(DType::F32, self.e.slot(self.a.lse), self.query(head, time))
    }

    fn dropout(&self, head: Head<'c>, time: IntValue<'c>) -> Option<Dropout<'c>> {
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
    fn drop(&self, dropout: &Dropout<'c>, key: IntValue<'c>, v: V<'c>) -> V<'c> {
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
    fn masked(&self, mask: VectorValue<'c>, v: V<'c>, other: f32) -> V<'c> {
        let other = self.e.splat(self.e.f32(other), self.e.lanes);
        self.e.select(mask.into(), v, other)
    }

    // ---- steps -----------------------------------------------------------------------------------------------------

    fn multiply(&self, p: Product<'c>) {
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

    /// Scores of `rows` rows from `time` on of `view`, against packed keys (or values, transposed).
    fn scores(
        &self,
        (view, head, time): (&HeadView, Head<'c>, IntValue<'c>),
        rows: IntValue<'c>,
        panels: PointerValue<'c>,
        to: PointerValue<'c>,
    ) {
        let code = &self.code;
        self.multiply(Product {
            layout: Layout::Rows,
            a: self.row(view, head, time),
            a_stride: self.time_bytes(view),
            rows,
            panels,
            panel_bytes: code.int(self.a.head_dim * self.tile.step_bytes()),
            panel_count: code.ceil_div(head.length, self.tile.columns()),
            depth: code.int(self.a.head_dim),
            c: to,
            c_stride: self.e.dim(&self.scores_stride()),
            accumulate: code.int(0),
        });
    }

    /// Packs rows `first..first + count` with their positions as columns; `to` is where the first panel begins.
    fn pack_transposed(
        &self,
        (view, head, first): (&HeadView, Head<'c>, IntValue<'c>),
        count: IntValue<'c>,
        to: PointerValue<'c>,
    ) {
        let code = &self.code;
        let pack = gemm::pack_along_depth(self.e.unit, self.tile);
        let (from, row_bytes) = (self.row(view, head, first).into(), self.time_bytes(view).into());
        let (width, panel_bytes) = (
            self.a.head_dim,
            code.int(self.a.head_dim * self.tile.step_bytes()).into(),
        );
        let args = [
            from,
            row_bytes,
            code.int(4).into(),
            count.into(),
            code.int(width).into(),
            to.into(),
            panel_bytes,
        ];
        code.call(pack, &args);
    }

    /// Packs rows `first..first + count` with their positions as depth.
    fn pack(
        &self,
        (view, head, first): (&HeadView, Head<'c>, IntValue<'c>),
        count: IntValue<'c>,
        to: PointerValue<'c>,
        panel_bytes: IntValue<'c>,
    ) {
        let code = &self.code;
        let pack = gemm::pack_along_columns(self.e.unit, self.tile);
        let (from, row_bytes) = (self.row(view, head, first).into(), self.time_bytes(view).into());
        let width = code.int(self.a.head_dim).into();
        code.call(
            pack,
            &[
                from,
                code.int(4).into(),
                row_bytes,
                width,
                count.into(),
                to.into(),
                panel_bytes.into(),
            ],
        );
    }

    /// Writes `count` rows of scratch (0 where there is none) to a head's rows from `first` on.
    fn write_rows(
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
                let at = code.scale(at, 4);
                let v = from.map_or(e.f32(0.0), |from| e.load_vector(DType::F32, code.at(from, at), None));
                let v = factor.map_or(v, |factor| e.fmul(v, factor));
                e.store_vector(DType::F32, code.at(to, at), v, mask);
            });
        });
    }

    // ---- forward ---------------------------------------------------------------------------------------------------

    fn keys_of(&self, head: Head<'c>) -> PointerValue<'c> {
        let e = self.e;
        e.byte_at(
            e.workspace,
            e.imul(head.flat, e.dim(&(self.keys_bytes() + self.values_bytes()))),
        )
    }

    fn values_of(&self, head: Head<'c>) -> PointerValue<'c> {
        self.e.byte_at(self.keys_of(head), self.e.dim(&self.keys_bytes()))
    }

    /// Bytes of a panel of values.
    fn value_panel(&self) -> IntValue<'c> {
        self.e.dim(&(self.a.time.clone() * Dim::from(self.tile.step_bytes())))
    }

    fn write_pack(&self) {
        let (e, code, a) = (self.e, &self.code, self.a);
        let items = [a.batch.clone(), Dim::from(a.heads), blocks(&a.time, PACK_KEYS)];
        code.each(e.begin, e.end, 1, |item| {
            let at = e.unravel(item, &items);
            let (head, first) = (self.head(at[0], at[1]), code.scale(at[2], PACK_KEYS));
            let count = code.min(code.sub(head.length, first), code.int(PACK_KEYS));
            code.when(code.less(code.int(0), count), || {
                let to = code.at(self.keys_of(head), code.scale(first, a.head_dim * 4));
                self.pack_transposed((&a.k, head, first), count, to);
                let to = code.at(self.values_of(head), code.scale(first, self.tile.step_bytes()));
                self.pack((&a.v, head, first), count, to, self.value_panel());
            });
        });
    }

    fn write_forward(&self) {
        let (e, code, a) = (self.e, &self.code, self.a);
        let items = [a.batch.clone(), Dim::from(a.heads), blocks(&a.time, self.queries())];
        let sums = e.scratch;
        let outs = code.at_const(sums, self.sums_bytes());
        let scores = code.at_const(outs, self.rows_bytes());
        let stride = e.dim(&self.scores_stride());
        code.each(e.begin, e.end, 1, |item| {
            let at = e.unravel(item, &items);
            let (head, first) = (self.head(at[0], at[1]), code.scale(at[2], self.queries()));
            let rows = code.min(code.sub(e.dim(&a.time), first), code.int(self.queries()));
            self.scores((&a.q, head, first), rows, self.keys_of(head), scores);
            code.each(code.int(0), rows, 1, |i| {
                let scores = code.at(scores, code.mul(i, stride));
                let factor = self.write_softmax(head, code.add(first, i), scores);
                e.store(e.at(DType::F32, sums, i), factor);
            });
            self.multiply(Product {
                layout: Layout::Rows,
                a: scores,
                a_stride: stride,
                rows,
                panels: self.values_of(head),
                panel_bytes: self.value_panel(),
                panel_count: code.int(self.width_panels()),
                depth: head.length,
                c: outs,
                c_stride: code.int(self.row_stride()),
                accumulate: code.int(0),
            });
            self.write_rows((&a.out, head, first), rows, Some(outs), |i| {
                Some(e.load(DType::F32, e.at(DType::F32, sums, i)))
            });
        });
    }

    /// Turns a query's scores into probabilities after dropout, up to a factor, which is given; writes its `lse`.
    fn write_softmax(&self, head: Head<'c>, query: IntValue<'c>, scores: PointerValue<'c>) -> V<'c> {
        let (e, code) = (self.e, &self.code);
        let scale = e.f32(f64::from_bits(self.a.scale) as f32);
        let keys = (code.int(0), head.length, e.lanes as i64);
        let splat = |v| e.splat(e.f32(v), e.lanes);
        // Scratch holds whole vectors: only lanes need masks, not accesses.
        let scaled = |key| {
            let at = e.at(DType::F32, scores, key);
            (at, e.fmul(e.load_vector(DType::F32, at, None), scale))
        };
        let max = code.fold(keys, &[splat(f32::NEG_INFINITY)], |key, max| {
            let (_, score) = scaled(key);
            vec![e.fmax(
                max[0],
                self.masked(e.lane_mask(key, head.length), score, f32::NEG_INFINITY),
            )]
        });
        let max = e.fold_lanes(max[0], &|x, y| e.fmax(x, y));
        let dropout = self.dropout(head, query);
        let sum = code.fold(keys, &[splat(0.0)], |key, sum| {
            let (at, score) = scaled(key);
            let p = self.masked(e.lane_mask(key, head.length), e.exp(e.fsub(score, max)), 0.0);
            let kept = dropout.as_ref().map_or(p, |dropout| self.drop(dropout, key, p));
            e.store_vector(DType::F32, at, kept, None);
            vec![e.fadd(sum[0], p)]
        });
        let sum = e.fold_lanes(sum[0], &|x, y| e.fadd(x, y));
        // Without keys: log(0) - inf = -inf, and a factor of 0 where 1 / 0 would make NaN of the zeros.
        e.store(self.lse(head, query), e.fadd(max, e.log(sum)));
        let some = code.less(code.int(0), head.length);
        e.select(some.into(), e.fdiv(e.f32(1.0), sum), e.f32(0.0))
    }
}

#[cfg(test)]
mod tests;
