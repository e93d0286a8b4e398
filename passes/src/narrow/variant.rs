//! Kernels with matrix multiplications in bf16.

use ir::artifact::Operand;
use ir::kernel::{Access, Body, Kernel, Slot, Value};
use ir::rounding::Rounding;

/// Makes a contraction round its operands, and gives their slots, each once; a kernel that is none stays as it is, and one
/// that divides its operands into levels.
pub fn round_product(kernel: &mut Kernel) -> Vec<Slot> {
    let Body::Contract(k) = &mut kernel.body else {
        return vec![];
    };
    if k.round != Rounding::F32 {
        return vec![];
    }
    k.round = Rounding::Bf16;
    let mut slots = vec![k.a.slot, k.b.slot];
    slots.dedup();
    slots
}

/// A slot in which nothing but the operands of the product that were in `slot` is read: `slot` itself or a new one at the
/// same place.
pub fn own_operand(kernel: &mut Kernel, operands: &mut Vec<Operand>, slot: Slot) -> Slot {
    let loads = |v: &Value| matches!(v, Value::Load { slot: s, .. } | Value::Uniform { seed: s, .. } if *s == slot);
    let shared = kernel.slots[slot].access != Access::Read || kernel.body.values().iter().any(loads);
    let Body::Contract(k) = &mut kernel.body else {
        return slot;
    };
    if !shared {
        return slot;
    }
    let own = kernel.slots.len();
    for operand in [&mut k.a, &mut k.b] {
        if operand.slot == slot {
            operand.slot = own;
        }
    }
    let mut decl = kernel.slots[slot].clone();
    decl.access = Access::Read;
    kernel.slots.push(decl);
    operands.push(operands[slot].clone());
    own
}
