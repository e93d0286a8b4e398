//! Ctc.

use crate::Error;
use crate::entry::{Emitted, Unit, unsupported};
use ir::kernel::{Ctc, Kernel};

pub fn emit(_unit: &Unit, name: &str, _kernel: &Kernel, _body: &Ctc) -> Result<Emitted, Error> {
    unsupported(name, "Ctc")
}
