//! The text form of tensor IR.

use super::Target;
use crate::input::{Input, each};
use std::path::Path;

/// The graphs of the file tests, without what comes out of them and what is said about them.
fn graphs() -> Vec<Input> {
    let folders = ["decompose", "differentiate", "lower", "rewrite"];
    let mut all: Vec<Input> = folders
        .iter()
        .flat_map(|f| each(&format!("tests/cases/{f}"), &[".ir"]))
        .collect();
    for (_, bytes) in all.iter_mut().flat_map(|i| &mut i.files) {
        let end = bytes.windows(5).position(|w| w == b"\n---\n");
        bytes.truncate(end.map_or(bytes.len(), |at| at + 1));
        let text = String::from_utf8_lossy(bytes);
        let of_graph =
            |l: &&str| l.trim_start().starts_with(['%', '}', '#']) || l.contains("inputs") || l.contains("output ");
        let lines: Vec<&str> = text.lines().filter(of_graph).collect();
        *bytes = format!("{}\n", lines.join("\n")).into_bytes();
    }
    all
}

pub const TARGET: Target = Target {
    name: "tensor-ir",
    seeds: graphs,
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
