//! The gradients, in three functions: the means that the softmax takes out of its gradients; then those of keys and values, a
//! block of keys against all queries; then those of queries, a block of queries against all keys that count.
//!
//! With p the probabilities before dropout and d the factors of dropout: dv_j = sum over i of d_ij p_ij d_out_i, and the
//! gradient of a scaled score is p_ij (d_ij <d_out_i, v_j> - <d_out_i, out_i>).

use super::engine::{Engine, Part};
use super::setting::{Dropout, Setting};
use super::tile::Tile;
use crate::arith::Cmp;
use crate::builder::{Ty, V};
use crate::function::{Function, blocks_of};
use crate::warp::WARP;
use ir::dim::Dim;
use ir::kernel::{Attention, AttentionGrad};

/// Threads of a block of the first function.
pub const MEANS_THREADS: u32 = 256;

/// Rows of all heads: numbers in the workspace.
pub fn lines(a: &Attention) -> Dim {
    a.batch.clone() * Dim::from(a.heads) * a.time.clone()
}

pub fn means_blocks(a: &Attention) -> [Dim; 3] {
    let per_block = (MEANS_THREADS / WARP) as i64;
    [blocks_of(&lines(a), per_block), Dim::from(1), Dim::from(1)]
}

/// workspace[b, h, i] = <d_out_i, out_i>; a warp per row.
pub fn write_means(f: &Function, g: &AttentionGrad) {
    let a = &g.forward;
    let warps = f.i64((MEANS_THREADS / WARP) as i64);
    let line = f.add(f.mul(f.widen(f.block(0), Ty::I64), warps), f.widen(f.warp(), Ty::I64));
    let lane = f.lane();
    f.when(f.cmp(Cmp::Lt, line, f.dim(&lines(a))), || {
        let (head, t) = (f.udiv(line, f.dim(&a.time)), f.urem(line, f.dim(&a.time)));
        let heads = f.i64(a.heads);
        let place = [f.udiv(head, heads), t, f.urem(head, heads)];
        let [d_out, out] = [&g.d_out, &a.out].map(|view| {
            let strides = [&view.batch, &view.time, &view.head];
            let row = strides
                .iter()
                .zip(place)
                .fold(f.dim(&view.base), |at, (stride, i)| f.add(at, f.mul(i, f.dim(stride))));
            (view.slot, row)
        });
        let range = (lane, f.i32(a.head_dim as i32), f.i32(WARP as i32));
        let sum = f.for_carried(range, &[f.f32(0.0)], |e, sum| {
            let at = |(slot, row)| f.load_element(slot, f.add(row, f.widen(e, Ty::I64)));
            vec![f.fma(at(d_out), at(out), sum[0])]
        })[0];
        let sum = f.reduce_warp(sum, &|x, y| f.add(x, y));
        f.when(f.cmp(Cmp::Eq, lane, f.i32(0)), || {
            f.store(f.offset(f.workspace, Ty::F32, line), sum, 4);
        });
    });
}

fn map<'c>(part: &Part<'c>, f: impl Fn(usize, usize, V<'c>) -> V<'c>) -> Part<'c> {
    let row = |(r, row): (usize, &Vec<V<'c>>)| row.iter().enumerate().map(|(c, v)| f(r, c, *v)).collect();
    part.iter().enumerate().map(row).collect()
}

/// Probabilities, negative where dropped: both their sizes and whether they count are needed later.
struct Signed<'c>(Part<'c>);

impl<'c> Signed<'c> {
    /// Probabilities of products, `shift(r, c)` being what to add to a score: see [`shift`].
    fn new<E: Engine<'c>>(
        e: &E,
        s: &Setting<'_, '_, 'c>,
        products: &Part<'c>,
        shift: impl Fn(usize, usize) -> V<'c>,
    ) -> Signed<'c> {
        let f = e.function();
        let scale = f.f32((f64::from_bits(s.a.scale) / E::LOG_BASE) as f32);
        Signed(map(products, |r, c, v| e.exp(f.fma(v, scale, shift(r, c)))))
    }

    fn drop(self, d: Option<&Dropout<'_, '_, '_, 'c>>, places: (&[V<'c>], &[V<'c>]), keys_are_rows: bool) -> Self {
        match d {
            Some(d) => Signed(d.apply(self.0, places, keys_are_rows, &|p| d.s.f.neg(p))),
            None => self,
        }
    }

    /// Those that were kept, not scaled; 0 for the others.
    fn kept(&self, f: &Function<'_, 'c>, dropout: bool) -> Part<'c> {
        if !dropout {
            return self.0.clone();
        }
        map(&self.0, |_, _, p| f.max(p, f.f32(0.0)))
    }

    /// Gradients of scaled scores from those of what was kept, `scale` being dropout's and `mean(r, c)` the rows' means.
    fn scores(
        &self,
        f: &Function<'_, 'c>,
        kept: &Part<'c>,
        scale: Option<V<'c>>,
        mean: impl Fn(usize, usize) -> V<'c>,
    ) -> Part<'c> {
        map(&self.0, |r, c, p| match scale {
            Some(scale) => {
                let counts = f.cmp(Cmp::Gt, p, f.f32(0.0));
                let d = f.select(counts, f.mul(kept[r][c], scale), f.f32(0.0));
                f.mul(f.fabs(p), f.sub(d, mean(r, c)))
            }
            None => f.mul(p, f.sub(kept[r][c], mean(r, c))),
        })
    }
}

