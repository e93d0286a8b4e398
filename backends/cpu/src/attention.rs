//! Attention: one block of queries of one head against one block of its keys after the other, so that scores never leave
//! the caches.
//!
//! A first entry packs the keys (transposed) and values of every head into the workspace. Each item of the second multiplies
//! its queries with some keys, makes exponentials of the scores in place, and multiplies these with the values. Where a later
//! block of keys has a greater score, what was summed up before is scaled down (Milakov & Gimelshein, Online normalizer
//! calculation for softmax, 2018). Scores are masked by never being computed: only the first `lengths[b]` keys take part.
//!
//! Where heads hold bf16, probabilities are rounded to it for their product with the values; sums and all else stay in f32.

mod grad;
mod setting;

use crate::Error;
use crate::entry::{Emitted, Unit, V};
use crate::gemm::Layout;
use inkwell::FloatPredicate;
use inkwell::values::{IntValue, PointerValue, VectorValue};
use ir::dim::Dim;
use ir::kernel::{Attention, Kernel};
use ir::scalar::DType;
use setting::{Head, Product, ROW_PADDING, Setting, blocks};

pub use grad::emit as emit_grad;

/// Keys that one item of the packing entry packs.
const PACK_KEYS: i64 = 256;
/// Keys of a block: whole panels. Their scores stay in L2 beside the keys and values.
const KEYS: i64 = 512;
/// Bytes from one query's scores to the next one's.
const SCORES_STRIDE: i64 = 4 * (KEYS + ROW_PADDING);
/// Vectors of scores that are looked through at a time, each for its own greatest.
const CHAINS: i64 = 4;

