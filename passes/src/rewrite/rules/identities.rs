//! Steps that change nothing.

use crate::rewrite::language::Term;
use crate::rewrite::rule::{Rule, Terms, operands};
use egg::Id;
use ir::ops::Op;
use ir::scalar::{Binary, Unary};

pub const RULES: &[Rule] = &[
    Rule { name: "mul-by-one", doc: "x * 1 and x / 1 are x", roots: &["mul", "div"], apply: mul_by_one },
    Rule { name: "add-zero", doc: "x + 0 and x - 0 are x", roots: &["add", "sub"], apply: add_zero },
    Rule { name: "double-negation", doc: "-(-x) is x", roots: &["neg"], apply: double_negation },
    Rule { name: "same-reshape", doc: "x under its own shape is x", roots: &["reshape", "broadcast"], apply: same_reshape },
    Rule { name: "reshape-of-reshape", doc: "only the last shape counts", roots: &["reshape"], apply: reshape_of_reshape },
    Rule { name: "transpose-of-transpose", doc: "two permutations are one", roots: &["transpose"], apply: transpose_of_transpose },
    Rule { name: "same-transpose", doc: "axes in their own order are x", roots: &["transpose"], apply: same_transpose },
    Rule { name: "same-cast", doc: "a cast to the type it has is x", roots: &["cast"], apply: same_cast },
    Rule { name: "zero-dropout", doc: "dropout at the constant rate 0 is x", roots: &["dropout"], apply: zero_dropout },
];

/// `x` where the term has its type, so that nothing is stretched.
fn unstretched(t: &Terms, term: &Term, x: Id) -> Option<Id> {
    let other = *term.args.iter().find(|a| **a != x).unwrap_or(&x);
    let whole = ir::types::broadcast(&[t.shape(x), t.shape(other)]).ok()?;
    (t.shape(x) == whole).then_some(x)
}

fn mul_by_one(t: &mut Terms, term: &Term) -> Option<Id> {
    let one = |x, c| t.is_constant(c, 1.0).then_some(x);
    let x = operands(term, Binary::Mul, one).or_else(|| operands(term, Binary::Div, one))?;
    unstretched(t, term, x)
}

fn add_zero(t: &mut Terms, term: &Term) -> Option<Id> {
    let zero = |x, c| t.is_constant(c, 0.0).then_some(x);
    let x = operands(term, Binary::Add, zero).or_else(|| operands(term, Binary::Sub, zero))?;
    unstretched(t, term, x)
}

fn double_negation(t: &mut Terms, term: &Term) -> Option<Id> {
    t.unary(term.args[0], Unary::Neg)
}

fn same_reshape(t: &mut Terms, term: &Term) -> Option<Id> {
    let (Op::Reshape(ir::ops::Reshape { shape }) | Op::Broadcast(ir::ops::Broadcast { shape })) = &term.op else { return None };
    (t.shape(term.args[0]) == shape).then_some(term.args[0])
}

fn reshape_of_reshape(t: &mut Terms, term: &Term) -> Option<Id> {
    let Op::Reshape(r) = &term.op else { return None };
    let x = t.reshaped(term.args[0])?;
    t.reshape(x, r.shape.clone())
}

fn transpose_of_transpose(t: &mut Terms, term: &Term) -> Option<Id> {
    let Op::Transpose(outer) = &term.op else { return None };
    let (x, inner) = t.find(term.args[0], |op, args| match op {
        Op::Transpose(inner) => Some((args[0], inner.perm.clone())),
        _ => None,
    })?;
    let perm: Vec<usize> = outer.perm.iter().map(|p| inner[*p]).collect();
    t.transpose(x, &perm)
}

fn same_transpose(_: &mut Terms, term: &Term) -> Option<Id> {
    let Op::Transpose(o) = &term.op else { return None };
    o.perm.is_sorted().then_some(term.args[0])
}

fn same_cast(t: &mut Terms, term: &Term) -> Option<Id> {
    let Op::Cast(o) = &term.op else { return None };
    (t.ty(term.args[0]).dtype == o.dtype).then_some(term.args[0])
}

fn zero_dropout(t: &mut Terms, term: &Term) -> Option<Id> {
    t.is_constant(term.args[1], 0.0).then_some(term.args[0])
}
