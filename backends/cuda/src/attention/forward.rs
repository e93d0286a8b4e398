//! The forward pass: one block of queries against all keys that count.

use super::engine::{Engine, Part};
use super::setting::Setting;
use super::tile::Tile;
use crate::arith::Cmp;
use crate::builder::{Ty, V};
use ir::kernel::Attention;

/// What is carried from tile to tile, per row of a thread.
struct State<'c> {
    /// Largest score so far, in units of the engine's exponential.
    max: Vec<V<'c>>,
    /// Sum of exp(score - max) over this thread's columns.
    sum: Vec<V<'c>>,
    /// The same, weighted with values, over all columns.
    out: Part<'c>,
}

impl<'c> State<'c> {
    fn flat(&self) -> Vec<V<'c>> {
        [&self.max[..], &self.sum, &self.out.concat()].concat()
    }
    fn of(flat: &[V<'c>], rows: usize) -> State<'c> {
        let out = &flat[2 * rows..];
        State {
            max: flat[..rows].to_vec(),
            sum: flat[rows..2 * rows].to_vec(),
            out: out.chunks(out.len() / rows).map(<[V]>::to_vec).collect(),
        }
    }
}

pub fn write<'c, E: Engine<'c>>(e: &E, a: &Attention) {
    let (f, shape) = (e.function(), e.shape());
    let s = Setting::new(f, a, shape.rows);
    let dropout = s.dropout();
    let queries = Tile::new(f, shape.rows, shape.width, E::ELEMENT, 1);
    let [keys, values] = [(); 2].map(|_| Tile::new(f, shape.columns, shape.width, E::ELEMENT, shape.stages));

    s.fetch(&a.q, (s.first, s.time), queries);
    f.all_arrived();
    let query_rows = e.rows(queries);
    let (rows, columns) = e.extent(shape.columns);
    // The largest product is that of the largest score unless the scale turns them around.
    let scale = f64::from_bits(a.scale) / E::LOG_BASE;
    let scaled = |v| if scale > 0.0 { v } else { f.mul(v, f.f32(scale as f32)) };
    let scale = f.f32(if scale > 0.0 { scale as f32 } else { 1.0 });
    let start = State {
        max: vec![f.f32(f32::NEG_INFINITY); rows],
        sum: vec![f.f32(0.0); rows],
        out: e.zeros(),
    };
    let fetch = |i: V<'c>, stage: V<'c>| {
        let first = f.mul(i, f.i32(shape.columns as i32));
        s.fetch(&a.k, (first, s.length), keys.nth(f, stage));
        s.fetch(&a.v, (first, s.length), values.nth(f, stage));
    };
    let end = e.walk(
        s.tiles(s.length, shape.columns),
        &start.flat(),
        &fetch,
        |i, stage, carried| {
            let state = State::of(carried, rows);
            let first = f.mul(i, f.i32(shape.columns as i32));
            let products = e.products(&query_rows, keys.nth(f, stage));
            let scores = masked(
                e,
                &s,
                first,
                products
                    .iter()
                    .map(|r| r.iter().map(|v| scaled(*v)).collect())
                    .collect(),
            );
            let (state, weights) = soften(e, state, scores, scale);
            let weights = match &dropout {
                Some(d) => {
                    let queries: Vec<V> = (0..rows).map(|r| f.add(s.first, e.row(r))).collect();
                    let keys: Vec<V> = (0..columns).map(|c| f.add(first, e.column(c))).collect();
                    d.apply(weights, (&queries, &keys), false, &|_| f.f32(0.0))
                }
                None => weights,
            };
            let out = e.accumulate(&weights, values.nth(f, stage), &state.out);
            State { out, ..state }.flat()
        },
    );
    let kept = dropout.as_ref().map_or(f.f32(1.0), |d| d.scale);
    finish(e, &s, kept, State::of(&end, rows));
}

/// -inf for keys that do not count, which are in the last tile.
fn masked<'c, E: Engine<'c>>(e: &E, s: &Setting<'_, '_, 'c>, first: V<'c>, scores: Part<'c>) -> Part<'c> {
    let (f, columns) = (e.function(), e.shape().columns);
    let partial = f.cmp(Cmp::Gt, f.add(first, f.i32(columns as i32)), s.length);
    let mask = || {
        let counts: Vec<V> = (0..scores[0].len())
            .map(|c| f.cmp(Cmp::Lt, f.add(first, e.column(c)), s.length))
            .collect();
        let one = |(v, counts): (&V<'c>, &V<'c>)| f.select(*counts, *v, f.f32(f32::NEG_INFINITY));
        scores.iter().flat_map(|r| r.iter().zip(&counts).map(one)).collect()
    };
    let flat = f.if_else(partial, mask, || scores.concat());
    flat.chunks(scores[0].len()).map(<[V]>::to_vec).collect()
}

/// exp(scale * score - largest so far), with what was summed before rescaled to it. Every tile has a key that counts.
fn soften<'c, E: Engine<'c>>(e: &E, mut state: State<'c>, scores: Part<'c>, scale: V<'c>) -> (State<'c>, Part<'c>) {
    let f = e.function();
    let mut weights = vec![];
    for (r, row) in scores.iter().enumerate() {
        let own = row.iter().skip(1).fold(row[0], |m, v| f.max(m, *v));
        let max = f.max(f.mul(e.fold_row(own, &|x, y| f.max(x, y)), scale), state.max[r]);
        let shrink = e.exp(f.sub(state.max[r], max));
        let row: Vec<V> = row.iter().map(|v| e.exp(f.fma(*v, scale, f.neg(max)))).collect();
        state.sum[r] = row.iter().fold(f.mul(state.sum[r], shrink), |sum, w| f.add(sum, *w));
        state.out[r].iter_mut().for_each(|v| *v = f.mul(*v, shrink));
        state.max[r] = max;
        weights.push(row);
    }
    (state, weights)
}

fn finish<'c, E: Engine<'c>>(e: &E, s: &Setting<'_, '_, 'c>, kept: V<'c>, state: State<'c>) {
    let f = e.function();
    // Without keys the result is 0, not 0 / 0.
    let some = f.cmp(Cmp::Gt, s.length, f.i32(0));
    let sums: Vec<V> = state.sum.iter().map(|v| e.fold_row(*v, &|x, y| f.add(x, y))).collect();
    let factors: Vec<V> = sums
        .iter()
        .map(|sum| f.select(some, f.div(kept, *sum), f.f32(0.0)))
        .collect();
    e.store(s, &s.a.out, &state.out, &factors);
    f.when(e.leads(), || {
        for (r, (max, sum)) in state.max.iter().zip(&sums).enumerate() {
            let t = f.add(s.first, e.row(r));
            f.when(f.cmp(Cmp::Lt, t, s.time), || {
                let lse = f.add(f.mul(*max, f.f32(E::LOG_BASE as f32)), f.log(*sum));
                f.store(f.offset(s.slot(s.a.lse), Ty::F32, s.line(t)), lse, 4);
            });
        }
    });
}
