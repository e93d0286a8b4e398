//! Parsing the pieces of a line: numbers, sizes, addresses, values.

use super::is_coordinate;
use crate::dim::Dim;
use crate::kernel::*;
use crate::scalar::{Binary, DType, Unary};

pub type Parsed<T> = Result<T, String>;

/// What stands before and after a separator.
pub fn split<'a>(s: &'a str, by: &str) -> Parsed<(&'a str, &'a str)> {
    s.split_once(by)
        .map(|(a, b)| (a.trim(), b.trim()))
        .ok_or_else(|| format!("`{by}` is missing in `{s}`"))
}

/// What follows a word.
pub fn after<'a>(s: &'a str, word: &str) -> Parsed<&'a str> {
    let rest = s
        .strip_prefix(word)
        .filter(|r| r.is_empty() || r.starts_with([' ', '[']));
    rest.map(str::trim)
        .ok_or_else(|| format!("`{word}` is expected, not `{s}`"))
}

/// Pieces between separators outside all brackets.
pub fn pieces(s: &str, by: char) -> Vec<&str> {
    let (mut depth, mut from, mut out) = (0, 0, vec![]);
    for (i, c) in s.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            c if c == by && depth == 0 => {
                out.push(s[from..i].trim());
                from = i + 1;
            }
            _ => {}
        }
    }
    out.push(s[from..].trim());
    out
}

/// `prefix` and a number, like `v3`.
pub fn numbered(s: &str, prefix: &str) -> Parsed<usize> {
    let number = s
        .trim()
        .strip_prefix(prefix)
        .filter(|n| n.bytes().all(|c| c.is_ascii_digit()));
    number
        .and_then(|n| n.parse().ok())
        .ok_or_else(|| format!("`{prefix}` and a number are expected, not `{s}`"))
}

pub fn number<T: std::str::FromStr>(s: &str) -> Parsed<T> {
    s.parse().map_err(|_| format!("`{s}` is no number that fits here"))
}

pub fn float(s: &str) -> Parsed<f64> {
    match s.strip_prefix("bits 0x") {
        Some(hex) => u64::from_str_radix(hex, 16)
            .map(f64::from_bits)
            .map_err(|_| format!("`{s}` is no number")),
        None => number(s),
    }
}

pub fn dtype(s: &str) -> Parsed<DType> {
    DType::parse(s).ok_or_else(|| format!("`{s}` is no dtype"))
}

pub fn bracketed(s: &str) -> Parsed<&str> {
    s.strip_prefix('[')
        .and_then(|s| s.strip_suffix(']'))
        .ok_or_else(|| format!("`[` and `]` are expected around `{s}`"))
}

pub fn dims(s: &str) -> Parsed<Vec<Dim>> {
    match bracketed(s)?.trim() {
        "" => Ok(vec![]),
        inner => pieces(inner, ',').into_iter().map(str::parse).collect(),
    }
}

/// The base and the strides of an address, with the names of its coordinates.
pub fn address(s: &str) -> Parsed<(Dim, Vec<(Dim, &str)>)> {
    let (mut base, mut terms) = (None, vec![]);
    for part in pieces(bracketed(s)?, '+') {
        match part.rsplit_once('*') {
            Some((stride, name)) if is_coordinate(name) => terms.push((stride.parse()?, name)),
            None if is_coordinate(part) => terms.push((Dim::from(1), part)),
            _ if base.is_none() => base = Some(part.parse()?),
            _ => return Err(format!("`{s}` has two bases")),
        }
    }
    Ok((base.unwrap_or_default(), terms))
}

pub fn index(s: &str) -> Parsed<Index> {
    let (base, terms) = address(s)?;
    let coordinate = |name: &str| match numbered(name, "a") {
        Ok(a) => Ok(Coord::Axis(a)),
        Err(_) => numbered(name, "v").map(Coord::Value),
    };
    let terms = terms.into_iter().map(|(d, name)| Ok((d, coordinate(name)?)));
    Ok(Index {
        base,
        terms: terms.collect::<Parsed<_>>()?,
    })
}

/// `s3[...]`
pub fn slot_and_address(s: &str) -> Parsed<(Slot, &str)> {
    let open = s.find('[').ok_or_else(|| format!("`[` is missing in `{s}`"))?;
    Ok((numbered(&s[..open], "s")?, &s[open..]))
}

/// Strides by coordinate; those not written are 0.
pub struct Strides<'a>(pub Vec<(Dim, &'a str)>);

impl Strides<'_> {
    pub fn take(&mut self, name: &str) -> Dim {
        let at = self.0.iter().position(|(_, n)| *n == name);
        at.map(|i| self.0.remove(i).0).unwrap_or_default()
    }

    /// # Errors
    /// A coordinate that nobody took.
    pub fn end(self) -> Parsed<()> {
        self.0
            .first()
            .map_or(Ok(()), |(_, name)| Err(format!("there is no coordinate `{name}` here")))
    }
}

pub fn value(s: &str) -> Parsed<Value> {
    let (word, rest) = s.split_once(' ').map_or((s, ""), |(a, b)| (a, b.trim()));
    let operands = |count: usize| {
        let list = pieces(rest, ',')
            .into_iter()
            .map(|p| numbered(p, "v"))
            .collect::<Parsed<Vec<_>>>()?;
        if list.len() == count {
            Ok(list)
        } else {
            Err(format!("`{word}` takes {count} operands"))
        }
    };
    if let Some(dtype) = DType::parse(word) {
        return Ok(Value::constant(dtype, float(rest)?));
    }
    if let Some(f) = Unary::parse(word) {
        return Ok(Value::Unary(f, operands(1)?[0]));
    }
    if let Some(f) = Binary::parse(word) {
        let list = operands(2)?;
        return Ok(Value::Binary(f, list[0], list[1]));
    }
    match word {
        "axis" => Ok(Value::Axis(numbered(rest, "a")?)),
        "size" => Ok(Value::Size(rest.parse()?)),
        "load" => {
            let (from, guard) = match rest.split_once(" if ") {
                Some((from, guard)) => (from, Some(numbered(guard, "v")?)),
                None => (rest, None),
            };
            let (slot, at) = slot_and_address(from)?;
            Ok(Value::Load {
                slot,
                index: index(at)?,
                guard,
            })
        }
        "select" => {
            let list = operands(3)?;
            Ok(Value::Select {
                cond: list[0],
                then: list[1],
                other: list[2],
            })
        }
        "cast" => {
            let (to, v) = split(rest, " ")?;
            Ok(Value::Cast(dtype(to)?, numbered(v, "v")?))
        }
        "acc" => Ok(Value::Acc),
        "uniform" => match pieces(rest, ',')[..] {
            [seed, site, at] => Ok(Value::Uniform {
                seed: numbered(seed, "s")?,
                site: number(after(site, "site")?)?,
                index: index(after(at, "at")?)?,
            }),
            _ => Err("`uniform` takes a seed slot, a site and an index".into()),
        },
        _ => numbered(word, "r")
            .map(Value::Reduced)
            .map_err(|_| format!("`{word}` is no function")),
    }
}
