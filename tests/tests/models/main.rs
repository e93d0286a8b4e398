//! The speech models, small, as compiled code: against transformers, on any number of threads, padded, in micro-batches; and as code for
//! the GPU under the emulator.

mod accumulation;
mod gpu;
mod padding;
mod parity;
mod small;
mod threads;

use tests::clips;