/// Minus a log-sum-exp, in units of the engine's exponential.
fn shift<'c, E: Engine<'c>>(e: &E, lse: V<'c>) -> V<'c> {
    e.function().mul(lse, e.function().f32((-1.0 / E::LOG_BASE) as f32))
}

fn halves<'c>(flat: &[V<'c>], columns: usize) -> [Part<'c>; 2] {
    let part = |flat: &[V<'c>]| flat.chunks(columns).map(<[V]>::to_vec).collect();
    let (a, b) = flat.split_at(flat.len() / 2);
    [part(a), part(b)]
}

/// dk and dv. Rows are keys, columns are queries.
pub fn write_keys<'c, E: Engine<'c>>(e: &E, g: &AttentionGrad) {
    let (f, shape, a) = (e.function(), e.shape(), &g.forward);
    let s = Setting::new(f, a, shape.rows);
    let dropout = s.dropout();
    let [keys, values] = [(); 2].map(|_| Tile::new(f, shape.rows, shape.width, E::ELEMENT, 1));
    let [queries, d_outs] = [(); 2].map(|_| Tile::new(f, shape.columns, shape.width, E::ELEMENT, shape.stages));
    let [lses, means] = [(); 2].map(|_| f.shared(4 * shape.columns * shape.stages, 16));
    let numbers = |base, stage| {
        let at = f.mul(f.widen(stage, Ty::I64), f.i64(shape.columns as i64));
        f.offset(base, Ty::F32, at)
    };

    s.fetch(&a.k, (s.first, s.length), keys);
    s.fetch(&a.v, (s.first, s.length), values);
    f.all_arrived();
    let (key_rows, value_rows) = (e.rows(keys), e.rows(values));
    let (rows, columns) = e.extent(shape.columns);
    // What is beyond the last query is 0 in all operands: with a probability of 1 it adds nothing.
    let fetch = |i: V<'c>, stage: V<'c>| {
        let first = f.mul(i, f.i32(shape.columns as i32));
        s.fetch(&a.q, (first, s.time), queries.nth(f, stage));
        s.fetch(&g.d_out, (first, s.time), d_outs.nth(f, stage));
        s.fetch_numbers(s.slot(a.lse), first, (numbers(lses, stage), shape.columns));
        s.fetch_numbers(f.workspace, first, (numbers(means, stage), shape.columns));
    };
    let begun = f.cmp(Cmp::Lt, s.first, s.length);
    let count = f.select(begun, s.tiles(s.time, shape.columns), f.i32(0));
    let start = [e.zeros().concat(), e.zeros().concat()].concat();
    let width = e.zeros()[0].len();
    let end = e.walk(count, &start, &fetch, |i, stage, carried| {
        let [dk, dv] = halves(carried, width);
        let (queries, d_outs) = (queries.nth(f, stage), d_outs.nth(f, stage));
        let read = |base| -> Vec<V<'c>> {
            let base = numbers(base, stage);
            (0..columns)
                .map(|c| f.load(Ty::F32, f.offset(base, Ty::F32, f.widen(e.column(c), Ty::I64)), 4))
                .collect()
        };
        let shifts: Vec<V> = read(lses).into_iter().map(|v| shift(e, v)).collect();
        let first = f.mul(i, f.i32(shape.columns as i32));
        let at_keys: Vec<V> = (0..rows).map(|r| f.add(s.first, e.row(r))).collect();
        let at_queries: Vec<V> = (0..columns).map(|c| f.add(first, e.column(c))).collect();
        let p = Signed::new(e, &s, &e.products(&key_rows, queries), |_, c| shifts[c]);
        let p = p.drop(dropout.as_ref(), (&at_keys, &at_queries), true);
        let dv = e.accumulate(&p.kept(f, dropout.is_some()), d_outs, &dv);
        let means = read(means);
        let kept = e.products(&value_rows, d_outs);
        let scores = p.scores(f, &kept, dropout.as_ref().map(|d| d.scale), |_, c| means[c]);
        let dk = e.accumulate(&scores, queries, &dk);
        [dk.concat(), dv.concat()].concat()
    });
    let [dk, dv] = halves(&end, width);
    // Rows beyond the length hold anything, infinities too: their probabilities may overflow.
    let counts: Vec<V> = (0..rows)
        .map(|r| f.cmp(Cmp::Lt, f.add(s.first, e.row(r)), s.length))
        .collect();
    let store = |view, part: &Part<'c>, factor| {
        let part = map(part, |r, _, v| f.select(counts[r], v, f.f32(0.0)));
        e.store(&s, view, &part, &vec![factor; rows]);
    };
    store(&g.dk, &dk, f.f32(f64::from_bits(a.scale) as f32));
    store(&g.dv, &dv, dropout.as_ref().map_or(f.f32(1.0), |d| d.scale));
}

