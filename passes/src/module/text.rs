//! Modules as text, and back: what stands before the programs, then these in the form that they have.
//!
//! ```text
//! after decompose
//! size "B" 4
//! arena 192
//! param "w" at 0 is 0..3
//! fixed ["transcribe"]
//!
//! program "transcribe"
//! reads ["w"]
//! require 0 <= B <= 2147483647 "an axis of `input`"
//!   %0 = ...
//! ```
//! `after` is the last pass that ran, `size` an example size, `param` where a parameter lies in the arena and which of all it
//! is, `fixed` are programs that run with the same parameters again and again. A program in tensor IR has a `loss` and what it
//! `trains` (all that it reads, if nothing else is said), what it `reads` and what it must `require` of its sizes, then its
//! graph as [`ir::text`] has it. All of this may be missing in what a person writes: it is then what follows from the graph, and
//! without `program` the program is called `main`. Programs over kernels are as [`ir::program_text`] has them. A plan of kernels
//! is written as comments behind the graph that it follows from.

use super::{Arena, Module, Place, Stage, Unit};
use crate::fuse::{Fused, Space};
use crate::lower::Kernels;
use crate::pipeline;
use ir::dim::Dim;
use ir::examples::Examples;
use ir::graph::{Graph, ValueId};
use ir::program_text::{self, print_requirement, requirement};
use ir::text::{ParseError, lines_from, quoted, quoted_list};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Write};

impl Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pass) = self.after {
            writeln!(f, "after {pass}")?;
        }
        for (name, size) in self.examples.iter() {
            writeln!(f, "size {name:?} {size}")?;
        }
        writeln!(f, "arena {}", self.arena.elements)?;
        for (name, p) in &self.arena.params {
            let Place { offset, numbers } = p;
            writeln!(f, "param {name:?} at {offset} is {}..{}", numbers.start, numbers.end)?;
        }
        if !self.fixed.is_empty() {
            writeln!(f, "fixed {:?}", self.fixed.iter().collect::<Vec<_>>())?;
        }
        match &self.stage {
            Stage::Graphs(units) => units.iter().try_for_each(|u| self.unit(u, f)),
            Stage::Fused(units) => units.iter().try_for_each(|(u, plan)| {
                self.unit(u, f)?;
                f.write_str(&plan_text(&u.graph, plan, "# "))
            }),
            Stage::Programs { programs, kernels } => {
                write!(f, "\n{}", program_text::print(programs, &kernels.list))
            }
        }
    }
}

impl Module {
    fn unit(&self, u: &Unit, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nprogram {:?}", u.name)?;
        if let Some(loss) = &u.loss {
            writeln!(f, "loss {loss:?}\ntrains {:?}", u.trains)?;
        }
        writeln!(f, "reads {:?}", u.reads)?;
        for r in &u.requires {
            writeln!(f, "{}", print_requirement(r))?;
        }
        if let Some(fired) = self.notes.fired.get(&u.name).filter(|_| self.after == Some("rewrite")) {
            let rules: Vec<&str> = fired.iter().map(|f| f.rule).collect();
            writeln!(
                f,
                "# fired: {}",
                if rules.is_empty() {
                    "none".into()
                } else {
                    rules.join(" ")
                }
            )?;
        }
        write!(f, "{}", u.graph)
    }
}

/// A line for each kernel of a plan: over what it runs and which values it computes, `*` marking those that it writes.
pub fn plan_text(g: &Graph, plan: &Fused, indent: &str) -> String {
    let mut out = String::new();
    for group in &plan.groups {
        let space = match &group.space {
            Space::Row(dims) => format!("row {}", list(dims)),
            Space::Column { shape, axes } => format!("column {} over {axes:?}", list(shape)),
            Space::Contract(v) => format!("contract %{}", v.0),
            Space::Opaque(v) => format!("{} %{}", g.node(*v).op.name(), v.0),
        };
        let member = |v: &ValueId| format!("%{}{}", v.0, if plan.stored.contains(v) { "*" } else { "" });
        let members: Vec<String> = group.members.iter().map(member).collect();
        writeln!(out, "{indent}{space}: {}", members.join(" ")).expect("strings take text");
        for v in &group.members {
            if let (Some(body), ir::ops::Op::Repeat(r)) = (plan.bodies.get(v), &g.node(*v).op) {
                out += &plan_text(&r.body, body, &format!("{indent}  "));
            }
        }
    }
    out
}

fn list(dims: &[Dim]) -> String {
    let dims: Vec<String> = dims.iter().map(Dim::to_string).collect();
    format!("[{}]", dims.join(", "))
}

/// Reads what `Display` of a module writes, and what a person writes.
///
/// # Errors
/// At the first line that is not as expected.
pub fn parse(text: &str) -> Result<Module, ParseError> {
    let lines = || text.lines().enumerate().map(|(i, l)| (i + 1, l.trim()));
    let end = text.lines().count() + 1;
    let is_over_kernels = lines().any(|(_, l)| l == "steps {" || l.starts_with("kernel "));
    // What stands before the programs.
    let begins = |l: &str| l.starts_with("kernel ") || l.starts_with(['%', '}']);
    let word = |l: &str| l.split(' ').next().unwrap_or_default().to_string();
    let of_programs = |l: &str| begins(l) || word(l) == "inputs" || UNIT.contains(&&*word(l));
    let first = lines().find(|(_, l)| of_programs(l)).map_or(end, |(line, _)| line);
    let head = head(&lines_from(text, 1, first))?;
    let body = lines_from(text, first, end);
    let (stage, packed) = if is_over_kernels {
        let all = program_text::parse(&body)?;
        let kernels = Kernels::of(all.kernels);
        let programs = all.programs;
        (Stage::Programs { programs, kernels }, Arena::default())
    } else {
        let units = units(&body, head.after.is_none())?;
        let packed = Arena::packed(&units);
        (Stage::Graphs(units), packed)
    };
    let mut module = Module {
        arena: head.arena.unwrap_or(packed),
        examples: head.examples.into_iter().collect(),
        fixed: head.fixed,
        stage,
        ..Module::new(vec![], Arena::default(), Examples::default())
    };
    module.after = pipeline::reached(head.after, module.form());
    Ok(module)
}

