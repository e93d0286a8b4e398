//! Contract kernels.

use crate::Error;
use crate::function::Unit;
use crate::module::Emitted;
use ir::kernel::Contract;
use melior::Context;

pub fn emit<'c>(_: &'c Context, _: &Unit, _: &Contract) -> Result<Emitted<'c>, Error> {
    Err(Error::Unsupported("contract kernels"))
}
