//! Attention and its gradients.

use crate::Error;
use crate::entry::{Emitted, Unit, unsupported};
use ir::kernel::{Attention, AttentionGrad, Kernel};

/// Writes the entry functions of attention.
pub fn emit(_unit: &Unit, name: &str, _kernel: &Kernel, _body: &Attention) -> Result<Emitted, Error> {
    unsupported(name, "attention")
}

/// Writes the entry functions of the gradients of attention.
pub fn emit_grad(_unit: &Unit, name: &str, _kernel: &Kernel, _body: &AttentionGrad) -> Result<Emitted, Error> {
    unsupported(name, "the gradient of attention")
}
