//! The CUDA backend: kernel IR to PTX, through MLIR.
//!
//! [`Generator::compile`] turns one kernel into a `gpu.module` written in the dialects gpu, scf, arith, vector and nvvm,
//! lowers it to LLVM IR and has LLVM print PTX. No library of NVIDIA's takes part, and the PTX calls nothing.
//!
//! A function's parameters are said at [`ir::artifact::Grid`]. Sizes are not worked out in kernels: every dim that a kernel
//! names is a parameter, whose value the host computes per launch.
//!
//! | module | role |
//! |-|-|
//! | `builder` | MLIR operations and structured control flow over typed values |
//! | `arith`, `math`, `random` | arithmetic; exp, log, erf, tanh; random numbers |
//! | `function` | one function being written: operands, sizes, shared memory |
//! | `memory`, `warp`, `instructions` | loads and stores; places in the grid, shuffles, barriers; tensor cores and asynchronous copies |
//! | `values` | scalar values of kernel IR as code of one thread |
//! | `reduce` | sums and maxima, of one thread and of many |
//! | `row`, `column`, `contract`, `attention`, `scatter`, `ctc` | the bodies |
//! | `module` | kernels to modules, these to PTX |

mod arith;
mod attention;
mod builder;
mod column;
mod contract;
mod ctc;
mod function;
mod instructions;
mod math;
mod memory;
mod module;
mod random;
mod reduce;
mod row;
mod scatter;
mod values;
mod warp;

pub use module::Generator;

/// Why a kernel could not be compiled.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    #[error("there is no GPU code for {0}")]
    Unsupported(&'static str),
    #[error("{0}")]
    Invalid(String),
    #[error("MLIR: {0}")]
    Mlir(String),
    #[error("LLVM: {0}")]
    Llvm(String),
}
