//! Scatter.

use crate::Error;
use crate::entry::{Emitted, Unit, unsupported};
use ir::kernel::{Kernel, Scatter};

pub fn emit(_unit: &Unit, name: &str, _kernel: &Kernel, _body: &Scatter) -> Result<Emitted, Error> {
    unsupported(name, "Scatter")
}
