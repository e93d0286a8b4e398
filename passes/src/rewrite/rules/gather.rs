//! Work before a gather instead of after it: once per row instead of once per reader.

use crate::rewrite::language::Term;
use crate::rewrite::rule::{Rule, Terms};
use egg::Id;
use ir::ops::{Einsum, Op, Take};
use ir::scalar::Binary;

pub const RULES: &[Rule] = &[
    Rule {
        name: "normalize-before-gather",
        doc: "normalize(take(x, i)) is take(normalize(x), i)",
        roots: &["normalize"],
        apply: normalize_before,
    },
    Rule {
        name: "gathered-dot-to-matmul",
        doc: "dot products of a [B, M, 1, P] with rows take(b, i) are columns of a b'",
        roots: &["sum"],
        apply: dot_to_matmul,
    },
];

/// A missing row (an index outside the rows) is zero on both sides, because 0 / max(0, eps) is 0.
fn normalize_before(t: &mut Terms, term: &Term) -> Option<Id> {
    let Op::Normalize(normalize) = &term.op else {
        return None;
    };
    let (take, x, index) = t.find(term.args[0], |op, args| match op {
        Op::Take(take) if t.shape(args[0]).len() > take.batch + 1 => Some((take.clone(), args[0], args[1])),
        _ => None,
    })?;
    if normalize.eps.get() <= 0.0 {
        return None;
    }
    let normal = t.op(normalize.clone(), &[x])?;
    t.op(take, &[normal, index])
}

fn dot_to_matmul(t: &mut Terms, term: &Term) -> Option<Id> {
    let Op::Sum(sum) = &term.op else { return None };
    let shape = t.shape(term.args[0]).to_vec();
    let [b, m, _, p] = &shape[..] else { return None };
    if sum.axes != [3] {
        return None;
    }
    let rows = |a: Id, gathered: Id| {
        let once = *t.shape(a) == [b.clone(), m.clone(), 1.into(), p.clone()];
        t.find(gathered, |op, args| match op {
            Op::Take(Take { batch: 1 }) if once && t.shape(args[0]).len() == 3 && t.shape(args[1]).len() == 3 => {
                (*t.shape(gathered) == *shape).then_some((a, args[0], args[1]))
            }
            _ => None,
        })
    };
    let (a, table, index) = t.binary(term.args[0], Binary::Mul, rows)?;
    let a = t.reshape(a, [b.clone(), m.clone(), p.clone()])?;
    let all = t.op(
        Einsum {
            spec: "bmp,brp->bmr".into(),
        },
        &[a, table],
    )?;
    let taken = t.op(Take { batch: 2 }, &[all, index])?;
    let mut result = t.shape(taken).to_vec();
    if sum.keep {
        result.push(1.into());
    }
    t.reshape(taken, result)
}

#[cfg(test)]
mod tests {
    use crate::rewrite::testing::{Case, dims};
    use ir::ops::{Normalize, Op, Sum, Take};

    #[test]
    fn rows_are_normalised_once() {
        for seed in 0..8 {
            let mut c = Case::new(seed);
            let [b, r, k, p] = [c.r.int(1, 3), c.r.int(1, 5), c.r.int(7, 9), c.r.int(1, 6)];
            let x = c.param_between("x", &[b, r, p], 0.1, 2.0);
            let index = c.ints("index", &[b, k], -1, r);
            let taken = c.g.add_op(Take { batch: 1 }, &[x, index]);
            let y = c.g.add_op(Normalize { eps: 1e-8.into() }, &[taken]);
            let g = c.holds(y, &["normalize-before-gather"]);
            assert!(matches!(g.node(g.outputs[0].1).op, Op::Take(_)), "{g}");
        }
    }

    #[test]
    fn gathered_dots_become_a_matrix_product() {
        for seed in 0..8 {
            let mut c = Case::new(seed);
            let [b, m, r, k, p] = [
                c.r.int(1, 3),
                c.r.int(1, 5),
                c.r.int(1, 5),
                c.r.int(30, 40),
                c.r.int(2, 6),
            ];
            let (q, x) = (c.param("q", &[b, m, p]), c.param("x", &[b, r, p]));
            let q = c.g.reshape(q, dims(&[b, m, 1, p]));
            let index = c.ints("index", &[b, m, k], -1, r);
            let rows = c.g.add_op(Take { batch: 1 }, &[x, index]);
            let products = if c.r.flag() { c.g.mul(q, rows) } else { c.g.mul(rows, q) };
            let keep = c.r.flag();
            let y = c.g.add_op(Sum { axes: vec![3], keep }, &[products]);
            c.result(y);
            let equal = crate::rewrite::tests::with_every_choice(&c.g, &["gathered-dot-to-matmul"], 8);
            assert!(
                equal
                    .iter()
                    .any(|g| g.nodes.iter().any(|n| matches!(&n.op, Op::Einsum(_))))
            );
            for g in equal {
                c.same(&g);
            }
        }
    }
}
