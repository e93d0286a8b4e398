//! Text to graphs, a line at a time.

use super::ParseError;
use crate::graph::{Graph, Node, ValueId};
use crate::ops::{Op, Repeat};
use crate::scalar::DType;
use crate::types::Type;
use serde::Deserialize;
use std::sync::Arc;

type Parsed<T> = Result<T, String>;

/// What a repeat has besides its body.
#[derive(Deserialize)]
struct Header {
    count: i64,
    carries: usize,
    stacked: usize,
    keep: bool,
    reverse: bool,
}

/// Reads what `Display` of a graph writes.
///
/// # Errors
/// At the first line that is not as expected: an unknown op, wrong attributes, an operand that does not come before, types
/// that are not those inferred.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    let lines = text.lines().enumerate().map(|(i, l)| (i + 1, l.trim()));
    let mut reader = Reader {
        lines: lines.filter(|(_, l)| !l.is_empty() && !l.starts_with('#')).collect(),
        at: 0,
        end: text.lines().count() + 1,
    };
    let g = reader.graph()?;
    match reader.next() {
        None => Ok(g),
        Some((line, _)) => Err(ParseError {
            line,
            message: "an output or the end is expected, not `}`".into(),
        }),
    }
}

struct Reader<'a> {
    /// With their numbers.
    lines: Vec<(usize, &'a str)>,
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<(usize, &'a str)> {
        let line = self.lines.get(self.at).copied();
        self.at += 1;
        line
    }

    /// Up to the end or a `}`, which is left.
    fn graph(&mut self) -> Result<Graph, ParseError> {
        let mut g = Graph::default();
        let mut listed = false;
        while let Some((line, text)) = self.lines.get(self.at).copied().filter(|(_, t)| *t != "}") {
            self.at += 1;
            let fail = |message| ParseError { line, message };
            if listed && !text.starts_with("output ") {
                return Err(fail(format!(
                    "an output or the end of the graph is expected, not `{text}`"
                )));
            }
            if let Some(rest) = text.strip_prefix("inputs") {
                g.inputs = inputs(&g, rest).map_err(fail)?;
                listed = true;
            } else if let Some(rest) = text.strip_prefix("output ") {
                if !listed {
                    return Err(fail("`inputs` is expected before the outputs".into()));
                }
                let output = output(&g, rest).map_err(fail)?;
                g.outputs.push(output);
            } else {
                let written = split(text, g.nodes.len()).map_err(fail)?;
                let op = match written.name {
                    "repeat" => self.repeat(&written, line)?,
                    name => Op::parse(name, written.attributes.unwrap_or("()")).map_err(|e| fail(e.to_string()))?,
                };
                let node = node(&g, op, &written).map_err(fail)?;
                g.nodes.push(node);
            }
        }
        if !listed {
            let line = self.lines.get(self.at).map_or(self.end, |(n, _)| *n);
            return Err(ParseError {
                line,
                message: "a node or `inputs` is expected".into(),
            });
        }
        Ok(g)
    }

    fn repeat(&mut self, written: &Written, line: usize) -> Result<Op, ParseError> {
        let fail = |message| ParseError { line, message };
        if !written.opens {
            return Err(fail("`{` and the body of the repeat are expected".into()));
        }
        let header: Result<Header, _> = ron::from_str(written.attributes.unwrap_or("()"));
        let header = header.map_err(|e| fail(format!("attributes of `repeat`: {}", e.code)))?;
        let body = Arc::new(self.graph()?);
        if self.next().is_none() {
            return Err(ParseError {
                line: self.end,
                message: "`}` is expected".into(),
            });
        }
        let Header {
            count,
            carries,
            stacked,
            keep,
            reverse,
        } = header;
        Ok(Repeat {
            count,
            carries,
            stacked,
            keep,
            reverse,
            body,
        }
        .into())
    }
}

/// The parts of a node's line.
struct Written<'a> {
    name: &'a str,
    attributes: Option<&'a str>,
    args: Vec<ValueId>,
    types: Vec<Type>,
    /// Whether a body follows.
    opens: bool,
}

