//! Scatter kernels.

use crate::Error;
use crate::function::Unit;
use crate::module::Emitted;
use ir::kernel::Scatter;
use melior::Context;

pub fn emit<'c>(_: &'c Context, _: &Unit, _: &Scatter) -> Result<Emitted<'c>, Error> {
    Err(Error::Unsupported("scatter kernels"))
}
