//! The passes: from tensor IR to programs of kernels. [`pipeline`] lists them.
//!
//! A pass is a function from one value to the next. Here a graph is simplified, then differentiated:
//!
//! ```
//! use ir::{dim::Dim, graph::Graph, names::gradient_of, ops::Param, types::Type};
//! use w2vc_passes::{differentiate::differentiate, rewrite::rewrite};
//!
//! let mut g = Graph::default();
//! let w = g.add_op(Param { name: "w".into(), ty: Type::f32([Dim::from(3)]) }, &[]);
//! let same = g.scale(w, 1.0);
//! let square = g.mul(same, same);
//! let loss = g.sum(square, &[0]);
//! g.outputs.push(("loss".into(), loss));
//!
//! let rewritten = rewrite(&g);
//! assert!(rewritten.report.iter().any(|fired| fired.rule == "mul-by-one"));
//!
//! let trained = differentiate(&rewritten.graph, "loss", &|name| name == "w").unwrap();
//! assert_eq!(trained.outputs[1].0, gradient_of("w"));
//! ```

#![warn(missing_docs)]

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
