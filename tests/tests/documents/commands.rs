//! Command lines in the documentation are ones that the programs take.

use crate::pages::{Block, files, name, page};
use clap::CommandFactory;
use compiler::args::Cli;
use ir::task::Task;
use runtime::cli::command_line_of;
use w2vc_tests::native::model;

#[test]
fn command_lines_in_pages_parse() {
    let compiled = command_line_of(&every_task());
    let mut wrong = vec![];
    let mut parsed = 0;
    for path in files(&["md"]) {
        for block in page(&std::fs::read_to_string(&path).unwrap()).blocks {
            for (line, words) in lines(&block) {
                let Some(program) = program(&words[0]) else { continue };
                let command = match program {
                    Program::Compiler => Cli::command(),
                    Program::Compiled => compiled.clone(),
                };
                parsed += 1;
                if let Err(e) = command.try_get_matches_from(&words).map_err(|e| e.kind()) {
                    use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
                    if !matches!(e, DisplayHelp | DisplayVersion) {
                        wrong.push(format!("{}:{line}: {e}: {}", name(&path), words.join(" ")));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(parsed > 50, "only {parsed} command lines were found");
}

/// Tasks of the models that pages speak of, by name.
fn every_task() -> Vec<Task> {
    let mut all: Vec<Task> = vec![];
    for file in ["models/base.ron", "tests/models/classifier.ron"] {
        for task in model(file, &[]).tasks {
            if all.iter().all(|t| t.name != task.name) {
                all.push(task);
            }
        }
    }
    all
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Program {
    Compiler,
    /// What `w2vc compile` made: `OUT` or `./NAME` in the pages.
    Compiled,
}

fn program(word: &str) -> Option<Program> {
    match word {
        "w2vc" | "target/release/w2vc" => Some(Program::Compiler),
        "OUT" => Some(Program::Compiled),
        _ => {
            let local = word.strip_prefix("./")?;
            let one_word = !local.is_empty() && local.chars().all(|c| c.is_alphanumeric() || c == '-');
            one_word.then_some(Program::Compiled)
        }
    }
}

/// Command lines of a block as words, with their numbers; forms with brackets, alternatives or dots are none.
fn lines(block: &Block) -> Vec<(usize, Vec<String>)> {
    if !matches!(block.info.as_str(), "" | "sh" | "bash") {
        return vec![];
    }
    let mut all = vec![];
    let joined = block.text.replace("\\\n", " ");
    for (i, line) in joined.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or_default();
        for part in line.split(" | ") {
            let part = part.split(" > ").next().unwrap_or_default();
            let form = part.contains(['[', '|']) || part.contains("...");
            let words = words(part);
            if !form && !words.is_empty() {
                all.push((block.line + i, words));
            }
        }
    }
    all
}

/// Words as a shell splits them, without variables in front.
fn words(line: &str) -> Vec<String> {
    let (mut all, mut word, mut quoted) = (vec![], None::<String>, false);
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => all.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    all
}

#[test]
fn lines_are_split_as_a_shell_does() {
    assert_eq!(
        words(r#"OUT a --hotwords "Ulm,New Ulm" b"#),
        ["OUT", "a", "--hotwords", "Ulm,New Ulm", "b"]
    );
    assert_eq!(program("./base-gpu"), Some(Program::Compiled));
    assert_eq!(program("bench/run.py"), None);
    assert_eq!(program("scripts/x.sh"), None);
}
