//! From tensor IR to kernel IR, one step at a time; `pipeline` lists the steps.

pub mod decompose;
pub mod differentiate;
pub mod fuse;
pub mod lower;
pub mod narrow;
pub mod optimizer;
pub mod pipeline;
pub mod prepare;
pub mod quantise;
pub mod rematerialise;
mod reshape;
pub mod rewrite;
mod scalar;
