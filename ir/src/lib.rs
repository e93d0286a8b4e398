//! The two IRs and the words they share.

pub mod artifact;
pub mod codegen;
pub mod dim;
pub mod eval;
pub mod expansions;
pub mod gradient;
pub mod graph;
pub mod kernel;
pub mod kernel_axes;
pub mod kernel_cost;
pub mod kernel_describe;
pub mod kernel_needs;
pub mod kernel_sample;
pub mod kernel_text;
pub mod kernel_values;
pub mod kernel_verify;
pub mod lower;
pub mod ops;
pub mod rng;
pub mod rounding;
pub mod sample;
pub mod scalar;
pub mod tensor;
pub mod tensor_map;
pub mod text;
pub mod types;
