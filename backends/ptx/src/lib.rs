//! Runs PTX on the CPU: the very text LLVM's NVPTX backend prints for sm_80 and sm_90a.
//!
//! [`Module::parse`] decodes a text; [`Module::launch`] runs one of its kernels over a [`Memory`]. A block's warps of 32
//! lanes run one after another between barriers; lanes that diverge meet again at the branch's immediate post-dominator.
//! Blocks are divided among threads; a program free of races gives the same bits on any number of them.
//!
//! What a GPU would answer with garbage or a hang is a typed [`Fault`] here: accesses out of bounds or misaligned, reads of
//! uninitialised shared memory, races on shared memory (a missing barrier), reads of asynchronous copies that were not
//! waited for, barrier divergence, warp instructions with lanes missing, endless loops. So are, of what sm_90 adds: missing
//! fences, misused mbarriers, boxes out of bounds, registers and memory touched while `wgmma` works on them, waits that
//! nothing can end. An instruction that is not covered is a [`ParseError`] naming its line, before anything runs.
//!
//! Bulk copies land as late as they can, so that nothing works by luck; blocks in clusters, `wgmma` with A in registers and
//! copies from shared memory are not covered.
//!
//! The reading of fragment layouts, shuffles, rounding and approximations follows the PTX ISA's text and is not yet
//! confirmed by vectors recorded on a GPU (`tests/recorded`).

mod asynchronous;
mod cfg;
mod decode;
mod exec;
mod fault;
mod fused;
mod kernel;
mod lanes;
mod launch;
mod memory;
mod module;
mod names;
mod op;
mod order;
mod parse;
mod race;
mod shared;
mod syntax;
mod tensor_map;
mod token;
pub mod vectors;

pub use fault::{Error, Fault, FaultKind, LaunchError, MemoryError, ParseError, RaceKind};
pub use launch::{DEFAULT_STEP_LIMIT, Launch, Stats};
pub use memory::{Memory, Region};
pub use module::Module;
pub use syntax::{Param, Space};
pub use tensor_map::{TensorMap, TensorMapError};

/// Where shared memory begins in the generic address space.
pub(crate) const SHARED_WINDOW: u64 = 1 << 56;
/// Where local memory begins in the generic address space.
pub(crate) const LOCAL_WINDOW: u64 = 2 << 56;
/// Where parameters begin in the generic address space.
pub(crate) const PARAM_WINDOW: u64 = 3 << 56;
/// Most bytes of shared memory of one block (sm_90).
pub const MAX_SHARED: u64 = 227 * 1024;
