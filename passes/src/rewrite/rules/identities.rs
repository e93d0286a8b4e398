//! Steps that change nothing.

use crate::rewrite::language::Term;
use crate::rewrite::rule::{Rule, Terms, operands};
use egg::Id;
use ir::ops::Op;
use ir::scalar::{Binary, Unary};

pub const RULES: &[Rule] = &[
    Rule {
        name: "mul-by-one",
        doc: "x * 1 and x / 1 are x",
        roots: &["mul", "div"],
        apply: mul_by_one,
    },
    Rule {
        name: "add-zero",
        doc: "x + 0 and x - 0 are x",
        roots: &["add", "sub"],
        apply: add_zero,
    },
    Rule {
        name: "double-negation",
        doc: "-(-x) is x",
        roots: &["neg"],
        apply: double_negation,
    },
    Rule {
        name: "same-reshape",
        doc: "x under its own shape is x",
        roots: &["reshape", "broadcast"],
        apply: same_reshape,
    },
    Rule {
        name: "reshape-of-reshape",
        doc: "only the last shape counts",
        roots: &["reshape"],
        apply: reshape_of_reshape,
    },
    Rule {
        name: "transpose-of-transpose",
        doc: "two permutations are one",
        roots: &["transpose"],
        apply: transpose_of_transpose,
    },
    Rule {
        name: "same-transpose",
        doc: "axes in their own order are x",
        roots: &["transpose"],
        apply: same_transpose,
    },
    Rule {
        name: "same-cast",
        doc: "a cast to the type it has is x",
        roots: &["cast"],
        apply: same_cast,
    },
    Rule {
        name: "zero-dropout",
        doc: "dropout at the constant rate 0 is x",
        roots: &["dropout"],
        apply: zero_dropout,
    },
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
    let (Op::Reshape(ir::ops::Reshape { shape }) | Op::Broadcast(ir::ops::Broadcast { shape })) = &term.op else {
        return None;
    };
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

#[cfg(test)]
mod tests {
    use crate::rewrite::testing::{Case, dims};
    use ir::graph::ValueId;
    use ir::ops::{Broadcast, Cast, Dropout, Op, Reshape, Transpose};
    use ir::scalar::DType;

    /// The rule alone makes the value under test the parameter itself, or one op on it.
    fn vanishes(rule: &str, f: fn(&mut Case, ValueId) -> ValueId) {
        let mut c = Case::new(1);
        let x = c.param("x", &[2, 3, 4]);
        let y = f(&mut c, x);
        let before = c.g.nodes.len();
        let g = c.holds(y, &[rule]);
        let node = g.node(g.outputs[0].1);
        let direct = node.args.first().is_none_or(|a| matches!(g.node(*a).op, Op::Param(_)));
        assert!(direct && g.nodes.len() < before + 3, "`{rule}` left\n{g}");
    }

    #[test]
    fn steps_that_change_nothing_vanish() {
        vanishes("mul-by-one", |c, x| c.g.scale(x, 1.0));
        vanishes("mul-by-one", |c, x| {
            let one = c.g.constant(1.0);
            let one = c.g.broadcast_to(one, dims(&[3, 1]));
            c.g.div(x, one)
        });
        vanishes("add-zero", |c, x| {
            let zero = c.g.constant(0.0);
            c.g.add(zero, x)
        });
        vanishes("add-zero", |c, x| {
            let zero = c.g.constant(0.0);
            c.g.sub(x, zero)
        });
        vanishes("double-negation", |c, x| {
            let minus = c.g.neg(x);
            c.g.neg(minus)
        });
        vanishes("same-reshape", |c, x| {
            c.g.add_op(
                Reshape {
                    shape: dims(&[2, 3, 4]),
                },
                &[x],
            )
        });
        vanishes("same-reshape", |c, x| {
            c.g.add_op(
                Broadcast {
                    shape: dims(&[2, 3, 4]),
                },
                &[x],
            )
        });
        vanishes("reshape-of-reshape", |c, x| {
            let flat = c.g.reshape(x, dims(&[24]));
            c.g.reshape(flat, dims(&[4, 6]))
        });
        vanishes("transpose-of-transpose", |c, x| {
            let once = c.g.transpose(x, &[1, 2, 0]);
            c.g.transpose(once, &[0, 2, 1])
        });
        vanishes("same-transpose", |c, x| {
            c.g.add_op(Transpose { perm: vec![0, 1, 2] }, &[x])
        });
        vanishes("same-cast", |c, x| c.g.add_op(Cast { dtype: DType::F32 }, &[x]));
        vanishes("zero-dropout", |c, x| {
            let seed = c.ints("seed", &[2], 0, 9);
            let zero = c.g.constant(0.0);
            let rate = c.g.broadcast_to(zero, dims(&[1]));
            c.g.add_op(Dropout { site: 1 }, &[x, rate, seed])
        });
    }

    #[test]
    fn what_stretches_stays() {
        let mut c = Case::new(1);
        let x = c.param("x", &[3, 1]);
        let one = c.g.constant(1.0);
        let ones = c.g.broadcast_to(one, dims(&[3, 4]));
        let y = c.g.mul(x, ones);
        c.result(y);
        assert_eq!(
            crate::rewrite::rewrite_with(&c.g, &["mul-by-one"], &Default::default()).report,
            vec![]
        );
    }
}
