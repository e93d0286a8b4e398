//! Model descriptions, alone and extending a file beside them.

use super::Target;
use crate::input::{Input, project};
use std::fs;
use std::path::Path;

pub const TARGET: Target = Target {
    name: "ron",
    seeds,
    words: &[
        "repeat(",
        "let ",
        "param(",
        "input(",
        "block(",
        "extends: ",
        "name: ",
        "constants: ",
        "programs: ",
        "recipes: ",
        "\"hidden\": ",
        "hidden",
        "heads",
        "layers",
        "layer",
        "einsum(",
        "reshape(",
        "take(",
        "floor_div(",
        " * ",
        " / ",
        " - ",
        " + ",
        "size: ",
        "shape: ",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        ",",
        ":",
        "//",
        "/*",
        "#![enable(implicit_some)]",
        "_",
        "é",
    ],
    run,
};

fn seeds() -> Vec<Input> {
    let text = |path: &str| fs::read(project(path)).unwrap_or_else(|e| panic!("the corpus lacks {path}: {e}"));
    let (base, tiny) = (text("models/base.ron"), text("models/tiny.ron"));
    let one = |path: &str| Input::new("model.ron", text(path));
    let small = |name: &str| text(&format!("fuzz/corpus/ron/{name}"));
    vec![
        one("tests/models/classifier.ron"),
        one("fuzz/corpus/ron/line.ron"),
        one("fuzz/corpus/ron/repeat.ron"),
        one("fuzz/corpus/ron/head.ron"),
        Input {
            files: vec![
                ("model.ron".into(), small("over.ron")),
                ("head.ron".into(), small("head.ron")),
            ],
        },
        Input::new("model.ron", base.clone()),
        Input {
            files: vec![("model.ron".into(), tiny), ("base.ron".into(), base)],
        },
    ]
}

fn run(input: &Input, folder: &Path) -> bool {
    let Ok(path) = input.write(folder) else { return false };
    match frontend::load(&path, &[], &runtime::HOST) {
        Ok(model) => {
            let _ = frontend::check_report(&model);
            true
        }
        Err(e) => {
            let _ = e.to_string();
            false
        }
    }
}
