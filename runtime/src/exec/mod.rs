//! Executes programs: loads an artifact from the running file, plans memory per shape, and launches kernels on threads.

mod arena;
mod bandwidth;
mod bundle;
mod image;
mod machine;
mod open;
mod peak;
pub mod plan;
mod processor;
pub(crate) mod program;
mod recorder;
pub(crate) mod resolve;

pub use bundle::{Bundle, append, pack_ptx, unpack_ptx};
pub use machine::{Machine, Native};
pub use open::open;
pub use resolve::temporaries;
