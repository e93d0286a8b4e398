//! Contractions whose operands a GPU can copy in boxes.

use super::sample::contract_large;
use crate::dim::Dim;
use crate::kernel::{Body, Strided};
use crate::kernel_sample::Sample;
use crate::rounding::Rounding;
use crate::sample::Rand;
use crate::scalar::DType;

/// Elements of bf16 in 16 bytes.
const CHUNK: i64 = 8;

fn rounded_up(n: i64) -> i64 {
    (n + CHUNK - 1) / CHUNK * CHUNK
}

/// A contraction of several tiles of a GPU over bf16, whose operands are contiguous along one axis and otherwise lie at
/// multiples of 16 bytes; lines of some are closer to each other than they are long.
///
/// # Panics
/// Never: the sample it begins with is a contraction with all sizes known.
pub fn contract_boxed(seed: u32) -> Sample {
    let mut sample = contract_large(seed);
    let mut r = Rand::new(seed);
    let sizes = sample.sizes.clone();
    let size = |d: &Dim| d.eval(&sizes).expect("a sample knows its sizes");
    let Body::Contract(c) = &mut sample.kernel.body else {
        panic!("contractions are drawn")
    };
    c.round = Rounding::Bf16;
    let batch: Vec<i64> = c.batch.iter().map(size).collect();
    let (outer, k) = (size(&c.k_outer), size(&c.k));
    for (operand, free) in [(&mut c.a, size(&c.m)), (&mut c.b, size(&c.n))] {
        let elements = lay(&mut r, operand, &batch, [outer, free, k]);
        let values = &mut sample.operands[operand.slot];
        values.values = values.values.iter().copied().cycle().take(elements).collect();
        values.dtype = DType::Bf16;
        sample.kernel.slots[operand.slot].dtype = DType::Bf16;
    }
    sample
}

/// Draws new strides for an operand; how long it is with them.
fn lay(r: &mut Rand, operand: &mut Strided, batch: &[i64], [outer, free, k]: [i64; 3]) -> usize {
    let overlapping = r.int(0, 3) == 0;
    let along_sum = overlapping || r.flag();
    let (long, lines) = if along_sum { (k, free) } else { (free, k) };
    let line = if overlapping {
        CHUNK * r.int(1, 3)
    } else {
        rounded_up(long)
    };
    let strides = (Dim::from(1), Dim::from(line));
    (operand.k, operand.free) = if along_sum { strides } else { (strides.1, strides.0) };
    let base = CHUNK * r.int(0, 2);
    operand.base = Dim::from(base);
    let mut span = rounded_up(line * lines + long);
    operand.k_outer = Dim::from(span);
    span *= outer;
    for (stride, extent) in operand.batch.iter_mut().zip(batch).rev() {
        // One that all positions share stays so.
        if !stride.is_zero() {
            *stride = Dim::from(span);
            span *= extent;
        }
    }
    (base + span) as usize
}
