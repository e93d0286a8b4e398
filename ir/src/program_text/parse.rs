//! Text to programs, a line at a time.

use super::Programs;
use super::print::KINDS;
use crate::artifact::{Buffer, Launch, Operand, Port, Program, Requirement, Step};
use crate::dim::Dim;
use crate::kernel_text;
use crate::scalar::DType;
use crate::text::{ParseError, lines_from, quoted, types};
use std::collections::BTreeMap;

type Parsed<T> = Result<T, String>;

/// Reads what [`print`](super::print) writes. Neither the kernels nor what the programs make of them need be valid: that is for
/// [`program_verify`](crate::program_verify) to say.
///
/// # Errors
/// At the first line that is not as expected.
pub fn parse(text: &str) -> Result<Programs, ParseError> {
    let lines = text.lines().enumerate().map(|(i, l)| (i + 1, l.trim()));
    let lines: Vec<(usize, &str)> = lines.filter(|(_, l)| !l.is_empty() && !l.starts_with('#')).collect();
    let mut reader = Reader {
        text,
        names: names(&lines)?,
        lines,
        at: 0,
        end: text.lines().count() + 1,
    };
    let mut found = Programs::default();
    while let Some((line, l)) = reader.next() {
        let fail = |message| ParseError { line, message };
        if let Some(name) = l.strip_prefix("program ") {
            let name = quoted(name).map_err(fail)?;
            if found.programs.iter().any(|p: &Program| p.name == name) {
                return Err(fail(format!(
                    "another name is expected: there is a program {name:?} above"
                )));
            }
            found.programs.push(reader.program(name)?);
        } else if let Some(name) = l.strip_prefix("kernel ") {
            found.kernels.push((name.into(), reader.kernel(line)?));
        } else {
            return Err(fail(format!(
                "`program` or `kernel` and a name are expected, not `{l}`"
            )));
        }
    }
    Ok(found)
}

/// Numbers of the kernels, which stand behind the programs that launch them.
fn names<'a>(lines: &[(usize, &'a str)]) -> Result<BTreeMap<&'a str, usize>, ParseError> {
    let mut names = BTreeMap::new();
    for (line, l) in lines {
        let Some(name) = l.strip_prefix("kernel ") else {
            continue;
        };
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || *name == *"loop" || !name.chars().all(is_word) {
            let message = format!("a name of letters, digits and `_` is expected, not `{name}`");
            return Err(ParseError { line: *line, message });
        }
        let number = names.len();
        if names.insert(name, number).is_some() {
            let message = format!("another name is expected: there is a kernel `{name}` above");
            return Err(ParseError { line: *line, message });
        }
    }
    Ok(names)
}

