//! The text form of programs over kernels.

use super::Target;
use crate::input::{Input, each};
use std::path::Path;

/// What comes out of the file tests of passes that make programs.
fn programs() -> Vec<Input> {
    let folders = ["lower", "narrow", "prepare", "quantise"];
    let cases = folders.iter().flat_map(|f| each(&format!("tests/cases/{f}"), &[".ir"]));
    let mut all: Vec<Input> = cases.collect();
    for (_, bytes) in all.iter_mut().flat_map(|i| &mut i.files) {
        let start = bytes.windows(5).position(|w| w == b"\n---\n");
        bytes.drain(..start.map_or(0, |at| at + 5));
    }
    all
}

pub const TARGET: Target = Target {
    name: "program-text",
    seeds: programs,
    words: &[
        "program \"p\"",
        "kernel row_0",
        "steps {",
        "prepare {",
        "loop 3 {",
        "loop 3 reverse keep b0[0] {",
        "}",
        "b0[0; 64 per layer]",
        "b0",
        "b1 temp f32[4] live 0 to 3",
        "input \"x\" f32[B] b0",
        "output \"y\" bf16[] b0",
        "require 0 <= N - 1 <= 9 \"an axis\"",
        "reads 0..99999999999999999999",
        "trains 3..1",
        "loss \"loss\"",
        " <= ",
        "-9223372036854775808",
        "9223372036854775807",
        "[",
        "]",
        "\"",
    ],
    run,
};

fn run(input: &Input, _: &Path) -> bool {
    match ir::program_text::parse(&input.text()) {
        Ok(all) => {
            let again = ir::program_text::print(&all.programs, &all.kernels);
            assert!(
                ir::program_text::parse(&again).as_ref() == Ok(&all),
                "what is printed reads back as other programs"
            );
            let _ = ir::program_verify::verify(&all.programs, &all.kernels);
            true
        }
        Err(e) => {
            let _ = e.to_string();
            false
        }
    }
}
