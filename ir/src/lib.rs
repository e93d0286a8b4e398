//! Tensor IR, kernel IR, and what the crates of w2vc say to each other.
//!
//! Tensor IR says *what* is computed: a [`graph::Graph`] of pure values with an element type and a symbolic shape. Its
//! meaning is the reference evaluator, [`eval::evaluate`]. [`ops`] has everything the compiler knows of an op. Kernel
//! IR ([`kernel`]) says *where*: loops over operand slots. The [`artifact`] is what an executable carries.
//!
//! ```
//! use std::collections::BTreeMap;
//! use w2vc_ir::{dim::Dim, eval::evaluate, graph::Graph, ops::Softmax, scalar::DType, tensor::Tensor, types::Type};
//!
//! let mut g = Graph::default();
//! let x = g.input("x", Type::f32([Dim::sym("B"), Dim::from(2)]));
//! let y = g.add_op(Softmax {}, &[x]);
//! g.outputs.push(("y".into(), y));
//! assert_eq!(g.ty(y).to_string(), "f32[B, 2]");
//!
//! let x = Tensor::new(DType::F32, vec![1, 2], vec![3.0, 3.0]);
//! let results = evaluate(&g, &[("B".into(), 1)].into(), &BTreeMap::from([("x".into(), x)]));
//! assert_eq!(results[0].1.data, [0.5, 0.5]);
//!
//! assert!(w2vc_ir::text::parse(&g.to_string()).unwrap() == g);
//! ```

pub mod artifact;
pub mod codegen;
pub mod dim;
pub mod emit;
pub mod eval;
pub mod examples;
pub mod expansions;
pub mod gradient;
pub mod graph;
pub mod graph_verify;
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
pub mod names;
pub mod ops;
pub mod optimizer;
pub mod program_text;
pub mod program_verify;
pub mod requirements;
pub mod rng;
pub mod rounding;
pub mod sample;
pub mod scalar;
pub mod stack;
pub mod task;
pub mod tensor;
pub mod tensor_map;
pub mod text;
pub mod types;
