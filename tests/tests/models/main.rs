//! The speech models, small, as compiled code: against transformers, on any number of threads, padded, in micro-batches.

mod accumulation;
mod clips;
mod padding;
mod parity;
mod small;
mod threads;
