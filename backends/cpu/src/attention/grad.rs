//! The gradients of attention, one head per item, block of queries by block of queries.
//!
//! Probabilities are recomputed from the log-sum-exp. With p the probabilities, f what dropout multiplies them with and
//! D_i = <d_out_i, out_i>, the gradients are (Dao et al. 2022, appendix B):
//!
//! dv = (f p)^T d_out,  ds = scale * p (f (d_out v^T) - D),  dq = ds k,  dk = ds^T q

use super::setting::{Head, Product, ROW_PADDING, Setting, blocks};
use crate::Error;
use crate::bf16;
use crate::entry::{Emitted, Unit};
use crate::gemm::{Factors, Layout};
use inkwell::values::{IntValue, PointerValue};
use ir::dim::Dim;
use ir::kernel::{AttentionGrad, Kernel};
use ir::scalar::DType;

/// Keys that every vector's length divides.
const VECTOR_KEYS: i64 = 16;

/// Writes the entry function of the gradients of attention.
pub fn emit(unit: &Unit, name: &str, kernel: &Kernel, body: &AttentionGrad) -> Result<Emitted, Error> {
    let e = unit.entry(name, &kernel.slots);
    let s = Setting::new(&e, &body.forward);
    let parts = Parts::sizes(&s);
    s.write_backward(body, &parts);
    let (items, scratch) = (
        s.all_heads(),
        parts.into_iter().fold(Dim::default(), |sum, part| sum + part),
    );
    e.finish();
    Ok(Emitted {
        entries: vec![(name.into(), items)],
        prepares: None,
        workspace: Dim::default(),
        scratch,
        ..Emitted::default()
    })
}

/// Parts of a thread's scratch.
struct Parts<'c> {
    /// Positions as columns: packed for products whose result has a column per key.
    keys_transposed: PointerValue<'c>,
    values_transposed: PointerValue<'c>,
    /// Positions as depth.
    keys: PointerValue<'c>,
    /// The block's queries and their gradients, positions as depth.
    queries: PointerValue<'c>,
    d_outs: PointerValue<'c>,
    /// Scores, then probabilities after dropout: a row per query of the block.
    scores: PointerValue<'c>,
    /// Gradients of these, then those of the scores.
    d_scores: PointerValue<'c>,
    dq: PointerValue<'c>,
    dk: PointerValue<'c>,
    dv: PointerValue<'c>,
    /// In bf16: gradients of scores, a row per query, and rows that are not read in place.
    d_rows: PointerValue<'c>,
    copies: PointerValue<'c>,
}

impl<'c> Parts<'c> {
    /// Bytes of the parts, in the order above.
    fn sizes(s: &Setting) -> [Dim; 12] {
        let rows = Dim::from(s.rows_bytes());
        let all_rows = s.a.time.clone() * Dim::from(s.row_stride());
        let (keys, values, scores) = (s.keys_bytes(), s.values_bytes(), s.scores_bytes());
        let [block, sums] = [rows.clone(), all_rows];
        [
            keys.clone(),
            keys,
            values,
            block.clone(),
            block.clone(),
            scores.clone(),
            scores,
            block,
            sums.clone(),
            sums,
            s.d_rows_bytes(),
            Dim::from(s.copies_bytes()),
        ]
    }

    fn new(s: &Setting<'_, '_, 'c>, sizes: &[Dim; 12]) -> Parts<'c> {
        let mut offset = Dim::default();
        let at = sizes.each_ref().map(|size| {
            let at = s.e.byte_at(s.e.scratch, s.e.dim(&offset));
            offset = offset.clone() + size.clone();
            at
        });
        let [
            keys_transposed,
            values_transposed,
            keys,
            queries,
            d_outs,
            scores,
            d_scores,
            dq,
            dk,
            dv,
            d_rows,
            copies,
        ] = at;
        Parts {
            keys_transposed,
            values_transposed,
            keys,
            queries,
            d_outs,
            scores,
            d_scores,
            dq,
            dk,
            dv,
            d_rows,
            copies,
        }
    }
}

impl<'c> Setting<'_, '_, 'c> {
    /// Bytes from one query's scores of all keys to the next one's.
    fn scores_stride(&self) -> Dim {
        blocks(&self.a.time, self.tile.columns()) * Dim::from(self.tile.step_bytes()) + Dim::from(4 * ROW_PADDING)
    }

