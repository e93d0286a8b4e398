//! Folders with weights: safetensors and the JSON files beside it.

use super::Target;
use crate::input::{Input, together};
use runtime::weights::{Folder, TensorFile};
use std::path::Path;

pub const TARGET: Target = Target {
    name: "weights",
    seeds,
    words: &[
        "\"dtype\":\"F32\"",
        "\"dtype\":\"F16\"",
        "\"dtype\":\"I64\"",
        "\"shape\":[",
        "\"data_offsets\":[0,18446744073709551615]",
        "{",
        "}",
        "[",
        "]",
        "null",
        "\"<pad>\": 0",
        "\"\": -1",
        "\"|\": 4294967296",
        "\"do_normalize\": ",
    ],
    run,
};

fn seeds() -> Vec<Input> {
    let names = [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "vocab.json",
    ];
    let folders = [
        "fuzz/corpus/weights",
        "tests/fixtures/base_like/ctc",
        "tests/fixtures/large_like/ctc",
    ];
    folders.iter().map(|f| together(f, &names)).collect()
}

fn run(input: &Input, folder: &Path) -> bool {
    if input.write(folder).is_err() {
        return false;
    }
    let mut sound = true;
    match Folder::open(folder) {
        Ok(opened) => sound &= opened.vocab().is_ok() & opened.normalize().is_ok(),
        Err(_) => sound = false,
    }
    let Ok(file) = TensorFile::open(&folder.join("model.safetensors")) else {
        return false;
    };
    for name in file.names() {
        let _ = file.shape(&name);
        sound &= file.floats(&name).is_ok();
        let _ = file.integers(&name);
    }
    sound
}