struct Reader<'a> {
    text: &'a str,
    names: BTreeMap<&'a str, usize>,
    /// With their numbers.
    lines: Vec<(usize, &'a str)>,
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<(usize, &'a str)> {
        self.lines.get(self.at).copied()
    }

    fn next(&mut self) -> Option<(usize, &'a str)> {
        let line = self.peek();
        self.at += 1;
        line
    }

    fn kernel(&mut self, head: usize) -> Result<crate::kernel::Kernel, ParseError> {
        while self.peek().is_some_and(|(_, l)| !begins(l)) {
            self.at += 1;
        }
        let end = self.peek().map_or(self.end, |(line, _)| line);
        let kernel = kernel_text::parse(&lines_from(self.text, head + 1, end));
        kernel.map_err(|e| ParseError {
            line: e.line.max(head),
            message: e.message,
        })
    }

    fn program(&mut self, name: String) -> Result<Program, ParseError> {
        let mut p = Program {
            name,
            inputs: vec![],
            outputs: vec![],
            requires: vec![],
            buffers: vec![],
            prepare: vec![],
            steps: vec![],
            loss: None,
            reads: vec![],
            trains: vec![],
        };
        while let Some((line, l)) = self.peek().filter(|(_, l)| !begins(l)) {
            self.at += 1;
            let fail = |message| ParseError { line, message };
            let (word, rest) = l.split_once(' ').unwrap_or((l, ""));
            match word {
                "loss" => p.loss = Some(quoted(rest).map_err(fail)?),
                "input" => p.inputs.push(port(rest).map_err(fail)?),
                "output" => p.outputs.push(port(rest).map_err(fail)?),
                "require" => p.requires.push(requirement(rest).map_err(fail)?),
                "reads" => p.reads = numbers(rest).map_err(fail)?,
                "trains" => p.trains = numbers(rest).map_err(fail)?,
                "prepare" => p.prepare = self.steps(line, rest, 0)?,
                "steps" => p.steps = self.steps(line, rest, 0)?,
                b if b.starts_with('b') => {
                    let buffer = buffer(b, rest, p.buffers.len()).map_err(fail)?;
                    p.buffers.push(buffer);
                }
                _ => {
                    return Err(fail(format!(
                        "`input`, `output`, `loss`, `require`, `reads`, `trains`, a buffer, `prepare` or `steps` is expected, not `{l}`"
                    )));
                }
            }
        }
        Ok(p)
    }

    /// Up to the `}` that belongs to the `{` at the end of the line before.
    fn steps(&mut self, head: usize, rest: &str, depth: usize) -> Result<Vec<Step>, ParseError> {
        if rest != "{" {
            return Err(ParseError {
                line: head,
                message: format!("`{{` is expected, not `{rest}`"),
            });
        }
        let mut steps = vec![];
        loop {
            let Some((line, l)) = self.next().filter(|(_, l)| !begins(l)) else {
                let line = self.lines.get(self.at - 1).map_or(self.end, |(line, _)| *line);
                return Err(ParseError {
                    line,
                    message: "a step or `}` is expected".into(),
                });
            };
            let fail = |message| ParseError { line, message };
            if l == "}" {
                return Ok(steps);
            }
            let step = match l.strip_prefix("loop ") {
                Some(rest) => {
                    let (count, reverse, keep) = loop_head(rest).map_err(fail)?;
                    if depth == MOST_NESTED {
                        return Err(fail(format!("at most {MOST_NESTED} loops in each other are expected")));
                    }
                    let body = self.steps(line, "{", depth + 1)?;
                    Step::Loop {
                        count,
                        reverse,
                        keep,
                        body,
                    }
                }
                None => Step::Launch(self.launch(l).map_err(fail)?),
            };
            steps.push(step);
        }
    }

    /// `row_0 b0[0] b3[0; 64 per layer]`
    fn launch(&self, l: &str) -> Parsed<Launch> {
        let (name, rest) = l.split_once(' ').unwrap_or((l, ""));
        let kernel = self.names.get(name);
        let kernel =
            *kernel.ok_or_else(|| format!("a kernel of this text, `loop` or `}}` is expected, not `{name}`"))?;
        let mut operands = vec![];
        let mut rest = rest.trim();
        while !rest.is_empty() {
            let (one, more) = operand(rest)?;
            operands.push(one);
            rest = more.trim_start();
        }
        Ok(Launch { kernel, operands })
    }
}

/// Whether a line begins something of the text's own.
fn begins(l: &str) -> bool {
    l.starts_with("program ") || l.starts_with("kernel ")
}

/// `"x" f32[B, 8] b1`
fn port(s: &str) -> Parsed<Port> {
    let expected = || format!("a name in quotes, a type and a buffer are expected, not `{s}`");
    let (rest, buffer) = s.rsplit_once(' ').ok_or_else(expected)?;
    let buffer = numbered(buffer)?;
    let open = rest.rfind('[').ok_or_else(expected)?;
    let (name, dtype) = rest[..open].rsplit_once(' ').ok_or_else(expected)?;
    let ty = types(&format!("{dtype}{}", &rest[open..]))?;
    let [ty] = &ty[..] else { return Err(expected()) };
    Ok(Port {
        name: quoted(name)?,
        dtype: ty.dtype,
        shape: ty.shape.clone(),
        buffer,
    })
}

/// What follows `require`: `0 <= B - 1 <= 1000 "an axis"`.
///
/// # Errors
/// What is expected instead.
pub fn requirement(s: &str) -> Parsed<Requirement> {
    let expected = || format!("`LEAST <= SIZE <= MOST \"WHAT\"` is expected, not `{s}`");
    let (bounds, what) = s.find('"').map(|at| s.split_at(at)).ok_or_else(expected)?;
    let parts: Vec<&str> = bounds.split("<=").map(str::trim).collect();
    let (least, value, most) = match parts[..] {
        [least, value] => (least, value, None),
        [least, value, most] => (least, value, Some(most)),
        _ => return Err(expected()),
    };
    let number = |s: &str| {
        s.parse::<i64>()
            .map_err(|_| format!("a whole number is expected, not `{s}`"))
    };
    Ok(Requirement {
        least: number(least)?,
        value: value.parse()?,
        most: most.map_or(Ok(i64::MAX), number)?,
        what: quoted(what)?,
    })
}

/// Loops in each other: repeats in tensor IR are never nested this deep.
const MOST_NESTED: usize = 32;

