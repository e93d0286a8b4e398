//! Numbers that multiply tensors, moved to where they cost least.

use crate::rewrite::language::Term;
use crate::rewrite::rule::{Rule, Terms, operands};
use egg::Id;
use ir::ops::{Attention, Einsum, Linear, Op};
use ir::scalar::{Binary, DType};

pub const RULES: &[Rule] = &[
    Rule {
        name: "scale-into-attention",
        doc: "attention(q * c, k, v) is attention(q, k, v) with its scale times c; k likewise",
        roots: &["attention"],
        apply: into_attention,
    },
    Rule {
        name: "scale-into-product",
        doc: "c * einsum(a, b) is einsum(c * a, b) or einsum(a, c * b), whichever operand is smaller",
        roots: &["mul", "div"],
        apply: into_product,
    },
    Rule {
        name: "scale-into-linear",
        doc: "c * linear(x, w, b) is linear(x, c * w, c * b)",
        roots: &["mul", "div"],
        apply: into_linear,
    },
    Rule {
        name: "scale-of-reshape",
        doc: "reshape(x * c) is reshape(x) * c",
        roots: &["reshape"],
        apply: of_reshape,
    },
];

fn into_attention(t: &mut Terms, term: &Term) -> Option<Id> {
    let Op::Attention(attention) = &term.op else { return None };
    if attention.packed {
        return None;
    }
    let (at, x, by) = [0, 1].into_iter().find_map(|i| t.scaled(term.args[i]).map(|(x, by)| (i, x, by)))?;
    let mut args = term.args.clone();
    args[at] = x;
    t.op(Attention { scale: (attention.scale.get() * by).into(), ..attention.clone() }, &args)
}

/// The value and the number of a term that is their product.
fn product(t: &Terms, term: &Term) -> Option<(Id, f64)> {
    let number = |c: Id| t.constant(c).filter(|c| c.is_finite());
    let whole = |x: Id, c: Id| t.shape(c).iter().all(|d| d.is_one()) && t.shape(c).len() <= t.shape(x).len();
    let times = |x: Id, c: Id| Some((x, number(c)?)).filter(|_| whole(x, c));
    let over = |x: Id, c: Id| Some((x, 1.0 / number(c)?)).filter(|(_, by)| by.is_finite() && whole(x, c));
    let found = operands(term, Binary::Mul, times).or_else(|| operands(term, Binary::Div, over))?;
    t.ty(found.0).dtype.is_float().then_some(found)
}

fn into_product(t: &mut Terms, term: &Term) -> Option<Id> {
    let (x, by) = product(t, term)?;
    let (spec, a, b) = t.find(x, |op, args| match op {
        Op::Einsum(e) => Some((e.spec.clone(), args[0], args[1])),
        _ => None,
    })?;
    let elements = |v: Id| crate::rewrite::cost::elements(t.ty(v));
    if elements(a) <= elements(b) {
        let a = t.scale(a, by)?;
        t.op(Einsum { spec }, &[a, b])
    } else {
        let b = t.scale(b, by)?;
        t.op(Einsum { spec }, &[a, b])
    }
}

fn into_linear(t: &mut Terms, term: &Term) -> Option<Id> {
    let (x, by) = product(t, term)?;
    let mut args = t.find(x, |op, args| matches!(op, Op::Linear(_)).then(|| args.to_vec()))?;
    if t.ty(args[0]).dtype != DType::F32 {
        return None;
    }
    for part in &mut args[1..] {
        *part = t.scale(*part, by)?;
    }
    t.op(Linear {}, &args)
}

fn of_reshape(t: &mut Terms, term: &Term) -> Option<Id> {
    let Op::Reshape(r) = &term.op else { return None };
    let (x, by) = t.scaled(term.args[0])?;
    let x = t.reshape(x, r.shape.clone())?;
    t.scale(x, by)
}
