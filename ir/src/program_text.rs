//! Programs over kernels as text, for people to read, and back.
//!
//! ```text
//! program "transcribe"
//!   input "x" f32[B, 8] b1
//!   output "y" f32[B, 8] b2
//!   require 0 <= B - 1 <= 1000 "an axis of `slice`"
//!   reads 0..3
//!   b0 params f32[192]
//!   b1 input f32[8*B]
//!   b2 output f32[8*B] live 0 to 1
//!   b3 prepared f32[192] live 0 to 1
//!   prepare {
//!     row_0 b0[0] b3[0]
//!   }
//!   steps {
//!     loop 3 keep b4[0] {
//!       contract_1 b1[0] b3[0; 64 per layer] b2[0]
//!     }
//!   }
//!
//! kernel row_0
//!   row [24, 8]
//!   ...
//! ```
//! `b` are buffers: kind, dtype, elements, and the first and last step at which what they hold matters, where that is not the
//! first step alone. A step is a kernel with its operands, one for each slot: a buffer and the element where the operand begins,
//! with what is added per layer. `loop 3 reverse` runs the layers backwards; `keep` names the numbers that say which are run.
//! `reads` and `trains` are numbers of parameters, `0..3` being 0, 1 and 2. A size must lie in what `require` says before
//! anything runs. Kernels are written as [`kernel_text`](crate::kernel_text) does. Lines that begin with `#` are comments;
//! indentation means nothing.

mod parse;
mod print;

pub use parse::{parse, requirement};
pub use print::{print, print_requirement};

use crate::artifact::Program;
use crate::kernel::Kernel;

/// What a text holds: programs and the kernels that they launch, by number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Programs {
    /// In order.
    pub programs: Vec<Program>,
    /// With their names, which differ.
    pub kernels: Vec<(String, Kernel)>,
}

#[cfg(test)]
mod tests;
