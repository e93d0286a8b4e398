//! Random contractions.

use crate::dim::Dim;
use crate::kernel::*;
use crate::kernel_sample::exprs::{Exprs, Known};
use crate::kernel_sample::maps::{COLUMNS, all, in_place, store, stores};
use crate::kernel_sample::{Draw, EPS, Extent, dims};
use crate::rounding::{Levels, Rounding};
use crate::scalar::{Binary, DType};

/// The extents of a contraction.
struct Shape {
    batch: Vec<Extent>,
    m: Extent,
    n: Extent,
    k_outer: Extent,
    k: Extent,
    /// Most elements between neighbours of an operand.
    gap: i64,
    round: Rounding,
}

/// A contraction: plain, transposed or with overlapping rows, and an epilogue.
pub fn contract(seed: u32) -> Sample {
    sized(Draw::new(seed), Rounding::F32)
}

/// A contraction of operands that are divided into levels, as many as every CPU multiplies exactly.
pub fn contract_bytes(seed: u32) -> Sample {
    let mut d = Draw::new(seed);
    let mut levels = Levels {
        block: *d.rand.pick(&[8, 16, 24, 256]),
        ..Levels::PAIRS
    };
    if d.rand.flag() {
        (levels.a, levels.b) = (d.rand.int(1, 127) as u8, d.rand.int(1, 64) as u8);
    }
    sized(d, Rounding::Int8(levels))
}

fn sized(mut d: Draw, round: Rounding) -> Sample {
    let batch = d.extents(2, &[1, 2, 3]);
    let (mut m, mut n) = (d.extent(&[1, 2, 5, 6, 7, 13, 30]), d.extent(COLUMNS));
    let (k_outer, mut k) = (d.extent_to(6, &[1, 1, 1, 2]), d.extent(&[1, 2, 3, 8, 17]));
    // Now and then one extent goes beyond what a backend keeps in one block.
    let batch = match d.rand.int(0, 17) {
        0 => {
            m = d.extent_to(0, &[150, 260]);
            vec![]
        }
        1 => {
            n = d.extent_to(0, &[300, 530]);
            vec![]
        }
        2 => {
            k = d.extent_to(0, &[260, 700]);
            vec![]
        }
        _ => batch,
    };
    product(
        d,
        Shape {
            batch,
            m,
            n,
            k_outer,
            k,
            gap: 1,
            round,
        },
    )
}

/// Multiply-adds of the largest sample.
const LARGE: i64 = 6_000_000;

/// A contraction of several tiles of a GPU: extents to about 200, among them primes and 1, and operands contiguous along
/// the summed axis, along the other or along none.
pub fn contract_large(seed: u32) -> Sample {
    let mut d = Draw::new(seed);
    let extents = &[1, 31, 64, 97, 127, 128, 129, 150, 192, 200];
    let [m, n, k] = [0, 1, 2].map(|_| d.extent_to(0, extents));
    let k_outer = d.extent_to(3, &[1, 1, 1, 2, 3]);
    let mut batch = d.extents(1, &[1, 2, 3]);
    let work = |batch: &[Extent]| {
        let positions: i64 = batch.iter().map(|e| e.size).product();
        positions * m.size * n.size * k.size * k_outer.size
    };
    if work(&batch) > LARGE {
        batch.clear();
    }
    let gap = *d.rand.pick(&[1, 1, 2, 3]);
    // Where even one is too much, the summed axis gives way.
    let k = if work(&batch) > LARGE {
        d.extent_to(0, &[1, 7, 32, 33])
    } else {
        k
    };
    product(
        d,
        Shape {
            batch,
            m,
            n,
            k_outer,
            k,
            gap,
            round: Rounding::F32,
        },
    )
}

