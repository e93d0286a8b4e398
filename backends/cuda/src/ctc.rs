//! Ctc kernels.

use crate::Error;
use crate::function::Unit;
use crate::module::Emitted;
use ir::kernel::Ctc;
use melior::Context;

pub fn emit<'c>(_: &'c Context, _: &Unit, _: &Ctc) -> Result<Emitted<'c>, Error> {
    Err(Error::Unsupported("ctc kernels"))
}
