//! The model language: RON text to resolved names and sizes to tensor IR. README.md beside this crate describes it.

mod bind;
mod data;
mod definitions;
mod diagnostic;
mod document;
mod expr;
mod globals;
mod limits;
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

pub use diagnostic::{Diagnostic, Diagnostics, Source, Span};
pub use load::{load, load_programs};
pub use model::{Constant, Model, ParamDecl, Program};
pub use report::check_report;
