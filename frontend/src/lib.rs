//! The model language: RON text to tensor IR and tasks. docs/reference/language.md describes it.
//!
//! ```
//! let model = w2vc_frontend::load_text(
//!     "small.ron",
//!     r#"(
//!         symbols: ["B"],
//!         programs: {
//!             "double": (inputs: { "x": "f32[B, 4]" }, body: "y = 2 * x", outputs: ["y"]),
//!         },
//!     )"#,
//! )
//! .unwrap();
//! let graph = &model.programs[0].graph;
//! assert_eq!(graph.ty(graph.outputs[0].1).to_string(), "f32[B, 4]");
//!
//! let wrong = w2vc_frontend::load_text(
//!     "small.ron",
//!     r#"(programs: { "p": (inputs: { "x": "f32[4]" }, body: "y = sofmax(x)", outputs: ["y"]) })"#,
//! );
//! let said = wrong.unwrap_err().render(false);
//! assert!(said.contains("did you mean `softmax`?"), "{said}");
//! ```

#![warn(missing_docs)]

mod bind;
mod data;
mod definitions;
mod diagnostic;
mod document;
mod expr;
mod globals;
mod limits;
mod lists;
mod load;
mod model;
mod op_call;
mod params;
mod parse;
mod program;
mod repeat;
mod report;
mod tasks;
mod trace;
mod value;

pub use diagnostic::{Diagnostic, Diagnostics, Source, Span, nearest};
pub use load::{load, load_programs, load_text};
pub use model::{Constant, Known, Model, ParamDecl, Program, Symbol};
pub use report::check_report;
