//! Commands of a compiled program besides training: their command lines and what they do.

pub mod align;
pub mod classify;
pub mod data;
pub mod decode;
pub mod evaluate;
pub mod features;
pub mod listen;
pub mod lm;
mod npy;
pub mod plan;
pub mod report;
pub mod score;
pub mod serve;
pub mod shell;
pub mod transcribe;