/// `%3 = name(attributes) %0 %1 : f32[B], i32[] {`
fn split(text: &str, number: usize) -> Parsed<Written<'_>> {
    let (id, rest) = text
        .split_once(" = ")
        .ok_or_else(|| format!("`%{number} = ` and an op are expected"))?;
    if id != format!("%{number}") {
        return Err(format!("`%{number}` is expected, not `{id}`"));
    }
    let at = rest
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    let (name, rest) = rest.split_at(at);
    let (attributes, rest) = match rest.starts_with('(') {
        true => {
            let end = closing(rest).ok_or("`)` is expected after the attributes")?;
            (Some(&rest[..end]), &rest[end..])
        }
        false => (None, rest),
    };
    let (rest, opens) = rest.strip_suffix('{').map_or((rest, false), |r| (r.trim_end(), true));
    let expected = || "` : ` and the types of the results are expected".to_string();
    let (args, types) = rest.split_once(" : ").ok_or_else(expected)?;
    let args = args
        .split_whitespace()
        .map(|a| value(a, number))
        .collect::<Parsed<_>>()?;
    Ok(Written {
        name,
        attributes,
        args,
        types: self::types(types)?,
        opens,
    })
}

/// The end of what an opening parenthesis at the start begins; those in strings do not count.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// `%3`, which must be below `count`.
fn value(text: &str, count: usize) -> Parsed<ValueId> {
    let number = text.strip_prefix('%').and_then(|n| n.parse().ok());
    match number.ok_or_else(|| format!("a value like `%0` is expected, not `{text}`"))? {
        n if n < count => Ok(ValueId(n)),
        n => Err(format!("a value that comes before is expected, not `%{n}`")),
    }
}

/// `f32[B, 8], i32[]`
pub(crate) fn types(text: &str) -> Parsed<Vec<Type>> {
    let mut out = vec![];
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest
            .find(']')
            .ok_or_else(|| format!("a type is expected, not `{rest}`"))?;
        out.push(ty(&rest[..end])?);
        rest = rest[end + 1..].trim_start();
        rest = match rest.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if rest.is_empty() => rest,
            None => return Err(format!("`,` is expected between types, not `{rest}`")),
        };
    }
    Ok(out)
}

/// `f32[B, 8` without its end.
fn ty(text: &str) -> Parsed<Type> {
    let expected = || format!("a type is expected, not `{text}]`");
    let (dtype, dims) = text.split_once('[').ok_or_else(expected)?;
    let dtype = DType::parse(dtype).ok_or_else(expected)?;
    let dims = match dims.trim() {
        "" => vec![],
        list => list.split(',').map(str::parse).collect::<Parsed<Vec<_>>>()?,
    };
    Ok(Type::new(dtype, dims))
}

fn node(g: &Graph, op: Op, written: &Written) -> Parsed<Node> {
    let types = match (&op, &written.args[..]) {
        // The graph knows all results of what it reads.
        (Op::Get(get), [of]) => {
            let all = &g.node(*of).types;
            let own = all
                .get(get.index)
                .ok_or_else(|| format!("one of {} results is expected, not {}", all.len(), get.index))?;
            vec![own.clone()]
        }
        (Op::Get(_), _) => return Err("one operand is expected".into()),
        _ => {
            if let Some(a) = written.args.iter().find(|a| g.node(**a).types.len() != 1) {
                return Err(format!("a single value is expected: read `%{}` through `get`", a.0));
            }
            let args: Vec<Type> = written.args.iter().map(|a| g.ty(*a).clone()).collect();
            op.infer(&args).map_err(|e| format!("{}: {}", op.name(), e.0))?
        }
    };
    if types != written.types {
        let list = |t: &[Type]| t.iter().map(Type::to_string).collect::<Vec<_>>().join(", ");
        return Err(format!("{} is expected, not {}", list(&types), list(&written.types)));
    }
    Ok(Node {
        op,
        args: written.args.clone(),
        types,
    })
}

fn inputs(g: &Graph, text: &str) -> Parsed<Vec<ValueId>> {
    let one = |text| {
        let v = value(text, g.nodes.len())?;
        match &g.node(v).op {
            Op::Input(_) => Ok(v),
            _ => Err(format!("an input is expected: {text} is no input")),
        }
    };
    text.split_whitespace().map(one).collect()
}

/// `"name" %3`
fn output(g: &Graph, text: &str) -> Parsed<(String, ValueId)> {
    let (name, v) = text
        .rsplit_once(' ')
        .ok_or("a name in quotes and a value are expected")?;
    Ok((super::quoted(name)?, value(v, g.nodes.len())?))
}
