//! File tests: every `.ir` file below `cases` is a text, what is to be done with it, and what must come out.
//!
//! ```text
//! # test: rewrite mul-one
//! # What the case is about.
//! %0 = ...
//! ---
//! what comes out
//! ```
//!
//! The words after `test` are passes of the compiler's list, which run in its order, or rules, where only these are to be
//! tried. `gpu` compiles for GPUs. What stands before `---` is a graph, or programs over kernels, as `w2vc opt` reads it; passes
//! that compute in 8 bits or bf16 do so. `error` wants the text to be refused. `UPDATE_GOLDEN=1` writes what is found instead.
//! Adding a case needs no Rust.

use ir::program_text;
use ir::rounding::Levels;
use passes::module::{Module, Stage, parse, plan_text};
use passes::narrow::Weights;
use passes::pipeline::{self, PASSES, Pass, Settings, Target};
use passes::rewrite::rules;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Of products in 8 bits.
const LEVELS: Levels = Levels::PAIRS;

/// What stands between a text and what comes out.
const BREAK: &str = "---\n";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// Every case, in the order of paths.
fn all() -> Vec<PathBuf> {
    let (mut found, mut open) = (vec![], vec![folder()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false if path.extension().is_some_and(|e| e == "ir") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

/// What a case asks for: the words after `# test:`.
fn header(text: &str) -> Option<Vec<&str>> {
    let line = text.lines().find_map(|l| l.strip_prefix("# test:"))?;
    Some(line.split_whitespace().collect())
}

/// What comes out of a text.
fn result(words: &[&str], text: &str) -> Result<String, String> {
    let mut module = match (words, parse(text)) {
        (["error"], Err(e)) => return Ok(format!("{e}\n")),
        (["error"], Ok(_)) => return Err("the text was to be refused".into()),
        (_, Err(e)) => return Err(e.to_string()),
        (_, Ok(module)) => module,
    };
    let (gpu, words): (Vec<&str>, Vec<&str>) = words.iter().partition(|w| **w == "gpu");
    let passes: Vec<&Pass> = PASSES.iter().filter(|p| words.contains(&p.name)).collect();
    let named = words.into_iter().filter(|w| pipeline::find(w).is_err());
    let named: Vec<String> = named.map(String::from).collect();
    if let Some(unknown) = named.iter().find(|n| rules().iter().all(|r| r.name != **n)) {
        return Err(format!("`{unknown}` is no pass and no rule"));
    }
    let (target, weights) = match gpu.is_empty() {
        true => (Target::Cpu, Weights::AsTheyAre),
        false => (Target::Gpu, Weights::Rounded),
    };
    let settings = Settings {
        rules: (!named.is_empty()).then_some(named),
        int8: Some(LEVELS),
        bf16: Some(weights),
        verify: true,
        ..Settings::new(target)
    };
    pipeline::run(&mut module, &settings, &passes, &mut |_, _| ()).map_err(|e| e.to_string())?;
    Ok(shown(&module, passes.iter().any(|p| p.name == "rewrite")))
}

/// Programs in the form that they have, and the rules that fired.
fn shown(module: &Module, rewritten: bool) -> String {
    let mut out = String::new();
    match &module.stage {
        Stage::Programs { programs, kernels } => return program_text::print(programs, &kernels.list),
        Stage::Fused(units) => {
            for (unit, plan) in units {
                write!(out, "{}{}", unit.graph, plan_text(&unit.graph, plan, "# ")).expect("strings take text");
            }
        }
        Stage::Graphs(units) => {
            for unit in units {
                if rewritten {
                    let fired: Vec<&str> = module.notes.fired[&unit.name].iter().map(|f| f.rule).collect();
                    let fired = if fired.is_empty() {
                        "none".into()
                    } else {
                        fired.join(" ")
                    };
                    writeln!(out, "# fired: {fired}").expect("strings take text");
                }
                write!(out, "{}", unit.graph).expect("strings take text");
            }
        }
    }
    out
}

#[test]
fn every_case_gives_what_it_says() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = vec![];
    for path in all() {
        let name = path.strip_prefix(folder()).unwrap_or(&path).display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        let (graph, expected) = text.split_once(BREAK).unwrap_or((&text, ""));
        let Some(words) = header(graph) else {
            wrong.push(format!("{name}: it lacks a line `# test: PASS...`"));
            continue;
        };
        match result(&words, graph) {
            Err(e) => wrong.push(format!("{name}: {e}")),
            Ok(found) if update => fs::write(&path, format!("{graph}{BREAK}{found}")).unwrap(),
            Ok(found) if found != expected => wrong.push(format!("{name} gives\n{found}")),
            Ok(_) => {}
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of the cases are wrong (UPDATE_GOLDEN=1 writes what is found):\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Each rule fires in some case.
#[test]
fn every_rule_has_a_case() {
    let texts: Vec<String> = all().iter().map(|p| fs::read_to_string(p).unwrap()).collect();
    let fired = |t: &String| -> Vec<String> {
        let line = t.lines().find_map(|l| l.strip_prefix("# fired: "));
        line.unwrap_or_default().split_whitespace().map(String::from).collect()
    };
    let fired: Vec<String> = texts.iter().flat_map(fired).collect();
    for rule in rules() {
        assert!(fired.iter().any(|f| f == rule.name), "`{}` fires in no case", rule.name);
    }
}

/// Each pass runs in some case.
#[test]
fn every_pass_has_a_case() {
    let texts: Vec<String> = all().iter().map(|p| fs::read_to_string(p).unwrap()).collect();
    for pass in PASSES {
        let runs = |t: &String| header(t).is_some_and(|words| words.contains(&pass.name));
        assert!(texts.iter().any(runs), "`{}` runs in no case", pass.name);
    }
}

/// The table of passes in the docs is that of the compiler.
#[test]
fn the_docs_have_the_passes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/passes.md");
    let text = fs::read_to_string(&path).unwrap();
    let (start, end) = ("| pass |", "\n\n");
    let at = text.find(start).expect("the page has a table");
    let table = &text[at..];
    let table = &table[..table.find(end).expect("something follows the table")];
    let target = |p: &Pass| match p.targets {
        [Target::Cpu] => "CPU",
        [Target::Gpu] => "GPU",
        _ => "both",
    };
    let row = |p: &Pass| format!("\n| `{}` | {} | {} | {} |", p.name, target(p), p.takes, p.about);
    let rows: String = PASSES.iter().map(row).collect();
    let want = format!("| pass | for | takes | does |\n|-|-|-|-|{rows}");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text.replace(table, &want)).unwrap();
    } else {
        assert!(table == want, "UPDATE_GOLDEN=1 writes the table:\n{want}");
    }
}
