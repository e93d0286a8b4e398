//! Ops of the model language: the text of `w2vc ops`, and docs/reference/ops.md.

use frontend::load_text;
use ir::ops::{Doc, Example, Group, Op};
use std::fmt::Write;

/// Every op with its signature, by group.
pub fn list() -> String {
    let docs = Op::docs();
    let mut out = String::new();
    for group in Group::ALL {
        writeln!(out, "{}", group.title()).expect("writing to memory cannot fail");
        for (name, doc) in docs.iter().filter(|(_, d)| d.group == *group) {
            let line = format!("  {name:<26}{}", doc.signature);
            writeln!(out, "{line}").expect("writing to memory cannot fail");
        }
    }
    out.push_str("\n`w2vc ops NAME` explains one.\n");
    out
}

/// One op: what it takes and gives, what it computes, its attributes and an example with the type that comes out.
///
/// # Errors
/// Where there is no such op; the message names the nearest ones.
pub fn one(name: &str) -> Result<String, String> {
    let docs = Op::docs();
    let Some((_, doc)) = docs.iter().find(|(n, _)| *n == name) else {
        let near = runtime::settings::nearest(name, docs.iter().map(|(n, _)| *n));
        let hint = near.map_or_else(String::new, |n| format!("; did you mean `{n}`?"));
        return Err(format!("there is no op `{name}`{hint} `w2vc ops` lists them all"));
    };
    let mut out = format!("{name}: {}\n\n{}\n", doc.signature, doc.about);
    if !doc.attributes.is_empty() {
        out.push_str("\nattributes\n");
        for (attribute, meaning) in doc.attributes {
            out.push_str(&format!("  {attribute:<12}{meaning}\n"));
        }
    }
    match doc.example {
        Some(example) => {
            let inputs = example.inputs.iter().map(|(n, t)| format!("{n:?}: {t:?}"));
            let inputs = inputs.collect::<Vec<_>>().join(", ");
            out.push_str(&format!(
                "\nexample\n  inputs: {{ {inputs} }},\n  body: {:?},\n",
                example.body
            ));
            out.push_str(&format!("gives\n  y: {}\n", result(&example)?));
        }
        None => out.push_str("\nOnly the compiler makes this op.\n"),
    }
    Ok(out)
}

/// The page of all ops, in Markdown.
///
/// # Errors
/// Where an example is no sound program.
pub fn page() -> Result<String, String> {
    let docs = Op::docs();
    let mut out = String::new();
    for group in Group::ALL {
        out.push_str(&format!("## {}\n\n", group.title()));
        for (name, doc) in docs.iter().filter(|(_, d)| d.group == *group) {
            out.push_str(&section(name, doc)?);
        }
    }
    Ok(out.trim_end().to_string() + "\n")
}

fn section(name: &str, doc: &Doc) -> Result<String, String> {
    let mut out = format!("### {name}\n\n`{}`\n\n{}\n\n", doc.signature, doc.about);
    if !doc.attributes.is_empty() {
        out.push_str("| attribute | |\n|-|-|\n");
        for (attribute, meaning) in doc.attributes {
            out.push_str(&format!("| `{attribute}` | {meaning} |\n"));
        }
        out.push('\n');
    }
    match doc.example {
        Some(example) => {
            let inputs = example.inputs.iter().map(|(n, t)| format!("`{n}: {t}`"));
            let inputs = inputs.collect::<Vec<_>>().join(", ");
            let gives = result(&example)?;
            out.push_str(&format!(
                "Example: with {inputs}\n\n```\n{}\n```\n\ngives `y: {gives}`.\n\n",
                example.body
            ));
        }
        None => out.push_str("Only the compiler makes this op.\n\n"),
    }
    Ok(out)
}

/// The type of `y` in an example, as the frontend infers it.
fn result(example: &Example) -> Result<String, String> {
    let inputs = example.inputs.iter().map(|(n, t)| format!("{n:?}: {t:?}"));
    let text = format!(
        "(symbols: [\"B\", \"N\", \"T\"], programs: {{ \"example\": (inputs: {{ {} }}, body: {:?}, outputs: [\"y\"]) }})",
        inputs.collect::<Vec<_>>().join(", "),
        example.body
    );
    let model = load_text("example.ron", &text).map_err(|d| d.to_string())?;
    let graph = &model.programs[0].graph;
    Ok(graph.ty(graph.outputs[0].1).to_string())
}
