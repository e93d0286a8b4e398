//! Attention, forward and backward.

use crate::Error;
use crate::function::Unit;
use crate::module::Emitted;
use ir::kernel::{Attention, AttentionGrad};
use melior::Context;

pub fn emit<'c>(_: &'c Context, _: &Unit, _: &Attention) -> Result<Emitted<'c>, Error> {
    Err(Error::Unsupported("attention"))
}

pub fn emit_grad<'c>(_: &'c Context, _: &Unit, _: &AttentionGrad) -> Result<Emitted<'c>, Error> {
    Err(Error::Unsupported("the gradient of attention"))
}
