//! What `check` prints: how many parameters each part has, and what can be set.

use crate::model::{Model, ParamDecl, Program};
use ir::artifact::SettingValue;
use ir::dim::Dim;
use ir::ops::Op;
use ir::task::Task;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Names deeper than this are counted with their parent.
const DEPTH: usize = 3;

/// Parameters by block and by program, sizes, constants and settings with their defaults.
pub fn check_report(model: &Model) -> String {
    let mut out = String::new();
    sections(model, &mut out).expect("writing to memory cannot fail");
    out
}

fn sections(model: &Model, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "{}: {} parameters in {} tensors\n",
        model.name,
        grouped(model.params.iter().map(|p| model.elements(p)).sum()),
        tensors(&model.params)
    )?;
    writeln!(out, "parameters by block")?;
    let mut tree = Tree::default();
    for p in &model.params {
        tree.add(&p.name, p, model.elements(p));
    }
    tree.write(out, "", 0)?;
    writeln!(out, "\nprograms")?;
    for p in &model.programs {
        let names = param_names(p);
        let all = model.params.iter().filter(|d| names.contains(&d.name.as_str()));
        let (count, trained): (i64, i64) = all.fold((0, 0), |(a, t), d| {
            (
                a + model.elements(d),
                t + if p.trains.contains(&d.name) {
                    model.elements(d)
                } else {
                    0
                },
            )
        });
        writeln!(
            out,
            "  {:<24}{:>16} parameters, {} trained",
            p.name,
            grouped(count),
            grouped(trained)
        )?;
        for v in &p.graph.inputs {
            if let Op::Input(i) = &p.graph.node(*v).op {
                let ty = with_size_names(&i.ty.to_string(), &model.sizes);
                writeln!(out, "      {:<20} {ty}", i.name)?;
            }
        }
        for (name, v) in &p.graph.outputs {
            let ty = with_size_names(&p.graph.ty(*v).to_string(), &model.sizes);
            writeln!(out, "    -> {name:<20} {ty}")?;
        }
    }
    if !model.run_sizes.is_empty() {
        writeln!(
            out,
            "\nsizes that a run chooses, with their defaults (w2vc compile --set NAME=VALUE)"
        )?;
    }
    for s in &model.run_sizes {
        writeln!(
            out,
            "{}",
            format!("  {:<24}{:<14} {}", s.name, s.value, s.doc).trim_end()
        )?;
    }
    writeln!(out, "\nsizes known when a program runs, with examples")?;
    for s in &model.symbols {
        let line = format!("  {:<24}{:<14} {}", s.name, s.example, s.doc);
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out, "\nsizes that follow from them")?;
    for (name, dim) in &model.sizes {
        writeln!(out, "  {name} = {dim}")?;
    }
    writeln!(out, "\nconstants (w2vc compile --set NAME=VALUE)")?;
    for c in &model.constants {
        writeln!(
            out,
            "{}",
            format!("  {:<24}{:<14} {}", c.name, c.value, c.doc).trim_end()
        )?;
    }
    model.tasks.iter().try_for_each(|t| task(t, out))
}

/// What is asked of the model, and what can be set for it.
fn task(task: &Task, out: &mut String) -> std::fmt::Result {
    writeln!(out, "\ntask `{}`: {}", task.name, task.about)?;
    for (input, feed) in &task.feeds {
        writeln!(out, "  {input:<24}from {}", feed.kind)?;
    }
    writeln!(out, "settings of `{}` (--set NAME=VALUE when it runs)", task.name)?;
    for s in &task.settings {
        let value = match &s.value {
            SettingValue::Number(v) => v.to_string(),
            SettingValue::Text(t) => t.clone(),
            SettingValue::Flag(f) => f.to_string(),
        };
        let line = format!("  {:<24}{value:<14} {} ({})", s.name, s.doc, s.range.short());
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Writes named sizes by their names, where a definition stands in the text.
pub fn with_size_names(text: &str, sizes: &[(String, Dim)]) -> String {
    let mut by_length: Vec<(String, &str)> = sizes.iter().map(|(n, d)| (d.to_string(), n.as_str())).collect();
    by_length.sort_by_key(|(d, _)| std::cmp::Reverse(d.len()));
    // Short definitions are as clear as their names, and would be found inside other text.
    let telling = by_length.iter().filter(|(d, _)| d.contains(['/', ' ']));
    telling.fold(text.to_string(), |text, (d, name)| text.replace(d, name))
}

fn param_names(p: &Program) -> Vec<&str> {
    fn name(op: &Op) -> Option<&str> {
        match op {
            Op::Param(p) => Some(&p.name),
            _ => None,
        }
    }
    p.graph.nodes.iter().filter_map(|n| name(&n.op)).collect()
}

fn tensors(all: &[ParamDecl]) -> i64 {
    all.iter().map(|p| p.count.unwrap_or(1)).sum()
}

/// Digits in groups of three.
fn grouped(n: i64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Parameters by the parts of their names.
#[derive(Default)]
struct Tree {
    own: i64,
    layers: Option<i64>,
    parts: BTreeMap<String, Tree>,
    order: Vec<String>,
}

impl Tree {
    fn add(&mut self, rest: &str, p: &ParamDecl, elements: i64) {
        self.own += elements;
        let (part, rest) = rest.split_once('.').unwrap_or((rest, ""));
        if !self.parts.contains_key(part) {
            self.order.push(part.into());
        }
        let child = self.parts.entry(part.into()).or_default();
        if part == "{i}" {
            child.layers = p.count;
        }
        if rest.is_empty() {
            child.own += elements
        } else {
            child.add(rest, p, elements)
        }
    }

    fn write(&self, out: &mut String, name: &str, depth: usize) -> std::fmt::Result {
        for part in &self.order {
            let child = &self.parts[part];
            let full = if name.is_empty() {
                part.clone()
            } else {
                format!("{name}.{part}")
            };
            // A part that is alone is no level of its own.
            if child.parts.len() == 1 && depth < DEPTH {
                child.write(out, &full, depth)?;
                continue;
            }
            let layers = child.layers.map_or(String::new(), |n| format!(" ({n} layers)"));
            let label = format!("{}{full}{layers}", "  ".repeat(depth + 1));
            writeln!(out, "{label:<60}{:>14}", grouped(child.own))?;
            // The tensors of a block are not worth a line each.
            let blocks_inside = child.parts.values().any(|p| !p.parts.is_empty());
            if depth + 1 < DEPTH && blocks_inside {
                child.write(out, &full, depth + 1)?;
            }
        }
        Ok(())
    }
}
