//! Running decoded kernels: a block with its warps, and the families of instructions.

mod asynchronous;
mod atomics;
pub mod block;
mod cooperate;
mod copy;
mod lanes;
mod matrix;
mod mbarrier;
mod memory;
mod predicates;
mod tensor;
pub mod warp;
mod wgmma;
