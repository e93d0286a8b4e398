//! Programs to text.

use crate::artifact::{Buffer, BufferKind, Operand, Port, Program, Requirement, Step};
use crate::kernel::Kernel;
use crate::types::Type;

/// The text of programs and of the kernels that their steps number.
pub fn print(programs: &[Program], kernels: &[(String, Kernel)]) -> String {
    let mut out = String::new();
    for p in programs {
        program(p, kernels, &mut out);
        out += "\n";
    }
    for (name, kernel) in kernels {
        out += &format!("kernel {name}\n");
        kernel.to_string().lines().for_each(|l| line(&mut out, 1, l));
        out += "\n";
    }
    out
}

fn line(out: &mut String, depth: usize, text: &str) {
    *out += &"  ".repeat(depth);
    *out += text;
    *out += "\n";
}

fn program(p: &Program, kernels: &[(String, Kernel)], out: &mut String) {
    line(out, 0, &format!("program {:?}", p.name));
    if let Some(loss) = &p.loss {
        line(out, 1, &format!("loss {loss:?}"));
    }
    p.inputs.iter().for_each(|i| line(out, 1, &port("input", i)));
    p.outputs.iter().for_each(|o| line(out, 1, &port("output", o)));
    p.requires.iter().for_each(|r| line(out, 1, &print_requirement(r)));
    for (name, list) in [("reads", &p.reads), ("trains", &p.trains)] {
        if !list.is_empty() {
            line(out, 1, &format!("{name} {}", numbers(list)));
        }
    }
    for (i, b) in p.buffers.iter().enumerate() {
        line(out, 1, &format!("b{i} {}", buffer(b)));
    }
    for (name, list) in [("prepare", &p.prepare), ("steps", &p.steps)] {
        if name == "steps" || !list.is_empty() {
            line(out, 1, &format!("{name} {{"));
            steps(list, kernels, 2, out);
            line(out, 1, "}");
        }
    }
}

fn port(kind: &str, p: &Port) -> String {
    let ty = Type::new(p.dtype, p.shape.clone());
    format!("{kind} {:?} {ty} b{}", p.name, p.buffer)
}

/// `require 0 <= B - 1 <= 1000 "an axis"`
pub fn print_requirement(r: &Requirement) -> String {
    let most = match r.most {
        i64::MAX => String::new(),
        most => format!(" <= {most}"),
    };
    format!("require {} <= {}{most} {:?}", r.least, r.value, r.what)
}

/// Ascending neighbours as a range.
fn numbers(list: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = vec![];
    for n in list {
        match parts.last_mut() {
            Some((_, end)) if end == n => *end += 1,
            _ => parts.push((*n, n + 1)),
        }
    }
    let part = |(start, end): &(usize, usize)| match end - start {
        1 => start.to_string(),
        _ => format!("{start}..{end}"),
    };
    parts.iter().map(part).collect::<Vec<_>>().join(" ")
}

fn buffer(b: &Buffer) -> String {
    let live = match b.live {
        (0, 0) => String::new(),
        (first, last) => format!(" live {first} to {last}"),
    };
    format!("{} {}[{}]{live}", kind(b.kind), b.dtype.name(), b.elements)
}

/// Kinds of buffers by the words for them.
pub(super) const KINDS: [(&str, BufferKind); 9] = [
    ("temp", BufferKind::Temp),
    ("prepared", BufferKind::Prepared),
    ("input", BufferKind::Input),
    ("output", BufferKind::Output),
    ("params", BufferKind::Params),
    ("narrow_params", BufferKind::NarrowParams),
    ("grads", BufferKind::Grads),
    ("moment1", BufferKind::Moment1),
    ("moment2", BufferKind::Moment2),
];

fn kind(k: BufferKind) -> &'static str {
    let found = KINDS.iter().find(|(_, kind)| *kind == k);
    found.expect("every kind is in the table: a test looks").0
}

fn steps(list: &[Step], kernels: &[(String, Kernel)], depth: usize, out: &mut String) {
    for step in list {
        match step {
            Step::Launch(l) => {
                let operands = l.operands.iter().map(operand);
                let words: Vec<String> = std::iter::once(kernels[l.kernel].0.clone()).chain(operands).collect();
                line(out, depth, &words.join(" "));
            }
            Step::Loop {
                count,
                reverse,
                keep,
                body,
            } => {
                let reverse = if *reverse { " reverse" } else { "" };
                let keep = keep.as_ref().map_or(String::new(), |k| format!(" keep {}", operand(k)));
                line(out, depth, &format!("loop {count}{reverse}{keep} {{"));
                steps(body, kernels, depth + 1, out);
                line(out, depth, "}");
            }
        }
    }
}

fn operand(o: &Operand) -> String {
    match o.layer_stride.is_zero() {
        true => format!("b{}[{}]", o.buffer, o.offset),
        false => format!("b{}[{}; {} per layer]", o.buffer, o.offset, o.layer_stride),
    }
}
