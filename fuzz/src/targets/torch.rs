//! Files of torch, in both of their forms, and the checkpoints of fairseq among them.

use super::Target;
use crate::input::{Input, each};
use runtime::weights::{Folder, TorchFile};
use std::path::Path;

pub const TARGET: Target = Target {
    name: "torch",
    seeds,
    words: &[
        "cos\nsystem\n",
        "ctorch._utils\n_rebuild_tensor_v2\n",
        "ctorch\nFloatStorage\n",
        "ccollections\nOrderedDict\n",
        "\u{1}\u{2}.",
        "(",
        "t",
        "Q",
        "R",
        "}",
        "]",
        "storage",
        "PK\u{1}\u{2}",
        "PK\u{5}\u{6}",
    ],
    run,
};

fn seeds() -> Vec<Input> {
    let mut seeds = each("tests/fixtures/torch", &["kinds.bin", "kinds_old.bin", ".pt"]);
    // The first file's name tells what a file is.
    for seed in &mut seeds {
        seed.files[0].0 = "weights.pt".into();
    }
    seeds
}

fn run(input: &Input, folder: &Path) -> bool {
    let Ok(path) = input.write(folder) else { return false };
    let Ok(file) = TorchFile::open(&path) else { return false };
    let mut sound = true;
    for name in file.names() {
        let count = file.shape(&name).unwrap_or_default().iter().product();
        sound &= file.floats_into(&name, &mut vec![0.0; count]).is_ok();
    }
    match Folder::open(&path) {
        Ok(opened) => sound & opened.vocab().is_ok() & opened.normalize().is_ok() & opened.config().is_ok(),
        Err(_) => false,
    }
}
