//! The text form of tensor IR.

use super::Target;
use crate::input::{Input, each};
use std::path::Path;

pub const TARGET: Target = Target {
    name: "tensor-ir",
    seeds: || each("tests/cases", &[".ir"]),
    words: &[
        "%0",
        "%1",
        "%99999999999999999999",
        "input(",
        "param(",
        "einsum(spec:",
        "repeat",
        "concat(axis:",
        "f32",
        "i64",
        "bool",
        "[B, T]",
        "\"B*T\"",
        "\"(T)//2\"",
        "outputs",
        "output ",
        "dtype:",
        "shape:[",
        "add",
        "mul",
        " : ",
        " = ",
        "(",
        ")",
        "[",
        "]",
    ],
    run,
};

fn run(input: &Input, _: &Path) -> bool {
    match ir::text::parse(&input.text()) {
        Ok(graph) => {
            let again = graph.to_string();
            assert!(
                ir::text::parse(&again).as_ref() == Ok(&graph),
                "what is printed reads back as another graph"
            );
            true
        }
        Err(e) => {
            let _ = e.to_string();
            false
        }
    }
}
