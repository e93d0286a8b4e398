//! Model text in the documentation is text that compiles.
//!
//! A block of ```` ```ron ```` is a whole model file. ```` ```ron in FILE ```` holds fields that extend a file of the repository;
//! ```` ```ron text ```` is not compiled (a form, not a model).

use crate::pages::{files, name, page};
use std::path::Path;

#[test]
fn models_in_pages_compile() {
    let mut wrong = vec![];
    let mut compiled = 0;
    let models = tempfile::tempdir().unwrap();
    for model in files(&["ron"])
        .iter()
        .filter(|p| p.parent().is_some_and(|d| d.ends_with("models")))
    {
        std::fs::copy(model, models.path().join(model.file_name().unwrap())).unwrap();
    }
    for path in files(&["md"]) {
        for block in page(&std::fs::read_to_string(&path).unwrap()).blocks {
            let mut words = block.info.split_whitespace();
            if words.next() != Some("ron") {
                continue;
            }
            let text = match (words.next(), words.next()) {
                (None, _) => block.text.clone(),
                (Some("in"), Some(file)) => {
                    let base = Path::new(file).file_name().unwrap().to_string_lossy().into_owned();
                    format!("(extends: {base:?},\n{})", block.text)
                }
                (Some("text"), None) => continue,
                _ => panic!("{}:{}: `{}` means nothing", name(&path), block.line, block.info),
            };
            compiled += 1;
            // Beside the models, so that a snippet extends them by their names.
            let file = models.path().join("snippet.ron");
            std::fs::write(&file, text).unwrap();
            if let Err(e) = frontend::load(&file, &[], &runtime::HOST) {
                wrong.push(format!("{}:{}:\n{}", name(&path), block.line, e.render(false)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compiled > 0, "no model was found in any page");
}
