//! The two IRs and the words they share.

pub mod artifact;
pub mod dim;
pub mod kernel;
pub mod rng;
pub mod scalar;
