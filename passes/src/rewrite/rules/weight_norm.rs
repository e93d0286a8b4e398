//! Weight normalisation (Salimans & Kingma 2016).

use crate::rewrite::cost::elements;
use crate::rewrite::language::Term;
use crate::rewrite::rule::{Rule, Terms, operands};
use egg::Id;
use ir::scalar::{Binary, Unary};

pub const RULES: &[Rule] = &[Rule {
    name: "weight-norm-folding",
    doc: "v * g / sqrt(s) is v * (g * rsqrt(s)) where g and s are smaller than v: one large step instead of two",
    roots: &["div"],
    apply: folding,
}];

fn folding(t: &mut Terms, term: &Term) -> Option<Id> {
    let (product, root) = operands(term, Binary::Div, |product, root| Some((product, root)))?;
    let squares = t.unary(root, Unary::Sqrt)?;
    let large = elements(t.ty(product));
    let small = |x: Id| elements(t.ty(x)) < large;
    let (v, g) = t.binary(product, Binary::Mul, |v, g| (small(g) && !small(v)).then_some((v, g)))?;
    if !small(squares) {
        return None;
    }
    let inverse = t.map(Unary::Rsqrt, squares)?;
    let factor = t.mul(g, inverse)?;
    t.mul(v, factor)
}
