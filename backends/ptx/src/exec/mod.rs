//! Running decoded kernels: a block with its warps, and the families of instructions.

mod atomics;
pub mod block;
mod cooperate;
mod copy;
mod lanes;
mod matrix;
mod memory;
mod predicates;
pub mod warp;
