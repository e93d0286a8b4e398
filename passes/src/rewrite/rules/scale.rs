//! Scalar factors, moved to where they cost least.

use crate::rewrite::language::Term;
use crate::rewrite::rule::{Rule, Terms};
use egg::Id;
use ir::ops::{Attention, Einsum, Linear, Op};

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
    let Op::Attention(attention) = &term.op else {
        return None;
    };
    if attention.packed {
        return None;
    }
    let (at, x, by) = [0, 1]
        .into_iter()
        .find_map(|i| t.scaled(term.args[i]).map(|(x, by)| (i, x, by)))?;
    let mut args = term.args.clone();
    args[at] = x;
    t.op(
        Attention {
            scale: (attention.scale.get() * by).into(),
            ..attention.clone()
        },
        &args,
    )
}

fn into_product(t: &mut Terms, term: &Term) -> Option<Id> {
    let (x, by) = t.scaled_operand(&term.op, &term.args)?;
    let (spec, a, b) = t.find(x, |op, args| match op {
        Op::Einsum(e) => Some((e.spec.clone(), args[0], args[1])),
        _ => None,
    })?;
    if t.elements(a) <= t.elements(b) {
        let a = t.scale(a, by)?;
        t.op(Einsum { spec }, &[a, b])
    } else {
        let b = t.scale(b, by)?;
        t.op(Einsum { spec }, &[a, b])
    }
}

fn into_linear(t: &mut Terms, term: &Term) -> Option<Id> {
    let (x, by) = t.scaled_operand(&term.op, &term.args)?;
    let mut args = t.find(x, |op, args| matches!(op, Op::Linear(_)).then(|| args.to_vec()))?;
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

#[cfg(test)]
mod tests {
    use crate::rewrite::testing::{Case, dims};
    use ir::ops::Linear;

    #[test]
    fn factors_move_to_small_operands() {
        for seed in 0..8 {
            let mut c = Case::new(seed);
            let (a, b) = (c.param("a", &[40, 3]), c.param("b", &[50, 3]));
            let product = c.g.einsum("ik,jk->ij", a, b);
            let y = if c.r.flag() {
                c.g.scale(product, 0.7)
            } else {
                let by = c.g.constant(3.0);
                c.g.div(product, by)
            };
            c.holds(y, &["scale-into-product"]);

            let mut c = Case::new(seed);
            let (x, w, b) = (c.param("x", &[50, 3]), c.param("w", &[4, 3]), c.param("b", &[4]));
            let args = if c.r.flag() { vec![x, w, b] } else { vec![x, w] };
            let y = c.g.add_op(Linear {}, &args);
            let y = c.g.scale(y, 0.7);
            c.holds(y, &["scale-into-linear"]);
        }
    }

    #[test]
    fn factors_pass_reshapes() {
        let mut c = Case::new(0);
        let (a, b) = (c.param("a", &[40, 3]), c.param("b", &[50, 3]));
        let product = c.g.einsum("ik,jk->ij", a, b);
        let y = c.g.scale(product, 0.7);
        let y = c.g.reshape(y, dims(&[20, 100]));
        let y = c.g.scale(y, 2.0);
        c.holds(y, &["scale-of-reshape"]);
    }
}
