//! What reads the work of others. One file per target, and one line in the table.

mod arpa;
mod artifact;
mod audio;
mod checkpoint;
mod kenlm;
mod kernel_ir;
mod manifest;
mod program_text;
mod ptx;
mod ron;
mod tensor_ir;
mod torch;
mod weights;

use crate::input::Input;
use std::path::Path;

pub struct Target {
    pub name: &'static str,
    /// Sound inputs, always in the same order.
    pub seeds: fn() -> Vec<Input>,
    /// Words of the language, to be put anywhere.
    pub words: &'static [&'static str],
    /// Reads an input; the folder is for its files. Whether it was taken for sound.
    pub run: fn(&Input, &Path) -> bool,
}

pub const TARGETS: &[Target] = &[
    ron::TARGET,
    tensor_ir::TARGET,
    kernel_ir::TARGET,
    program_text::TARGET,
    ptx::TARGET,
    artifact::TARGET,
    checkpoint::TARGET,
    weights::TARGET,
    torch::TARGET,
    manifest::TARGET,
    audio::TARGET,
    arpa::TARGET,
    kenlm::TARGET,
];
