//! The passes: from tensor IR to programs over kernels. [`pipeline`] lists them, [`module`] is what they change.
//!
//! What a pass does to one graph is a function of its own. Here a graph is simplified, then differentiated:
//!
//! ```
//! use ir::{dim::Dim, examples::Examples, graph::Graph, names::gradient_of, ops::Param, types::Type};
//! use w2vc_passes::{differentiate::differentiate, rewrite::rewrite};
//!
//! let mut g = Graph::default();
//! let w = g.add_op(Param { name: "w".into(), ty: Type::f32([Dim::from(3)]) }, &[]);
//! let same = g.scale(w, 1.0);
//! let square = g.mul(same, same);
//! let loss = g.sum(square, &[0]);
//! g.outputs.push(("loss".into(), loss));
//!
//! let rewritten = rewrite(&g, &Examples::default());
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
pub mod module;
pub mod narrow;
pub mod optimizer;
pub mod pipeline;
pub mod prepare;
pub mod quantise;
pub mod rematerialise;
mod reshape;
pub mod rewrite;
mod scalar;
pub mod verify;