fn product(mut d: Draw, shape: Shape) -> Sample {
    let Shape {
        batch,
        m,
        n,
        k_outer,
        k,
        gap,
        round,
    } = shape;
    let terms = (k_outer.size * k.size) as f64;
    let a = operand(&mut d, &batch, &k_outer, &m, &k, gap);
    let b = operand(&mut d, &batch, &k_outer, &n, &k, gap);
    let mut exprs = Exprs::new([&batch[..], &[m.clone(), n.clone()]].concat());
    let count = exprs.axes.len();
    // Levels are the same everywhere, but scales and their products with sums are rounded.
    let error = if round == Rounding::F32 { EPS } else { 8.0 * EPS };
    // Products of eighths: exact as long as no sum has more than 2^18 of them.
    let acc = Known {
        id: 0,
        dtype: DType::F32,
        low: -terms,
        high: terms,
        error: error * terms,
        exact: false,
        axes: all(count),
    };
    let acc = exprs.push(Value::Acc, acc);
    if terms > 100.0 {
        // Brought into a range where functions of it are kept; by a power of two, so the error goes with it.
        let down = exprs.constant(DType::F32, 1.0 / 64.0);
        let small = Known {
            low: acc.low / 64.0,
            high: acc.high / 64.0,
            error: acc.error / 64.0,
            ..acc
        };
        exprs.push(Value::Binary(Binary::Mul, acc.id, down.id), small);
    }
    let of: Vec<usize> = (0..count).collect();
    let grown = d.rand.int(0, 8);
    let mut list = vec![];
    if grown < 3 {
        list.push(store(&mut d, &mut exprs, &of, acc));
    }
    exprs.grow(&mut d, all(count), grown);
    list.extend(stores(&mut d, &mut exprs, &of, all(count)));
    if d.rand.int(0, 3) == 0 {
        list.push(in_place(&mut d, &mut exprs, &of));
    }
    let (batch, values) = (dims(&batch), exprs.values);
    let body = Contract {
        batch,
        m: m.dim,
        n: n.dim,
        k_outer: k_outer.dim,
        k: k.dim,
        a,
        b,
        round,
        values,
        store: list,
    };
    d.sample(body)
}

fn operand(d: &mut Draw, batch: &[Extent], k_outer: &Extent, free: &Extent, k: &Extent, gap: i64) -> Strided {
    let one = Dim::from(1);
    let base = Dim::from(*d.rand.pick(&[0, 0, 3]));
    // Strides of k_outer, free, k and the elements of one batch.
    let (so, sf, sk, mut span) = match d.rand.int(0, 4) {
        // [o, free, k]
        0 | 1 => {
            let sf = k.dim.clone();
            let so = sf.clone() * free.dim.clone();
            (so.clone(), sf, one, so * k_outer.dim.clone())
        }
        // [o, k, free]
        2 => {
            let sk = free.dim.clone();
            let so = sk.clone() * k.dim.clone();
            (so.clone(), one, sk, so * k_outer.dim.clone())
        }
        // [free, o, k]
        3 => {
            let so = k.dim.clone();
            let sf = so.clone() * k_outer.dim.clone();
            (so, sf.clone(), one, sf * free.dim.clone())
        }
        // Overlapping rows, as of a convolution.
        _ => {
            let sf = Dim::from(d.rand.int(1, 3));
            let span = sf.clone() * free.dim.clone() + k.dim.clone() * k_outer.dim.clone();
            (k.dim.clone(), sf, one, span)
        }
    };
    let gap = if gap > 1 && d.rand.flag() {
        Dim::from(gap)
    } else {
        Dim::from(1)
    };
    let [so, sf, sk] = [so, sf, sk].map(|stride| stride * gap.clone());
    span = span * gap;
    let mut strides = vec![];
    for e in batch.iter().rev() {
        // Now and then all of a batch share an operand.
        let shared = d.rand.int(0, 3) == 0;
        strides.push(if shared { Dim::from(0) } else { span.clone() });
        if !shared {
            span = span * e.dim.clone();
        }
    }
    strides.reverse();
    let len = d.size(&base) + d.size(&span);
    let slot = d.floats(Access::Read, len);
    Strided {
        slot,
        base,
        batch: strides,
        k_outer: so,
        free: sf,
        k: sk,
    }
}

/// Makes a contraction round its operands, and moves those in f32 off the eighths by less than half a unit of bf16.
pub fn round_product(sample: &mut Sample, r: &mut Rand) {
    let Body::Contract(k) = &mut sample.kernel.body else {
        return;
    };
    k.round = Rounding::Bf16;
    for slot in [k.a.slot, k.b.slot] {
        let operand = &mut sample.operands[slot];
        if operand.dtype == DType::Bf16 {
            continue;
        }
        for v in &mut operand.values {
            // Half a unit is 2^-9 of a number at least; those at the ends of the range stay inside.
            let off = if v.abs() < 1.0 && r.flag() { 1.0 } else { -1.0 };
            *v *= 1.0 + off * 2f64.powi(-10);
        }
    }
}
