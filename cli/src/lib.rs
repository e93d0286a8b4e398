//! A model file to an artifact with machine code: the passes and the backend, driven in order.

pub mod args;
pub mod compile;
pub mod explain;
pub mod generate;
pub mod layout;
pub mod like;
pub mod reference;
