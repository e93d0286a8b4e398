//! Samples with operands in bf16.
//!
//! A backend computes what it did before, from numbers that bf16 holds exactly, and rounds what it stores. So the tolerance
//! of an operand in bf16 is still that of the number before it is rounded; [`Operand::agrees`] adds the rounding. What must
//! hold for that:
//! - Operands that are read are rounded to bf16 in the sample. Rounding is monotone and the ends of their ranges are in
//!   bf16, so every bound derived from those ranges still holds.
//! - A row kernel that loads what it stored gets it back rounded. Two backends that differ before would then differ by a
//!   whole unit of bf16, which the bounds of what follows know nothing of; so this is done only to what all backends
//!   compute exactly. It moves by 2^-8 of itself at most, which the slack in `EPS` and in the slopes covers.
//! - A product of rounded operands gets operands that rounding brings back to eighths: its sums stay exact, and a backend
//!   that rounds otherwise or not at all is off.
//! - Attention rounds the operands of its inner products, by [`heads`](super::heads).

use super::Sample;
use super::heads;
use crate::kernel::*;
use crate::kernel_values::values;
use crate::rounding::Rounding;
use crate::sample::Rand;
use crate::scalar::DType;
use half::bf16;
use std::collections::BTreeSet;

/// The sample with some of its operands in bf16, where it has any that may be; a contraction may also round its operands.
pub fn narrowed(mut sample: Sample, seed: u32) -> Sample {
    let mut r = Rand::new(seed);
    match &sample.kernel.body {
        Body::Attention(_) | Body::AttentionGrad(_) => {
            if r.int(0, 3) > 0 {
                narrow_heads(&mut sample);
            }
        }
        Body::Scatter(k) => {
            let from = k.from;
            narrow_some(&mut sample, &mut r, [from]);
        }
        Body::Ctc(_) => {}
        Body::Row(_) | Body::Column(_) | Body::Contract(_) => {
            let eligible = eligible(&sample);
            narrow_some(&mut sample, &mut r, eligible);
            if r.flag() {
                round_product(&mut sample, &mut r);
            }
        }
    }
    sample
}

fn narrow_some(sample: &mut Sample, r: &mut Rand, of: impl IntoIterator<Item = Slot>) {
    let share = r.int(1, 4);
    for slot in of {
        if r.int(1, 4) <= share && sample.operands[slot].dtype == DType::F32 {
            narrow(sample, slot);
        }
    }
}

fn narrow(sample: &mut Sample, slot: Slot) {
    sample.kernel.slots[slot].dtype = DType::Bf16;
    let operand = &mut sample.operands[slot];
    operand.dtype = DType::Bf16;
    operand
        .values
        .iter_mut()
        .for_each(|v| *v = bf16::from_f32(*v as f32).to_f64());
}

/// Slots that no store adds to and, where they are stored to and loaded from, hold exact numbers.
fn eligible(sample: &Sample) -> Vec<Slot> {
    let kernel = &sample.kernel;
    let load = |v: &Value| {
        if let Value::Load { slot, .. } = v {
            Some(*slot)
        } else {
            None
        }
    };
    let loaded: BTreeSet<Slot> = values(&kernel.body).iter().filter_map(load).collect();
    let stored = stores(&kernel.body);
    let fits = |slot: &Slot| {
        let mut to = stored.iter().filter(|s| s.slot == *slot).peekable();
        let exact = sample.operands[*slot].tolerance == 0.0;
        (to.peek().is_none() || exact || !loaded.contains(slot)) && to.all(|s| !s.accumulate)
    };
    (0..kernel.slots.len()).filter(fits).collect()
}

fn stores(body: &Body) -> Vec<&Store> {
    match body {
        Body::Row(k) => {
            let of = |p| match p {
                &Phase::Columns { ref store, .. } | &Phase::Row { ref store } => store,
            };
            k.phases.iter().flat_map(of).collect()
        }
        Body::Column(k) => k.store.iter().collect(),
        Body::Contract(k) => k.store.iter().collect(),
        Body::Attention(_) | Body::AttentionGrad(_) | Body::Scatter(_) | Body::Ctc(_) => vec![],
    }
}

/// Makes a contraction round its operands, and moves those in f32 off the eighths by less than half a unit of bf16.
fn round_product(sample: &mut Sample, r: &mut Rand) {
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

fn narrow_heads(sample: &mut Sample) {
    let views: Vec<Slot> = heads::views(&sample.kernel.body).iter().map(|v| v.slot).collect();
    views.into_iter().for_each(|slot| narrow(sample, slot));
    for (slot, sums) in heads::magnitudes(sample).rounded {
        sample.operands[slot].tolerate(&sums, 2f64.powi(-8));
    }
}
