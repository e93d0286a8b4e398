//! The compiler as one list: from the graph of a program to kernels and steps.

use crate::decompose::decompose;
use crate::differentiate::{DifferentiateError, differentiate};
use crate::lower::{Kernels, LowerError, ParamOffsets, lower};
use crate::rematerialise::rematerialise;
use crate::rewrite::{Fired, rewrite};
use ir::artifact::Program;
use ir::dim::Dim;
use ir::graph::Graph;

/// Why a program cannot be compiled.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CompileError {
    /// It cannot be differentiated.
    #[error(transparent)]
    Differentiate(#[from] DifferentiateError),
    /// It cannot be lowered.
    #[error(transparent)]
    Lower(#[from] LowerError),
}

/// A program to compile.
pub struct Source<'a> {
    /// Its name.
    pub name: &'a str,
    /// The forward graph.
    pub graph: &'a Graph,
    /// The output to differentiate, for training programs.
    pub loss: Option<&'a str>,
    /// Parameters (stacked names) that train.
    pub trains: &'a dyn Fn(&str) -> bool,
}

/// Graph after each step, for `--emit` and `explain`.
pub struct Stages {
    /// The rewrite rules that fired.
    pub fired: Vec<Fired>,
    /// With gradients.
    pub differentiated: Graph,
    /// In primitive ops.
    pub decomposed: Graph,
}

/// The tensor-IR half.
pub fn to_primitive(source: &Source) -> Result<Stages, CompileError> {
    let rewritten = rewrite(source.graph);
    let differentiated = match source.loss {
        Some(loss) => differentiate(&rewritten.graph, loss, source.trains)?,
        None => rewritten.graph.prune(),
    };
    let decomposed = rematerialise(&decompose(&differentiated));
    Ok(Stages {
        fired: rewritten.report,
        differentiated,
        decomposed,
    })
}

/// The kernel-IR half.
pub fn to_kernels(
    name: &str,
    g: &Graph,
    params: &ParamOffsets,
    arena: &Dim,
    kernels: &mut Kernels,
) -> Result<Program, CompileError> {
    Ok(lower(name, g, params, arena, kernels)?)
}
