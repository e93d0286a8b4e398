//! KenLM's binaries of all types, and what is asked of them.

use super::Target;
use crate::input::{Input, each};
use decode::lm::{Model, State};
use std::path::Path;

pub const TARGET: Target = Target {
    name: "kenlm",
    seeds,
    words: &[
        "mmap lm http://kheafield.com/code format version 5\n",
        "<unk>\0",
        "\0\0\0\0\0\0\0\0",
        "\u{1}\0\0\0",
    ],
    run,
};

fn seeds() -> Vec<Input> {
    each("decode/tests/fixtures/lm", &[".bin"])
}

/// Asks a model for words that it may have; whether all answers are numbers.
pub fn ask(model: &Model) -> bool {
    let names = model
        .words()
        .map(|w| w.into_iter().take(20).map(String::from).collect::<Vec<_>>());
    let sound = names.is_ok();
    let (mut state, mut next) = (model.begin(), State::default());
    for word in names
        .unwrap_or_default()
        .iter()
        .map(String::as_str)
        .chain(["THE", "a", "b", "</s>", "<s>"])
    {
        let score = model.score(&state, model.index(word), &mut next);
        assert!(score.log10.is_finite(), "a word is worth {}", score.log10);
        std::mem::swap(&mut state, &mut next);
    }
    sound
}

fn run(input: &Input, _: &Path) -> bool {
    match Model::from_bytes(input.bytes().to_vec(), "input") {
        Ok(model) => ask(&model),
        Err(e) => {
            let _ = e.to_string();
            false
        }
    }
}
