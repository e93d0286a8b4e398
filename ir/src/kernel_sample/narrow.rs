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
//! - Attention rounds the operands of its inner products, by [`sums`](crate::kernel::attention::sums).

use super::Sample;
use crate::kernel::*;
use crate::sample::Rand;
use crate::scalar::DType;
use half::bf16;
use std::collections::BTreeSet;

/// The sample with some of its operands in bf16, where it has any that may be; a contraction may also round its operands.
pub fn narrowed(mut sample: Sample, seed: u32) -> Sample {
    let body = sample.kernel.body.clone();
    body.narrow_sample(&mut sample, &mut Rand::new(seed));
    sample
}

/// Keeps some operands in bf16 of a kernel that is defined by its values and stores.
pub(crate) fn narrow_maps(sample: &mut Sample, r: &mut Rand) {
    let eligible = eligible(sample);
    narrow_some(sample, r, eligible);
}

pub(crate) fn narrow_some(sample: &mut Sample, r: &mut Rand, of: impl IntoIterator<Item = Slot>) {
    let share = r.int(1, 4);
    for slot in of {
        if r.int(1, 4) <= share && sample.operands[slot].dtype == DType::F32 {
            narrow(sample, slot);
        }
    }
}

pub(crate) fn narrow(sample: &mut Sample, slot: Slot) {
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
    let loaded: BTreeSet<Slot> = kernel.body.values().iter().filter_map(load).collect();
    let stored = kernel.body.stores();
    let fits = |slot: &Slot| {
        let mut to = stored.iter().filter(|s| s.slot == *slot).peekable();
        let exact = sample.operands[*slot].tolerance == 0.0;
        (to.peek().is_none() || exact || !loaded.contains(slot)) && to.all(|s| !s.accumulate)
    };
    (0..kernel.slots.len()).filter(fits).collect()
}
