//! The text form of kernel IR, and the verifier.

use super::Target;
use crate::input::Input;
use ir::kernel_text::{parse, print};
use std::path::Path;

pub const TARGET: Target = Target {
    name: "kernel-ir",
    seeds,
    words: &[
        "s0", "s99", "v0", "v99999", "a0", "a9", "load ", "store ", "read", "write", "f32", "i32", "bf16", "row [",
        "column [", " if ", "axis a0", "reduce", "[", "]", "(", ")", ",", ":", "*", "//", "%",
    ],
    run,
};

fn seeds() -> Vec<Input> {
    let samples = (0..64).map(|seed| ir::kernel_sample::any(seed).kernel);
    samples
        .map(|kernel| Input::new("kernel.ir", print(&kernel).into_bytes()))
        .collect()
}

fn run(input: &Input, _: &Path) -> bool {
    let Ok(kernel) = parse(&input.text()) else { return false };
    let _ = print(&kernel);
    ir::kernel_verify::verify(&kernel).is_ok()
}