    fn scores_bytes(&self) -> Dim {
        self.scores_stride() * Dim::from(self.queries())
    }

    /// Bytes from one query's row of gradients of scores in bf16 to the next one's: whole vectors of keys.
    fn d_rows_stride(&self) -> Dim {
        blocks(&self.a.time, VECTOR_KEYS) * Dim::from(2 * VECTOR_KEYS) + Dim::from(4 * ROW_PADDING)
    }

    fn d_rows_bytes(&self) -> Dim {
        match self.tile.factors {
            Factors::F32 => Dim::default(),
            Factors::Pairs => self.d_rows_stride() * Dim::from(self.queries()),
        }
    }

    fn write_backward(&self, g: &AttentionGrad, sizes: &[Dim; 12]) {
        let (e, code, a) = (self.e, &self.code, self.a);
        let zero = code.int(0);
        let time = e.dim(&a.time);
        let parts = Parts::new(self, sizes);
        let stride = e.dim(&self.scores_stride());
        let block_panel = self.steps_bytes(code.int(self.queries()));
        let (step_stride, d_rows, d_rows_stride) = match self.tile.factors {
            Factors::F32 => (stride, parts.d_scores, stride),
            Factors::Pairs => (code.scale(stride, 2), parts.d_rows, e.dim(&self.d_rows_stride())),
        };
        code.each(e.begin, e.end, 1, |item| {
            let at = e.unravel(item, &[a.batch.clone(), Dim::from(a.heads)]);
            let head = self.head(at[0], at[1]);
            self.pack_transposed((&a.k, head, zero), head.length, parts.keys_transposed);
            self.pack_transposed((&a.v, head, zero), head.length, parts.values_transposed);
            self.pack((&a.k, head, zero), head.length, parts.keys, self.value_panel());
            code.each(zero, time, self.queries(), |first| {
                let rows = code.min(code.sub(time, first), code.int(self.queries()));
                self.pack((&a.q, head, first), rows, parts.queries, block_panel);
                self.pack((&g.d_out, head, first), rows, parts.d_outs, block_panel);
                let scores = |view, panels, to| {
                    self.scores(
                        (view, head, first),
                        rows,
                        (panels, head.length),
                        (to, stride),
                        parts.copies,
                    )
                };
                scores(&a.q, parts.keys_transposed, parts.scores);
                scores(&g.d_out, parts.values_transposed, parts.d_scores);
                code.each(zero, rows, 1, |i| {
                    let [p, ds] = [parts.scores, parts.d_scores].map(|rows| code.at(rows, code.mul(i, stride)));
                    self.write_score_grads(g, head, code.add(first, i), p, ds);
                });
                if self.tile.factors == Factors::Pairs {
                    let to = (parts.d_rows, d_rows_stride);
                    self.pair_up((parts.scores, stride), (rows, head.length), None);
                    self.pair_up((parts.d_scores, stride), (rows, head.length), Some(to));
                }
                let later = code.select(code.less(zero, first), code.int(1), zero).into_int_value();
                let over_queries = |a, panels, c| Product {
                    layout: Layout::Columns,
                    a,
                    a_stride: step_stride,
                    rows: head.length,
                    panels,
                    panel_bytes: block_panel,
                    panel_count: code.int(self.width_panels()),
                    depth: self.steps(rows),
                    c,
                    c_stride: code.int(self.row_stride()),
                    accumulate: later,
                };
                self.multiply(over_queries(parts.scores, parts.d_outs, parts.dv));
                self.multiply(over_queries(parts.d_scores, parts.queries, parts.dk));
                self.multiply(Product {
                    layout: Layout::Rows,
                    a_stride: d_rows_stride,
                    rows,
                    panels: parts.keys,
                    panel_bytes: self.value_panel(),
                    depth: self.steps(head.length),
                    accumulate: zero,
                    ..over_queries(d_rows, parts.queries, parts.dq)
                });
                self.write_rows((&g.dq, head, first), rows, Some(parts.dq), |_| None);
            });
            for (view, sums) in [(&g.dk, parts.dk), (&g.dv, parts.dv)] {
                self.write_rows((view, head, zero), head.length, Some(sums), |_| None);
                self.write_rows((view, head, head.length), code.sub(time, head.length), None, |_| None);
            }
        });
    }