/// Writes the entry functions of attention.
pub fn emit(unit: &Unit, name: &str, kernel: &Kernel, body: &Attention) -> Result<Emitted, Error> {
    let pack_name = format!("{name}_pack");
    let pack = unit.entry(&pack_name, &kernel.slots);
    Setting::new(&pack, body).write_pack();
    pack.finish();
    let main = unit.entry(name, &kernel.slots);
    let s = Setting::new(&main, body);
    assert!(KEYS % s.tile.columns() == 0, "blocks of keys are whole panels");
    s.write_forward();
    let heads = s.all_heads();
    let of_block = s.rows_bytes() + s.queries() * SCORES_STRIDE + s.copies_bytes();
    let scratch = Dim::from(2 * s.sums_bytes() + of_block);
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
        self.e.dim(&(self.time_steps() * Dim::from(self.tile.step_bytes())))
    }

    fn write_pack(&self) {
        let (e, code, a) = (self.e, &self.code, self.a);
        let items = [a.batch.clone(), Dim::from(a.heads), blocks(&a.time, PACK_KEYS)];
        code.each(e.begin, e.end, 1, |item| {
            let at = e.unravel(item, &items);
            let (head, first) = (self.head(at[0], at[1]), code.scale(at[2], PACK_KEYS));
            let count = code.min(code.sub(head.length, first), code.int(PACK_KEYS));
            code.when(code.less(code.int(0), count), || {
                let to = code.at(self.keys_of(head), code.scale(first, self.width_steps() * 4));
                self.pack_transposed((&a.k, head, first), count, to);
                let to = code.at(self.values_of(head), self.steps_bytes(first));
                self.pack((&a.v, head, first), count, to, self.value_panel());
            });
        });
    }

    fn write_forward(&self) {
        let (e, code, a) = (self.e, &self.code, self.a);
        let items = [a.batch.clone(), Dim::from(a.heads), blocks(&a.time, self.queries())];
        let sums = e.scratch;
        let maxima = code.at_const(sums, self.sums_bytes());
        let outs = code.at_const(maxima, self.sums_bytes());
        let scores = code.at_const(outs, self.rows_bytes());
        let copies = code.at_const(scores, self.queries() * SCORES_STRIDE);
        code.each(e.begin, e.end, 1, |item| {
            let at = e.unravel(item, &items);
            let (head, first) = (self.head(at[0], at[1]), code.scale(at[2], self.queries()));
            let rows = code.min(code.sub(e.dim(&a.time), first), code.int(self.queries()));
            let each_query = |body: &dyn Fn(IntValue<'c>, [PointerValue<'c>; 2])| {
                code.each(code.int(0), rows, 1, |i| {
                    body(i, [sums, maxima].map(|all| e.at(DType::F32, all, i)))
                })
            };
            each_query(&|_, [sum, max]| {
                e.store(sum, e.f32(0.0));
                e.store(max, e.f32(f32::NEG_INFINITY));
            });
            // Without keys there are no values to add up, and a factor of 0 would make NaN of what is there.
            code.when(code.less(head.length, code.int(1)), || {
                code.each(
                    code.int(0),
                    code.scale(rows, self.row_stride()),
                    4 * code.lanes as i64,
                    |at| code.store(code.at(outs, at), code.zero()),
                )
            });
            code.each(code.int(0), head.length, KEYS, |key| {
                let count = code.min(code.sub(head.length, key), code.int(KEYS));
                let keys = code.at(self.keys_of(head), code.scale(key, self.width_steps() * 4));
                self.scores(
                    (&a.q, head, first),
                    rows,
                    (keys, count),
                    (scores, code.int(SCORES_STRIDE)),
                    copies,
                );
                each_query(&|i, state| {
                    let scores = code.at(scores, code.scale(i, SCORES_STRIDE));
                    let before = self.write_exponentials((head, code.add(first, i)), (key, count), scores, state);
                    code.when(code.less(code.int(0), key), || {
                        self.scale_row(code.at(outs, code.scale(i, self.row_stride())), before)
                    });
                });
                self.multiply(Product {
                    layout: Layout::Rows,
                    a: scores,
                    a_stride: code.int(SCORES_STRIDE),
                    rows,
                    panels: code.at(self.values_of(head), self.steps_bytes(key)),
                    panel_bytes: self.value_panel(),
                    panel_count: code.int(self.width_panels()),
                    depth: self.steps(count),
                    c: outs,
                    c_stride: code.int(self.row_stride()),
                    accumulate: code
                        .select(code.less(code.int(0), key), code.int(1), code.int(0))
                        .into_int_value(),
                });
            });
            let some = code.less(code.int(0), head.length);
            each_query(&|i, state| {
                let [sum, max] = state.map(|at| e.load(DType::F32, at));
                // Without keys: log(0) - inf = -inf, and a factor of 0 where 1 / 0 would make NaN of the zeros.
                e.store(self.lse(head, code.add(first, i)), e.fadd(max, e.log(sum)));
                e.store(state[0], e.select(some.into(), e.fdiv(e.f32(1.0), sum), e.f32(0.0)));
            });
            self.write_rows((&a.out, head, first), rows, Some(outs), |i| {
                Some(e.load(DType::F32, e.at(DType::F32, sums, i)))
            });
        });
    }

    /// Multiplies a row of sums in scratch.
    fn scale_row(&self, row: PointerValue<'c>, factor: V<'c>) {
        let (e, code) = (self.e, &self.code);
        code.each(code.int(0), code.int(self.row_stride()), 4 * e.lanes as i64, |at| {
            let at = code.at(row, at);
            e.store_vector(
                DType::F32,
                at,
                e.fmul(e.load_vector(DType::F32, at, None), factor),
                None,
            );
        });
    }

    /// Goes through vectors of `count` scores, the last of which may have lanes that do not count.
    fn fold_scores(
        &self,
        (from, count): (IntValue<'c>, IntValue<'c>),
        start: &[V<'c>],
        body: impl Fn(IntValue<'c>, Option<VectorValue<'c>>, &[V<'c>]) -> Vec<V<'c>>,
    ) -> Vec<V<'c>> {
        let (e, code) = (self.e, &self.code);
        let lanes = e.lanes as i64;
        let whole = code.sub(count, code.div_rem(count, code.int(lanes)).1);
        let state = code.fold((from, whole, lanes), start, |at, state| body(at, None, state));
        code.either(
            code.less(whole, count),
            || body(whole, Some(e.lane_mask(whole, count)), &state),
            || state.clone(),
        )
    }

    /// The greatest of `count` scores, scaled.
    fn greatest(&self, count: IntValue<'c>, scaled: impl Fn(IntValue<'c>) -> V<'c>) -> V<'c> {
        let (e, code) = (self.e, &self.code);
        let lanes = e.lanes as i64;
        let least = e.splat(e.f32(f32::NEG_INFINITY), e.lanes);
        let whole = code.sub(count, code.div_rem(count, code.int(CHAINS * lanes)).1);
        let chains = code.fold(
            (code.int(0), whole, CHAINS * lanes),
            &[least; CHAINS as usize],
            |at, chains| {
                let chain = |(n, max): (i64, &V<'c>)| e.fmax(*max, scaled(code.add(at, code.int(n * lanes))));
                (0..).zip(chains).map(chain).collect()
            },
        );
        let max = chains
            .into_iter()
            .reduce(|x, y| e.fmax(x, y))
            .expect("there are chains");
        let max = self.fold_scores((whole, count), &[max], |at, mask, max| {
            let score = scaled(at);
            let score = mask.map_or(score, |mask| self.masked(mask, score, f32::NEG_INFINITY));
            vec![e.fmax(max[0], score)]
        });
        e.fold_lanes(max[0], &|x, y| e.fmax(x, y))
    }

    /// Turns a query's scores of `count` keys from `key` on into exponentials of what they are above the greatest score so
    /// far, after dropout, as the values' products take them. Brings the sum of all and the greatest score up to date, and gives what earlier ones become by.
    fn write_exponentials(
        &self,
        (head, query): (Head<'c>, IntValue<'c>),
        (key, count): (IntValue<'c>, IntValue<'c>),
        scores: PointerValue<'c>,
        [sum_at, max_at]: [PointerValue<'c>; 2],
    ) -> V<'c> {
        let (e, code) = (self.e, &self.code);
        let scale = e.f32(f64::from_bits(self.a.scale) as f32);
        let place = |at| e.at(DType::F32, scores, at);
        // Scratch holds whole vectors: only lanes need masks, not accesses.
        let scaled = |at| e.fmul(e.load_vector(DType::F32, place(at), None), scale);
        let [sum_before, max_before] = [sum_at, max_at].map(|at| e.load(DType::F32, at));
        let max = e.fmax(max_before, self.greatest(count, scaled));
        e.store(max_at, max);
        // As long as all scores are -inf nothing is subtracted from them: -inf - -inf is no number.
        let least = e.f32(f32::NEG_INFINITY);
        let max = e.select(e.fcmp(FloatPredicate::OEQ, max, least), e.f32(0.0), max);
        let before = e.exp(e.fsub(max_before, max));
        let dropout = self.dropout(head, query);
        let zero = e.splat(e.f32(0.0), e.lanes);
        let sum = self.fold_scores((code.int(0), count), &[zero], |at, mask, sum| {
            let p = e.exp(e.fsub(scaled(at), max));
            let p = mask.map_or(p, |mask| self.masked(mask, p, 0.0));
            let kept = dropout
                .as_ref()
                .map_or(p, |dropout| self.drop(dropout, code.add(key, at), p));
            // bf16 never comes to lie on scores that are still to be read.
            e.store_vector(self.dtype, e.at(self.dtype, scores, at), kept, None);
            vec![e.fadd(sum[0], p)]
        });
        let sum = e.fold_lanes(sum[0], &|x, y| e.fadd(x, y));
        e.store(sum_at, e.fadd(e.fmul(sum_before, before), sum));
        before
    }
}

#[cfg(test)]
mod tests;
