//! Executes programs: loads an artifact from the running file, plans memory per shape, and launches kernels on threads.

mod arena;
mod bundle;
mod image;
mod machine;
mod peak;
pub mod plan;
pub(crate) mod program;
pub(crate) mod resolve;

pub use bundle::{Bundle, append};
pub use machine::{Machine, Native};
pub use resolve::temporaries;