    /// Brings rows of f32 into steps of two queries each, the pairs of a step side by side in the place of its first row. Where
    /// `rows_to` says so each row is also written there by itself, in bf16.
    fn pair_up(
        &self,
        (from, stride): (PointerValue<'c>, IntValue<'c>),
        (rows, keys): (IntValue<'c>, IntValue<'c>),
        rows_to: Option<(PointerValue<'c>, IntValue<'c>)>,
    ) {
        let (e, code) = (self.e, &self.code);
        let (whole, odd) = code.div_rem(rows, code.int(2));
        let step = |pair: IntValue<'c>, two: bool| {
            let first = code.scale(pair, 2);
            let row = |i: i64| code.at(from, code.mul(code.add(first, code.int(i)), stride));
            code.each(code.int(0), keys, e.lanes as i64, |key| {
                let rounded = |i: i64| {
                    let v = e.load_vector(DType::F32, e.at(DType::F32, row(i), key), None);
                    let v = bf16::round(e.unit, &e.b, v);
                    if let Some((to, stride)) = rows_to {
                        let to = code.at(to, code.mul(code.add(first, code.int(i)), stride));
                        code.store_bytes(e.at(DType::Bf16, to, key), v.into_vector_value());
                    }
                    v.into_vector_value()
                };
                let x = rounded(0);
                let y = if two { rounded(1) } else { x.get_type().const_zero() };
                let pairs = bf16::pairs(e.unit, &e.b, [x, y]);
                e.store_vector(DType::F32, e.at(DType::F32, row(0), key), pairs.into(), None);
            });
        };
        code.each(code.int(0), whole, 1, |pair| step(pair, true));
        code.when(code.less(code.int(0), odd), || step(whole, false));
    }

    /// Turns a query's scores into probabilities after dropout, and `ds` from gradients of these to those of the scores.
    fn write_score_grads(
        &self,
        g: &AttentionGrad,
        head: Head<'c>,
        query: IntValue<'c>,
        scores: PointerValue<'c>,
        ds: PointerValue<'c>,
    ) {
        let (e, code, a) = (self.e, &self.code, self.a);
        let scale = e.f32(f64::from_bits(a.scale) as f32);
        let lanes = e.lanes as i64;
        let (out, d_out) = (self.row(&a.out, head, query), self.row(&g.d_out, head, query));
        let width = code.int(a.head_dim);
        let start = e.splat(e.f32(0.0), e.lanes);
        let products = code.fold((code.int(0), width, lanes), &[start], |at, sum| {
            let mask = (a.head_dim % lanes != 0).then(|| e.lane_mask(at, width));
            let load = |row| e.load_vector(self.dtype, e.at(self.dtype, row, at), mask);
            vec![e.fma(load(out), load(d_out), sum[0])]
        });
        let mean = e.fold_lanes(products[0], &|x, y| e.fadd(x, y));
        let lse = e.load(DType::F32, self.lse(head, query));
        let dropout = self.dropout(head, query);
        code.each(code.int(0), head.length, lanes, |key| {
            let mask = e.lane_mask(key, head.length);
            let [at, d_at] = [scores, ds].map(|row| e.at(DType::F32, row, key));
            let [score, dp] = [at, d_at].map(|at| e.load_vector(DType::F32, at, None));
            let p = self.masked(mask, e.exp(e.fsub(e.fmul(score, scale), lse)), 0.0);
            let drop = |v| dropout.as_ref().map_or(v, |dropout| self.drop(dropout, key, v));
            let d_score = e.fmul(e.fmul(p, e.fsub(drop(dp), mean)), scale);
            e.store_vector(DType::F32, at, drop(p), None);
            // Not only times p = 0: what stands beyond the last key may be infinite.
            e.store_vector(DType::F32, d_at, self.masked(mask, d_score, 0.0), None);
        });
    }
}