#[derive(Default)]
struct Head {
    after: Option<&'static str>,
    examples: BTreeMap<String, i64>,
    arena: Option<Arena>,
    fixed: BTreeSet<String>,
}

fn head(text: &str) -> Result<Head, ParseError> {
    let mut head = Head::default();
    for (i, l) in text.lines().enumerate().map(|(i, l)| (i, l.trim())) {
        if l.is_empty() || l.starts_with('#') {
            continue;
        }
        let (word, rest) = l.split_once(' ').unwrap_or((l, ""));
        head_line(&mut head, word, rest.trim()).map_err(|message| ParseError { line: i + 1, message })?;
    }
    Ok(head)
}

fn head_line(head: &mut Head, word: &str, rest: &str) -> Result<(), String> {
    match word {
        "after" => head.after = Some(pipeline::find(rest).map_err(|e| e.to_string())?.name),
        "size" => {
            let expected = || format!("a name in quotes and a size are expected, not `{rest}`");
            let (name, size) = rest.rsplit_once(' ').ok_or_else(expected)?;
            head.examples
                .insert(quoted(name)?, size.parse().map_err(|_| expected())?);
        }
        "arena" => {
            let arena = head.arena.get_or_insert_default();
            arena.elements = rest.parse()?;
        }
        "param" => {
            let (name, place) = param(rest)?;
            head.arena.get_or_insert_default().params.insert(name, place);
        }
        "fixed" => head.fixed = quoted_list(rest)?.into_iter().collect(),
        _ => {
            return Err(format!(
                "`after`, `size`, `arena`, `param`, `fixed`, `program` or a node like `%0 = ...` is expected, not `{word}`"
            ));
        }
    }
    Ok(())
}

/// `"w" at 64 is 0..3`
fn param(s: &str) -> Result<(String, Place), String> {
    let expected = || format!("`\"NAME\" at OFFSET is FIRST..END` is expected, not `{s}`");
    let (rest, numbers) = s.rsplit_once(" is ").ok_or_else(expected)?;
    let (name, offset) = rest.rsplit_once(" at ").ok_or_else(expected)?;
    let (start, end) = numbers.split_once("..").ok_or_else(expected)?;
    let number = |n: &str| n.parse::<usize>().map_err(|_| expected());
    let place = Place {
        offset: offset.parse()?,
        numbers: number(start)?..number(end)?,
    };
    Ok((quoted(name)?, place))
}

/// Words that a program in tensor IR may have before its graph.
const UNIT: [&str; 5] = ["program", "loss", "trains", "reads", "require"];

/// Programs in tensor IR. What is not said is worked out where the text is `written` by a person.
fn units(text: &str, written: bool) -> Result<Vec<Unit>, ParseError> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut starts: Vec<usize> = (0..lines.len()).filter(|i| lines[*i].starts_with("program ")).collect();
    let before = starts.first().copied().unwrap_or(lines.len());
    if lines[..before].iter().any(|l| !l.is_empty() && !l.starts_with('#')) {
        starts.insert(0, 0);
    }
    let ends = starts.iter().skip(1).copied().chain([lines.len()]);
    let pairs: Vec<(usize, usize)> = starts.iter().copied().zip(ends).collect();
    let mut units: Vec<Unit> = vec![];
    for (start, end) in pairs {
        let unit = unit(text, &lines, start, end, written)?;
        if units.iter().any(|u| u.name == unit.name) {
            let message = format!("another name is expected: there is a program {:?} above", unit.name);
            return Err(ParseError {
                line: start + 1,
                message,
            });
        }
        units.push(unit);
    }
    Ok(units)
}

/// The program in lines `start..end`, counted from 0.
fn unit(text: &str, lines: &[&str], start: usize, end: usize, written: bool) -> Result<Unit, ParseError> {
    let (mut name, mut loss, mut trains, mut reads) = (None, None, None, None);
    let mut requires = vec![];
    let mut at = start;
    while at < end {
        let fail = |message| ParseError { line: at + 1, message };
        let (word, rest) = lines[at].split_once(' ').unwrap_or((lines[at], ""));
        match word {
            "program" => name = Some(quoted(rest).map_err(fail)?),
            "loss" => loss = Some(quoted(rest).map_err(fail)?),
            "trains" => trains = Some(quoted_list(rest).map_err(fail)?),
            "reads" => reads = Some(quoted_list(rest).map_err(fail)?),
            "require" => requires.push(requirement(rest).map_err(fail)?),
            _ if word.is_empty() || word.starts_with('#') => {}
            _ => break,
        }
        at += 1;
    }
    let graph = ir::text::parse(&lines_from(text, at + 1, end + 1))?;
    let follows = Unit::new(&name.unwrap_or_else(|| "main".into()), graph, loss.as_deref(), vec![]);
    let reads = reads.unwrap_or(follows.reads);
    let trains = match &loss {
        Some(_) => trains.unwrap_or_else(|| reads.clone()),
        None => vec![],
    };
    let requires = if written && requires.is_empty() {
        follows.requires
    } else {
        requires
    };
    Ok(Unit {
        trains,
        reads,
        requires,
        ..follows
    })
}
