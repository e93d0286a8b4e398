//! Printing kernels.

use super::is_coordinate;
use crate::dim::Dim;
use crate::kernel::*;
use crate::scalar::DType;
use std::collections::BTreeSet;
use std::fmt::Display;

/// The text of a kernel, a line each for its slots, values, reductions and stores.
pub fn print(kernel: &Kernel) -> String {
    let mut lines = vec![format!("{} {}", kernel.body.kind(), kernel.body.extents())];
    for (n, slot) in kernel.slots.iter().enumerate() {
        let access = match slot.access {
            Access::Read => "read",
            Access::Write => "write",
            Access::Update => "update",
        };
        lines.push(format!("  s{n} {access} {}", slot.dtype.name()));
    }
    lines.extend(kernel.body.operands().into_iter().map(|l| format!("  {l}")));
    let values = kernel.body.values();
    lines.extend(values.iter().enumerate().map(|(n, v)| format!("  v{n} = {}", value(v))));
    let mut reduced = 0..;
    for block in kernel.body.blocks() {
        lines.push(format!("  {}", block.name));
        for ((how, v), n) in block.reduce.iter().zip(reduced.by_ref()) {
            lines.push(format!("    r{n} = {} v{v}", reduction(*how)));
        }
        for s in block.store {
            let to = if s.accumulate { "+=" } else { "=" };
            lines.push(format!("    s{}{} {to} v{}", s.slot, index(&s.index), s.value));
        }
    }
    lines.join("\n") + "\n"
}

fn value(v: &Value) -> String {
    match v {
        Value::Const { dtype, bits } => format!("{} {}", dtype.name(), constant(*dtype, f64::from_bits(*bits))),
        Value::Axis(a) => format!("axis a{a}"),
        Value::Size(d) => format!("size {d}"),
        Value::Load {
            slot,
            index: i,
            guard: None,
        } => format!("load s{slot}{}", index(i)),
        Value::Load {
            slot,
            index: i,
            guard: Some(g),
        } => format!("load s{slot}{} if v{g}", index(i)),
        Value::Unary(f, a) => format!("{} v{a}", f.name()),
        Value::Binary(f, a, b) => format!("{} v{a}, v{b}", f.name()),
        Value::Select { cond, then, other } => format!("select v{cond}, v{then}, v{other}"),
        Value::Cast(d, a) => format!("cast {} v{a}", d.name()),
        Value::Reduced(n) => format!("r{n}"),
        Value::Acc => "acc".into(),
        Value::Uniform { seed, site, index: i } => format!("uniform s{seed}, site {site}, at {}", index(i)),
    }
}

fn constant(dtype: DType, v: f64) -> String {
    let whole = v as i64;
    if dtype == DType::I32 && (whole as f64).to_bits() == v.to_bits() {
        whole.to_string()
    } else {
        float(v)
    }
}

/// The shortest text that reads back to the same bits.
pub fn float(v: f64) -> String {
    if v.is_nan() {
        format!("bits {:#x}", v.to_bits())
    } else {
        format!("{v:?}")
    }
}

fn reduction(how: Reduction) -> &'static str {
    match how {
        Reduction::Sum => "sum",
        Reduction::Max => "max",
        Reduction::ArgMax => "argmax",
    }
}

/// A list of sizes in brackets.
pub fn dims(list: &[Dim]) -> String {
    format!("[{}]", list.iter().map(Dim::to_string).collect::<Vec<_>>().join(", "))
}

fn index(index: &Index) -> String {
    let coordinate = |c: &Coord| match c {
        Coord::Axis(a) => format!("a{a}"),
        Coord::Value(v) => format!("v{v}"),
    };
    address(&index.base, index.terms.iter().map(|(d, c)| (d, coordinate(c))))
}

/// An address without its zero strides.
pub fn nonzero<'a>(base: &'a Dim, strides: impl Iterator<Item = (&'a Dim, String)>) -> String {
    address(base, strides.filter(|(d, _)| !d.is_zero()))
}

fn address<'a>(base: &'a Dim, terms: impl Iterator<Item = (&'a Dim, impl Display)>) -> String {
    let mut parts: Vec<String> = vec![];
    if !base.is_zero() {
        parts.push(part(base));
    }
    parts.extend(terms.map(|(d, c)| {
        if d.is_one() {
            c.to_string()
        } else {
            format!("{}*{c}", part(d))
        }
    }));
    if parts.is_empty() {
        parts.push("0".into());
    }
    format!("[{}]", parts.join(" + "))
}

/// A size inside an address, in parentheses where it is a sum or could be taken for a coordinate.
fn part(d: &Dim) -> String {
    let mut symbols = BTreeSet::new();
    d.symbols(&mut symbols);
    let plain = d.terms().count() <= 1 && !symbols.iter().any(|s| is_coordinate(s));
    if plain { d.to_string() } else { format!("({d})") }
}
