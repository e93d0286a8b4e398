//! The CPU backend: kernel IR to vector machine code, through LLVM.
//!
//! [`compile`] turns a list of kernels into one flat, position-independent, self-contained image of machine code: no
//! library is called from it, so mapping it executable is enough to run it. Every entry function has the signature
//!
//! ```text
//! extern "C" fn(slots: *const *mut u8, sizes: *const i64, begin: i64, end: i64, workspace: *mut u8, scratch: *mut u8)
//! ```
//!
//! where `slots[i]` is the address of operand slot `i` (aligned for its element type), `sizes[i]` the value of symbol
//! `i` of the list given to [`compile`], `begin..end` the items of work to do, `workspace` memory that all threads of
//! the launch share and `scratch` memory of this thread alone (both aligned to 64 bytes). The entries of a kernel run
//! one after the other; the items of an entry may be divided over threads in any way without changing a bit.
//!
//! | module | role |
//! |-|-|
//! | `target` | instruction sets and vector width |
//! | `schedule` | how matrix multiplications are cut, as a table |
//! | `scheme` | convolutions with fewer multiplications, as a table |
//! | `entry` | one entry function being written: operands, sizes |
//! | `arith`, `flow` | its arithmetic; its loops and conditions |
//! | `bf16` | widening, rounding and multiplying numbers of 16 bits |
//! | `memory` | loads and stores of vectors, masks, gathers |
//! | `function`, `math`, `random` | scalar functions; exp, log, erf, tanh; random numbers |
//! | `value`, `reduce` | scalar values of kernel IR as vector code; reductions of them |
//! | `row`, `column`, `contract`, `gemm`, `attention`, `scatter`, `ctc` | the bodies |
//! | `build`, `link` | kernels to object files; these to a flat image |

mod arith;
mod attention;
mod bf16;
mod build;
mod column;
mod contract;
mod ctc;
mod entry;
mod flow;
mod function;
mod gemm;
pub mod link;
mod math;
mod memory;
mod random;
mod reduce;
mod row;
mod scatter;
mod schedule;
mod scheme;
mod target;
mod value;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod testing;

pub use build::{Compiled, compile, compile_with};
pub use schedule::{Schedule, Shape};
pub use target::Target;

/// Why kernels could not be compiled.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    #[error("unknown target `{0}`; known are native, x86-64-v3, x86-64-v4, x86-64-v4-vnni and x86-64-v4-bf16")]
    UnknownTarget(String),
    #[error("{0} lacks {1}, which every program made here needs")]
    MissingFeature(String, &'static str),
    #[error("kernel `{kernel}`: {what} cannot be compiled for the CPU")]
    Unsupported { kernel: String, what: String },
    #[error("kernel `{kernel}` uses the size `{size}`, which is not among the program's sizes")]
    UnknownSize { kernel: String, size: String },
    #[error("kernel `{kernel}`: {message}")]
    Invalid { kernel: String, message: String },
    #[error("LLVM: {0}")]
    Llvm(String),
    #[error("generated code: {0}")]
    Link(String),
}
