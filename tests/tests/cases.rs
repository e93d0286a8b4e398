//! File tests: every `.ir` file below `cases` is a graph, what is to be done with it, and what must come out.
//!
//! ```text
//! # test: rewrite mul-one
//! # What the case is about.
//! %0 = ...
//! ---
//! what comes out
//! ```
//!
//! `UPDATE_GOLDEN=1` writes what is found instead. Adding a case needs no Rust.

use ir::artifact::{Operand, Program, Step};
use ir::graph::Graph;
use ir::text::parse;
use passes::decompose::decompose;
use passes::differentiate::differentiate;
use passes::rematerialise::rematerialise;
use passes::rewrite::{rewrite_with, rules};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use w2vc_tests::interpret::{Lowered, lower};

/// What stands between a graph and what comes out.
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

/// What comes out of a graph.
fn result(words: &[&str], text: &str) -> Result<String, String> {
    let graph = match (words, parse(text)) {
        (["error"], Err(e)) => return Ok(format!("{e}\n")),
        (["error"], Ok(_)) => return Err("the graph was to be refused".into()),
        (_, Err(e)) => return Err(e.to_string()),
        (_, Ok(graph)) => graph,
    };
    match words {
        ["rewrite", names @ ..] => rewritten(&graph, names),
        ["differentiate"] => {
            let step = differentiate(&graph, "loss", &|_| true).map_err(|e| e.to_string())?;
            Ok(step.to_string())
        }
        ["decompose"] => Ok(decompose(&graph).to_string()),
        ["rematerialise"] => Ok(rematerialise(&graph).to_string()),
        ["lower"] => Ok(kernels(&lower(&graph))),
        ["prepare"] => Ok(kernels(&lower(&graph).prepared())),
        ["narrow"] => Ok(kernels(&lower(&graph).narrowed())),
        other => Err(format!("`{}` is no pass of these tests", other.join(" "))),
    }
}

/// The rules that fired, and the graph.
fn rewritten(graph: &Graph, names: &[&str]) -> Result<String, String> {
    let known = rules();
    if let Some(unknown) = names.iter().find(|n| known.iter().all(|r| r.name != **n)) {
        return Err(format!("there is no rule `{unknown}`"));
    }
    let rewritten = rewrite_with(graph, names);
    let fired: Vec<&str> = rewritten.report.iter().map(|f| f.rule).collect();
    let fired = match fired.is_empty() {
        true => "none".to_string(),
        false => fired.join(" "),
    };
    Ok(format!("# fired: {fired}\n{}", rewritten.graph))
}

fn kernels(l: &Lowered) -> String {
    let mut found = String::new();
    if !l.program.prepare.is_empty() {
        found += "prepare\n";
        steps(l, &l.program.prepare, "  ", &mut found);
    }
    steps(l, &l.program.steps, "", &mut found);
    for (kernel, body) in &l.kernels {
        writeln!(found, "\n{kernel}: {}", body.to_string().trim_end()).expect("strings take text");
    }
    found
}

fn operand(p: &Program, o: &Operand) -> String {
    let b = &p.buffers[o.buffer];
    let layer = match o.layer_stride.is_zero() {
        true => String::new(),
        false => format!(" + layer*({})", o.layer_stride),
    };
    format!("{:?}{}[{}{layer}]", b.kind, o.buffer, o.offset)
}

fn steps(l: &Lowered, list: &[Step], indent: &str, out: &mut String) {
    for step in list {
        match step {
            Step::Launch(launch) => {
                let operands: Vec<String> = launch.operands.iter().map(|o| operand(&l.program, o)).collect();
                let kernel = &l.kernels[launch.kernel].0;
                writeln!(out, "{indent}{kernel} {}", operands.join(" ")).expect("strings take text");
            }
            Step::Loop {
                count, reverse, body, ..
            } => {
                let way = if *reverse { " reverse" } else { "" };
                writeln!(out, "{indent}loop {count}{way}").expect("strings take text");
                steps(l, body, &format!("{indent}  "), out);
            }
        }
    }
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
            wrong.push(format!("{name}: it lacks a line `# test: PASS`"));
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
