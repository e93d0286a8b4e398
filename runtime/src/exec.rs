//! Executes programs: loads an artifact from the running file, plans memory per shape, and launches kernels on threads.

mod arena;
mod bandwidth;
mod bundle;
mod fence;
mod guarded;
mod image;
mod launch;
mod machine;
mod once;
mod open;
mod peak;
mod pieces;
pub mod plan;
pub(crate) mod points;
mod processor;
pub(crate) mod program;
mod recorder;
pub(crate) mod resolve;

pub use bundle::{Bundle, MARK, append, check_runner, pack_ptx, unpack_ptx};
pub use guarded::Edge;
pub use machine::{Machine, Native};
pub use once::{MemoryPlan, memory_plan};
pub use open::{open, open_file};
pub use processor::has_bf16;
pub use resolve::temporaries;
