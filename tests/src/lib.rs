//! What the tests share: running graphs through the compiler and comparing tensors.

pub mod bundle;
pub mod clips;
pub mod close;
pub mod generate;
pub mod interpret;
pub mod native;
pub mod ops;
pub mod programs;
pub mod written;
