//! Parsing kernels, line by line.

use super::ParseError;
use super::scan::{Parsed, after, dims, dtype, index, numbered, pieces, slot_and_address, split, value};
use crate::dim::Dim;
use crate::kernel::*;
use std::iter::Peekable;

/// Reads the text of one kernel. It need not be valid; that is the verifier's to say.
///
/// # Errors
/// The first line that is not as [`print`](super::print) writes it.
pub fn parse(text: &str) -> Result<Kernel, ParseError> {
    let lines = text
        .lines()
        .enumerate()
        .map(|(n, l)| (n + 1, l.split('#').next().unwrap_or("").trim()));
    let mut lines = Lines {
        rest: lines
            .filter(|(_, l)| !l.is_empty())
            .collect::<Vec<_>>()
            .into_iter()
            .peekable(),
        at: 1,
    };
    lines.kernel().map_err(|message| ParseError {
        line: lines.at,
        message,
    })
}

/// The lines of a kernel that are still to be read.
pub struct Lines<'a> {
    rest: Peekable<std::vec::IntoIter<(usize, &'a str)>>,
    /// The line being read.
    at: usize,
}

impl<'a> Lines<'a> {
    /// The next line where `wanted` holds of it.
    pub fn next_if(&mut self, wanted: impl Fn(&str) -> bool) -> Option<&'a str> {
        let (at, line) = self.rest.next_if(|(_, l)| wanted(l))?;
        self.at = at;
        Some(line)
    }

    /// The next line, which is `name` = something.
    pub fn field(&mut self, name: &str) -> Parsed<&'a str> {
        match self.next_if(|_| true) {
            Some(line) => split(line, "=").and_then(|(n, v)| {
                if n == name {
                    Ok(v)
                } else {
                    Err(format!("`{name} =` is expected"))
                }
            }),
            None => Err(format!("the text ends where `{name} =` is expected")),
        }
    }

    /// The next line, which gives the slot of an operand.
    pub fn slot(&mut self, name: &str) -> Parsed<Slot> {
        numbered(self.field(name)?, "s")
    }

    fn kernel(&mut self) -> Parsed<Kernel> {
        let head = self.next_if(|_| true).ok_or("there is no kernel")?;
        let (kind, extents) = head.split_once(' ').map_or((head, ""), |(k, e)| (k, e.trim()));
        let extents = Extents(pieces(extents, ','));
        let (slots, body) = Body::parse_kind(kind, extents, self).ok_or_else(|| {
            let kinds = Body::KINDS.join(", ");
            format!("`{kind}` is no kind of kernel; the kinds are {kinds}")
        })??;
        match self.next_if(|_| true) {
            Some(line) => Err(format!("`{line}` does not belong here")),
            None => Ok(Kernel { slots, body }),
        }
    }

    /// Declarations of slots.
    pub fn slots(&mut self) -> Parsed<Vec<SlotDecl>> {
        let mut slots = vec![];
        let is_slot =
            |l: &str| l.starts_with('s') && !l.contains('=') && l[1..].starts_with(|c: char| c.is_ascii_digit());
        while let Some(line) = self.next_if(is_slot) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, access, of] = words[..] else {
                return Err(format!("`{line}` is no slot with access and dtype"));
            };
            self.in_order(numbered(name, "s")?, slots.len(), "s")?;
            let access = match access {
                "read" => Access::Read,
                "write" => Access::Write,
                "update" => Access::Update,
                _ => return Err(format!("`{access}` is not read, write or update")),
            };
            slots.push(SlotDecl {
                dtype: dtype(of)?,
                access,
            });
        }
        Ok(slots)
    }

    fn in_order(&self, found: usize, next: usize, prefix: &str) -> Parsed<()> {
        if found == next {
            Ok(())
        } else {
            Err(format!("{prefix}{next} comes next, not {prefix}{found}"))
        }
    }

    /// Scalar values.
    pub fn values(&mut self) -> Parsed<Vec<Value>> {
        let mut values = vec![];
        while let Some(line) = self.next_if(|l| l.starts_with('v')) {
            let (name, what) = split(line, "=")?;
            self.in_order(numbered(name, "v")?, values.len(), "v")?;
            values.push(value(what)?);
        }
        Ok(values)
    }

    /// Reductions, numbered from `first`.
    pub fn reduce(&mut self, first: usize) -> Parsed<Vec<(Reduction, ValId)>> {
        let mut list = vec![];
        while let Some(line) = self.next_if(|l| l.starts_with('r') && l.contains('=')) {
            let (name, what) = split(line, "=")?;
            self.in_order(numbered(name, "r")?, first + list.len(), "r")?;
            let (how, v) = split(what, " ")?;
            let how = match how {
                "sum" => Reduction::Sum,
                "max" => Reduction::Max,
                "argmax" => Reduction::ArgMax,
                _ => return Err(format!("`{how}` is no reduction")),
            };
            list.push((how, numbered(v, "v")?));
        }
        Ok(list)
    }

    /// Stores.
    pub fn stores(&mut self) -> Parsed<Vec<Store>> {
        let mut list = vec![];
        while let Some(line) = self.next_if(|l| l.starts_with('s') && l.contains('=')) {
            let accumulate = line.contains("+=");
            let (to, v) = split(line, if accumulate { "+=" } else { "=" })?;
            let (slot, at) = slot_and_address(to)?;
            list.push(Store {
                slot,
                index: index(at)?,
                value: numbered(v, "v")?,
                accumulate,
            });
        }
        Ok(list)
    }

    /// The line that begins a block.
    pub fn heading(&mut self, name: &str) -> Parsed<()> {
        self.next_if(|l| l == name)
            .map(|_| ())
            .ok_or_else(|| format!("`{name}` is expected after this"))
    }
}

/// The named extents of the first line.
pub struct Extents<'a>(Vec<&'a str>);

impl<'a> Extents<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text of an extent that is alone and has no name.
    ///
    /// # Errors
    /// There are more.
    pub fn only(&self) -> Parsed<&'a str> {
        match self.0[..] {
            [one] => Ok(one),
            _ => Err(format!("one list of sizes is expected, not {}", self.0.len())),
        }
    }

    /// The text of extent `n`, which follows its name.
    pub fn text(&self, n: usize, name: &str) -> Parsed<&'a str> {
        after(
            self.0.get(n).copied().ok_or_else(|| format!("`{name}` is missing"))?,
            name,
        )
    }

    /// The size that extent `n` is.
    pub fn dim(&self, n: usize, name: &str) -> Parsed<Dim> {
        self.text(n, name)?.parse()
    }

    /// The sizes that extent `n` lists.
    pub fn list(&self, n: usize, name: &str) -> Parsed<Vec<Dim>> {
        dims(self.text(n, name)?)
    }
}
