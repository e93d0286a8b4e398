//! Attention: one block of queries of one head against all of its keys, so that only `Setting::queries` rows of scores
//! exist at a time.
//!
//! A first entry packs the keys (transposed) and values of every head into the workspace. Each item of the second multiplies
//! its queries with all keys that count, makes probabilities of the scores in place, and multiplies these with the values.
//! Scores are masked by never being computed: only the first `lengths[b]` keys take part.

mod grad;
mod setting;

use crate::Error;
use crate::entry::{Emitted, Unit, V};
use crate::gemm::Layout;
use inkwell::values::{IntValue, PointerValue};
use ir::dim::Dim;
use ir::kernel::{Attention, Kernel};
use ir::scalar::DType;
use setting::{Head, Product, Setting, blocks};

pub use grad::emit as emit_grad;

/// Keys that one item of the packing entry packs.
const PACK_KEYS: i64 = 256;

/// Writes the entry functions of attention.
pub fn emit(unit: &Unit, name: &str, kernel: &Kernel, body: &Attention) -> Result<Emitted, Error> {
    let pack_name = format!("{name}_pack");
    let pack = unit.entry(&pack_name, &kernel.slots);
    Setting::new(&pack, body).write_pack();
    pack.finish();
    let main = unit.entry(name, &kernel.slots);
    let s = Setting::new(&main, body);
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
        prepares: None,
        workspace,
        scratch,
        ..Emitted::default()
    })
}

impl<'c> Setting<'_, '_, 'c> {
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
