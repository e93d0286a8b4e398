//! Parts of pages that are made of code or of measurements. A part stands between `<!-- generated: NAME ARGUMENT -->` and
//! `<!-- end -->`; `UPDATE_GOLDEN=1` writes it.

use crate::benchmarks;
use crate::pages::{files, name, root};
use clap::CommandFactory;
use compiler::args::Cli;
use compiler::reference::{commands, ops, settings};
use ir::task::{Host, ParamKind};
use runtime::HOST;
use runtime::cli::command_line_of;
use w2vc_tests::native::model;

const BEGIN: &str = "<!-- generated: ";
const END: &str = "<!-- end -->";

/// The text of a part.
fn part(name: &str, argument: &str) -> String {
    match name {
        "ops" => ops::page().unwrap_or_else(|e| panic!("{e}")),
        "feeds" => feeds(&HOST),
        "settings" => settings::section(argument, &model(argument, &[])),
        "w2vc-commands" => commands::sections("w2vc", &Cli::command()),
        "task-commands" => commands::sections("OUT", &tasks_only(&model(argument, &[]).tasks)),
        "fixed-commands" => commands::sections("OUT", &command_line_of(&[])),
        "speed" => benchmarks::speed(&root()),
        "cpu" => benchmarks::cpu(&root().join("bench/results").join(argument)),
        "precisions" => benchmarks::precisions(&root().join("bench/results").join(argument)),
        "gpu" => benchmarks::gpu(&root().join("bench/results").join(argument)),
        _ => panic!("nothing makes the part `{name}`"),
    }
}

/// The command line of tasks without the commands that every program has.
fn tasks_only(tasks: &[ir::task::Task]) -> clap::Command {
    let all = command_line_of(tasks);
    let names: Vec<&str> = tasks.iter().map(|t| t.name.as_str()).collect();
    let own = all.get_subcommands().filter(|c| names.contains(&c.get_name())).cloned();
    clap::Command::new("OUT").subcommands(own.collect::<Vec<_>>())
}

fn feeds(host: &Host) -> String {
    let mut out = String::from("| feed | type | |\n|-|-|-|\n");
    for f in host.feeds {
        let args: Vec<String> = f
            .params
            .iter()
            .map(|p| match p.kind {
                ParamKind::Amount => format!("{}: number", p.name),
                ParamKind::Size => format!("{}: size", p.name),
                ParamKind::Input(feed) => format!("{}: input of `{feed}`", p.name),
            })
            .collect();
        let args = if args.is_empty() {
            String::new()
        } else {
            format!(" ({})", args.join(", "))
        };
        let axes = f.axes.join(", ");
        out.push_str(&format!(
            "| `{}`{args} | {} [{axes}] | {} |\n",
            f.name,
            f.dtype.name(),
            f.about
        ));
    }
    out
}

/// The page with every part made anew.
fn current(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(BEGIN) {
        let (before, from) = rest.split_at(at);
        let (head, after) = from.split_once(" -->").expect("the marker has an end");
        let words = &head[BEGIN.len()..];
        let (name, argument) = words.split_once(' ').unwrap_or((words, ""));
        let (_, after) = after.split_once(END).expect("the part has an end");
        let made = part(name, argument);
        out.push_str(&format!("{before}{head} -->\n\n{}\n\n{END}", made.trim()));
        rest = after;
    }
    out + rest
}

#[test]
fn generated_parts_are_current() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut old = vec![];
    for path in files(&["md"]) {
        let text = std::fs::read_to_string(&path).unwrap();
        let want = current(&text);
        if want != text && update {
            std::fs::write(&path, want).unwrap();
        } else if want != text {
            old.push(name(&path));
        }
    }
    assert!(
        old.is_empty(),
        "{} not current; UPDATE_GOLDEN=1 cargo test --workspace --test documents writes it",
        old.join(", ")
    );
}

/// What authors read names exactly the attributes that the op has.
#[test]
fn every_attribute_of_every_op_is_explained() {
    use ir::ops::Op;
    use ir::sample::Rand;
    let docs = Op::docs();
    for (name, sampler) in Op::SAMPLERS {
        let Some((_, doc)) = docs.iter().find(|(n, _)| n == name) else {
            assert!(matches!(*name, "unary" | "binary"), "{name}");
            continue;
        };
        let has = sampler(&mut Rand::new(1)).op.attribute_names();
        let explained: Vec<String> = doc.attributes.iter().map(|(a, _)| a.to_string()).collect();
        let (mut has, mut explained) = (has, explained);
        has.sort();
        explained.sort();
        assert_eq!(explained, has, "{name}");
    }
}
