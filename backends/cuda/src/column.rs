//! ColumnKernel kernels.

use crate::Error;
use crate::function::Unit;
use crate::module::Emitted;
use ir::kernel::ColumnKernel;
use melior::Context;

pub fn emit<'c>(_: &'c Context, _: &Unit, _: &ColumnKernel) -> Result<Emitted<'c>, Error> {
    Err(Error::Unsupported("column kernels"))
}
