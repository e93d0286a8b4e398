//! Weight normalisation (Salimans & Kingma 2016).

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
    let large = t.elements(product);
    let small = |x: Id| t.elements(x) < large;
    let (v, g) = t.binary(product, Binary::Mul, |v, g| (small(g) && !small(v)).then_some((v, g)))?;
    if !small(squares) {
        return None;
    }
    let inverse = t.map(Unary::Rsqrt, squares)?;
    let factor = t.mul(g, inverse)?;
    t.mul(v, factor)
}

#[cfg(test)]
mod tests {
    use crate::rewrite::testing::Case;
    use ir::scalar::{Binary, Unary};

    #[test]
    fn the_norm_is_folded_into_the_gain() {
        for seed in 0..4 {
            let mut c = Case::new(seed);
            let [a, b, k] = [c.r.int(2, 5), c.r.int(2, 5), c.r.int(1, 5)];
            let (v, gain) = (c.param("v", &[a, b, k]), c.param("g", &[1, 1, k]));
            let squares = c.g.mul(v, v);
            let sum = c.g.sum(squares, &[0, 1]);
            let norm = c.g.unary(Unary::Sqrt, sum);
            let scaled = if c.r.flag() { c.g.mul(v, gain) } else { c.g.mul(gain, v) };
            let y = c.g.div(scaled, norm);
            let g = c.holds(y, &["weight-norm-folding"]);
            let divides = |op: &ir::ops::Op| matches!(op, ir::ops::Op::BinaryOp(o) if o.function == Binary::Div);
            assert!(!g.nodes.iter().any(|n| divides(&n.op)), "{g}");
        }
    }
}
