//! The speech models, small, as compiled code: against transformers, on any number of threads, padded, in micro-batches; and as code for
//! the GPU under the emulator.

mod accumulation;
mod bf16;
mod convolutions;
mod family;
mod frozen;
#[cfg(feature = "gpu")]
mod gpu;
mod hostile;
mod int8;
mod padding;
mod parity;
mod points;
mod run_sizes;
mod small;
mod threads;

use w2vc_tests::clips;