/// dq. Rows are queries, columns are keys.
pub fn write_queries<'c, E: Engine<'c>>(e: &E, g: &AttentionGrad) {
    let (f, shape, a) = (e.function(), e.shape(), &g.forward);
    let s = Setting::new(f, a, shape.rows);
    let dropout = s.dropout();
    let [queries, d_outs] = [(); 2].map(|_| Tile::new(f, shape.rows, shape.width, E::ELEMENT, 1));
    let [keys, values] = [(); 2].map(|_| Tile::new(f, shape.columns, shape.width, E::ELEMENT, shape.stages));

    s.fetch(&a.q, (s.first, s.time), queries);
    s.fetch(&g.d_out, (s.first, s.time), d_outs);
    f.all_arrived();
    let (query_rows, d_out_rows) = (e.rows(queries), e.rows(d_outs));
    let (rows, columns) = e.extent(shape.columns);
    let at_queries: Vec<V> = (0..rows).map(|r| f.add(s.first, e.row(r))).collect();
    let shifts: Vec<V> = at_queries
        .iter()
        .map(|t| shift(e, s.number(s.slot(a.lse), *t)))
        .collect();
    let means: Vec<V> = at_queries.iter().map(|t| s.number(f.workspace, *t)).collect();
    let fetch = |i: V<'c>, stage: V<'c>| {
        let first = f.mul(i, f.i32(shape.columns as i32));
        s.fetch(&a.k, (first, s.length), keys.nth(f, stage));
        s.fetch(&a.v, (first, s.length), values.nth(f, stage));
    };
    let width = e.zeros()[0].len();
    let count = s.tiles(s.length, shape.columns);
    let end = e.walk(count, &e.zeros().concat(), &fetch, |i, stage, carried| {
        let dq: Part = carried.chunks(width).map(<[V]>::to_vec).collect();
        let (keys, values) = (keys.nth(f, stage), values.nth(f, stage));
        let first = f.mul(i, f.i32(shape.columns as i32));
        let at_keys: Vec<V> = (0..columns).map(|c| f.add(first, e.column(c))).collect();
        let p = Signed::new(e, &s, &e.products(&query_rows, keys), |r, _| shifts[r]);
        let p = counted(f, &s, (first, shape.columns), &at_keys, p);
        let p = p.drop(dropout.as_ref(), (&at_queries, &at_keys), false);
        let kept = e.products(&d_out_rows, values);
        let scores = p.scores(f, &kept, dropout.as_ref().map(|d| d.scale), |r, _| means[r]);
        e.accumulate(&scores, keys, &dq).concat()
    });
    let dq: Part = end.chunks(width).map(<[V]>::to_vec).collect();
    let scale = f.f32(f64::from_bits(a.scale) as f32);
    e.store(&s, &g.dq, &dq, &vec![scale; rows]);
}

/// 0 for keys that do not count. They are zeros in the tile, but the log-sum-exp is without them: their probabilities may
/// overflow, and inf * 0 is NaN.
fn counted<'c>(
    f: &Function<'_, 'c>,
    s: &Setting<'_, '_, 'c>,
    (first, columns): (V<'c>, u32),
    keys: &[V<'c>],
    p: Signed<'c>,
) -> Signed<'c> {
    let partial = f.cmp(Cmp::Gt, f.add(first, f.i32(columns as i32)), s.length);
    let mask = || {
        let counts: Vec<V> = keys.iter().map(|j| f.cmp(Cmp::Lt, *j, s.length)).collect();
        map(&p.0, |_, c, p| f.select(counts[c], p, f.f32(0.0))).concat()
    };
    let flat = f.if_else(partial, mask, || p.0.concat());
    Signed(flat.chunks(keys.len()).map(<[V]>::to_vec).collect())
}
