//! Whether a kernel does the same whatever the run-time sizes are.

use ir::dim::Dim;
use ir::kernel::{Attention, Body, Coord, HeadView, Index, Kernel, Phase, Store, Strided, Value};
use ir::kernel_values::values;

/// Whether no size in a kernel is one of run time. Random numbers are not looked for: their seeds come from an input.
pub fn are_constant(kernel: &Kernel) -> bool {
    let of_values = values(&kernel.body).iter().all(value);
    of_values
        && match &kernel.body {
            Body::Row(k) => all(&k.axes) && k.phases.iter().all(phase),
            Body::Column(k) => all(&k.outer) && all(&k.reduced) && constant(&k.columns) && k.store.iter().all(store),
            Body::Contract(k) => {
                let extents = [&k.m, &k.n, &k.k_outer, &k.k];
                all(&k.batch)
                    && extents.into_iter().all(constant)
                    && [&k.a, &k.b].into_iter().all(strided)
                    && k.store.iter().all(store)
            }
            Body::Attention(k) => attention(k),
            Body::AttentionGrad(k) => {
                attention(&k.forward) && [&k.d_out, &k.dq, &k.dk, &k.dv].into_iter().all(head_view)
            }
            Body::Scatter(k) => [&k.rows, &k.count, &k.into, &k.width].into_iter().all(constant),
            Body::Ctc(k) => [&k.batch, &k.time, &k.vocab, &k.labels].into_iter().all(constant),
        }
}

fn constant(d: &Dim) -> bool {
    d.as_const().is_some()
}

fn all(dims: &[Dim]) -> bool {
    dims.iter().all(constant)
}

fn index(i: &Index) -> bool {
    let stride = |(stride, _): &(Dim, Coord)| constant(stride);
    constant(&i.base) && i.terms.iter().all(stride)
}

fn value(v: &Value) -> bool {
    match v {
        Value::Size(d) => constant(d),
        Value::Load { index: i, .. } | Value::Uniform { index: i, .. } => index(i),
        _ => true,
    }
}

fn store(s: &Store) -> bool {
    index(&s.index)
}

fn phase(p: &Phase) -> bool {
    match p {
        Phase::Columns { store: stores, .. } | Phase::Row { store: stores } => stores.iter().all(store),
    }
}

fn strided(s: &Strided) -> bool {
    all(&s.batch) && [&s.base, &s.k_outer, &s.free, &s.k].into_iter().all(constant)
}

fn head_view(v: &HeadView) -> bool {
    [&v.base, &v.batch, &v.time, &v.head].into_iter().all(constant)
}

fn attention(k: &Attention) -> bool {
    constant(&k.batch) && constant(&k.time) && [&k.q, &k.k, &k.v, &k.out].into_iter().all(head_view)
}