/// More than any artifact has.
const MOST_PARAMS: usize = 1 << 20;

/// `0..3 5`
fn numbers(s: &str) -> Parsed<Vec<usize>> {
    let number = |n: &str| {
        n.parse()
            .map_err(|_| format!("numbers like `0..3 5` are expected, not `{n}`"))
    };
    let mut all = vec![];
    for part in s.split_whitespace() {
        match part.split_once("..") {
            Some((start, end)) => {
                let (start, end) = (number(start)?, number(end)?);
                if end > MOST_PARAMS {
                    return Err(format!("numbers up to {MOST_PARAMS} are expected, not `{part}`"));
                }
                all.extend(start..end);
            }
            None => all.push(number(part)?),
        }
    }
    Ok(all)
}

/// `b3`
fn numbered(s: &str) -> Parsed<usize> {
    let number = s.strip_prefix('b').and_then(|n| n.parse().ok());
    number.ok_or_else(|| format!("a buffer like `b0` is expected, not `{s}`"))
}

/// `temp f32[8*B] live 0 to 3`, the `next` of its program
fn buffer(name: &str, s: &str, next: usize) -> Parsed<Buffer> {
    if numbered(name)? != next {
        return Err(format!("`b{next}` is expected, not `{name}`"));
    }
    let expected = || format!("a kind, a dtype and `[ELEMENTS]` are expected, not `{s}`");
    let (kind, rest) = s.split_once(' ').ok_or_else(expected)?;
    let kind = KINDS.iter().find(|(name, _)| *name == kind).ok_or_else(|| {
        let all: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        format!("a kind of buffer is expected ({}), not `{kind}`", all.join(", "))
    })?;
    let (dtype, rest) = rest.split_once('[').ok_or_else(expected)?;
    let (elements, live) = rest.rsplit_once(']').ok_or_else(expected)?;
    let live = live.trim();
    let live = match live.strip_prefix("live ").and_then(|l| l.split_once(" to ")) {
        Some((first, last)) => {
            let step = |n: &str| {
                n.parse::<usize>()
                    .map_err(|_| format!("the number of a step is expected, not `{n}`"))
            };
            (step(first)?, step(last)?)
        }
        None if live.is_empty() => (0, 0),
        None => return Err(format!("`live FIRST to LAST` is expected, not `{live}`")),
    };
    Ok(Buffer {
        kind: kind.1,
        dtype: DType::parse(dtype).ok_or_else(|| format!("a dtype is expected, not `{dtype}`"))?,
        elements: elements.parse()?,
        live,
    })
}

/// `b3[0; 64 per layer]`, and what follows it
fn operand(s: &str) -> Parsed<(Operand, &str)> {
    let expected = || format!("an operand like `b0[0]` is expected, not `{s}`");
    let (inside, rest) = s.split_once(']').ok_or_else(expected)?;
    let (buffer, place) = inside.split_once('[').ok_or_else(expected)?;
    let (offset, stride) = match place.split_once(';') {
        Some((offset, stride)) => {
            let per_layer = stride.trim().strip_suffix("per layer");
            let stride = per_layer.ok_or_else(|| format!("`STRIDE per layer` is expected, not `{}`", stride.trim()))?;
            (offset, stride.parse()?)
        }
        None => (place, Dim::from(0)),
    };
    let operand = Operand {
        buffer: numbered(buffer)?,
        offset: offset.parse()?,
        layer_stride: stride,
    };
    Ok((operand, rest))
}

/// `3 reverse keep b4[0] {`
fn loop_head(s: &str) -> Parsed<(i64, bool, Option<Operand>)> {
    let s = s
        .strip_suffix('{')
        .ok_or("`{` is expected at the end of the line")?
        .trim();
    let (count, rest) = s.split_once(' ').unwrap_or((s, ""));
    let count = count
        .parse()
        .map_err(|_| format!("the number of layers is expected, not `{count}`"))?;
    let (reverse, rest) = match rest.trim().strip_prefix("reverse") {
        Some(rest) => (true, rest.trim()),
        None => (false, rest.trim()),
    };
    let keep = match rest.strip_prefix("keep ") {
        Some(rest) => match operand(rest.trim())? {
            (keep, "") => Some(keep),
            (_, more) => return Err(format!("`{{` is expected, not `{more}`")),
        },
        None if rest.is_empty() => None,
        None => return Err(format!("`reverse`, `keep` or `{{` is expected, not `{rest}`")),
    };
    Ok((count, reverse, keep))
}
