//! Attention without a [time, time] tensor.

use crate::rewrite::language::Term;
use crate::rewrite::rule::{Rule, Terms};
use egg::Id;
use ir::ops::{Attention, Concat, Einsum, Linear, Op};
use ir::scalar::{Binary, DType};
use std::collections::BTreeMap;

pub const RULES: &[Rule] = &[
    Rule {
        name: "attention-fusion",
        doc: "softmax(keys below the length ? c * q k' : -inf), dropout or none, times v is attention",
        roots: &["einsum"],
        apply: fusion,
    },
    Rule {
        name: "qkv-merging",
        doc: "attention over three linear maps of one value is packed attention over one",
        roots: &["attention"],
        apply: merging,
    },
];

/// The products of probabilities with values, and of queries with keys.
const VALUES: &str = "bhts,bshd->bthd";
const SCORES: &str = "bthd,bshd->bhts";

/// Whether two specs are equal up to the names of letters.
fn is_spec(spec: &str, want: &str) -> bool {
    let mut names = BTreeMap::new();
    spec.len() == want.len()
        && spec
            .chars()
            .zip(want.chars())
            .all(|(a, b)| a.is_alphabetic() == b.is_alphabetic() && *names.entry(a).or_insert(b) == b)
        && names.values().collect::<std::collections::BTreeSet<_>>().len() == names.len()
}

fn einsum(op: &Op, args: &[Id], want: &str) -> Option<[Id; 2]> {
    matches!(op, Op::Einsum(Einsum { spec }) if is_spec(spec, want)).then(|| [args[0], args[1]])
}

/// Softmax's operand, and site, rate and seed of a dropout after it.
type Weights = (Id, Option<(u32, [Id; 2])>);

fn weights(t: &Terms, value: Id) -> Option<Weights> {
    let softmax = |value: Id| t.find(value, |op, args| matches!(op, Op::Softmax(_)).then(|| args[0]));
    let dropped = t.find(value, |op, args| match op {
        Op::Dropout(d) => Some((softmax(args[0])?, Some((d.site, [args[1], args[2]])))),
        _ => None,
    });
    dropped.or_else(|| Some((softmax(value)?, None)))
}

/// Lengths i32 [B] where the value [B, 1, 1, T] is 1 at the first `lengths` of T keys.
fn key_lengths(t: &Terms, value: Id) -> Option<Id> {
    let shape = t.shape(value).to_vec();
    let [batch, one, another, keys] = &shape[..] else {
        return None;
    };
    if !one.is_one() || !another.is_one() {
        return None;
    }
    let less = |value: Id| {
        // The comparison has [B, T] among its axes, with ones between.
        let sizes: Vec<_> = t.shape(value).iter().filter(|d| !d.is_one()).collect();
        let fits = t.shape(value).first() == Some(batch) && t.shape(value).last() == Some(keys) && sizes.len() <= 2;
        let counts = |steps: Id, lengths: Id| {
            let from = t.reshaped(steps).unwrap_or(steps);
            t.find(from, |op, _| matches!(op, Op::Iota(i) if i.size == *keys).then_some(()))?;
            let column = t.shape(lengths).last().is_some_and(|d| d.is_one());
            let lengths = t.reshaped(lengths)?;
            (column && t.shape(steps).last() == Some(keys) && t.shape(lengths) == [batch.clone()]).then_some(lengths)
        };
        if fits {
            t.binary(value, Binary::Less, counts)
        } else {
            None
        }
    };
    less(value).or_else(|| less(t.reshaped(value)?))
}

fn fusion(t: &mut Terms, term: &Term) -> Option<Id> {
    let weighed = weighed(t, term)?;
    let attention = fused(t, &weighed).ok()?;
    t.get(attention, 0)
}

/// A product of a softmax with values, as it is written.
struct Weighed {
    spec: String,
    softmax: Weights,
    values: Id,
}

fn weighed(t: &Terms, term: &Term) -> Option<Weighed> {
    let Op::Einsum(Einsum { spec }) = &term.op else {
        return None;
    };
    let softmax = weights(t, term.args[0])?;
    Some(Weighed {
        spec: spec.clone(),
        softmax,
        values: term.args[1],
    })
}

/// What keeps a product of a softmax with values from being attention; `None` where it is, or is nothing like it.
pub fn near_miss(t: &mut Terms, value: Id, term: &Term) -> Option<String> {
    let is_attention = |v: Id| t.find(v, |op, _| matches!(op, Op::Attention(_)).then_some(()));
    let known = t.find(value, |op, args| match op {
        Op::Get(_) => is_attention(args[0]),
        _ => None,
    });
    let weighed = weighed(t, term).filter(|_| known.is_none())?;
    fused(t, &weighed).err()
}

/// The attention that a product is, or what does not fit: the pattern is followed from the result to the operands.
fn fused(t: &mut Terms, w: &Weighed) -> Result<Id, String> {
    if !is_spec(&w.spec, VALUES) {
        return Err(format!(
            "the softmax meets the values in `{}`, not in `{VALUES}`",
            w.spec
        ));
    }
    let (operand, dropout) = w.softmax;
    let (lengths, scores) = masked(t, operand)?;
    let ([q, k], scale) = scores_of(t, scores)?;
    if t.ty(q).dtype != DType::F32 {
        return Err(format!("queries are {}, not f32", t.ty(q).dtype.name()));
    }
    let mut args = vec![q, k, w.values, lengths];
    args.extend(dropout.iter().flat_map(|(_, rate_and_seed)| rate_and_seed));
    let op = Attention {
        scale: scale.into(),
        packed: false,
        dropout: dropout.map(|(site, _)| site),
    };
    t.typed(op, &args)
}

/// Lengths, and what is seen of scores below them.
fn masked(t: &Terms, value: Id) -> Result<(Id, Id), String> {
    let fits = t.find(value, |op, args| match op {
        Op::Select(_) if t.is_constant(args[2], f64::NEG_INFINITY) => Some((key_lengths(t, args[0])?, args[1])),
        _ => None,
    });
    if let Some(found) = fits {
        return Ok(found);
    }
    let select = t.find(value, |op, args| {
        matches!(op, Op::Select(_)).then(|| [args[0], args[2]])
    });
    let Some([mask, other]) = select else {
        return Err(format!(
            "the softmax is over {}, not over select(keys below a length, scores, -inf)",
            t.op_names(value)
        ));
    };
    if !t.is_constant(other, f64::NEG_INFINITY) {
        let what = t.constant(other).map_or("no constant".to_string(), |c| c.to_string());
        return Err(format!("scores that are masked become {what}, not -inf"));
    }
    let ty = t.ty(mask);
    Err(format!(
        "the mask, {ty}, is not `iota < lengths` along the keys, i32[B, 1, 1, T]"
    ))
}

/// Queries and keys, and what their products are scaled by.
fn scores_of(t: &Terms, scores: Id) -> Result<([Id; 2], f64), String> {
    let product = |value: Id| t.find(value, |op, args| einsum(op, args, SCORES));
    let scaled = t.scaled(scores);
    if let Some((q_and_k, by)) = scaled.and_then(|(x, by)| Some((product(x)?, by))) {
        return Ok((q_and_k, by));
    }
    if let Some(q_and_k) = product(scores) {
        return Ok((q_and_k, 1.0));
    }
    let inner = scaled.map_or(scores, |(x, _)| x);
    let spec = t.find(inner, |op, _| match op {
        Op::Einsum(e) => Some(e.spec.clone()),
        _ => None,
    });
    Err(match spec {
        Some(spec) => format!("queries meet keys in `{spec}`, not in `{SCORES}`"),
        None => format!(
            "scores are {}, not a product of queries and keys, scaled or not",
            t.op_names(inner)
        ),
    })
}

fn merging(t: &mut Terms, term: &Term) -> Option<Id> {
    let Op::Attention(attention) = &term.op else {
        return None;
    };
    if attention.packed {
        return None;
    }
    let linear = |value: Id| {
        let flat = t.reshaped(value)?;
        t.find(flat, |op, args| matches!(op, Op::Linear(_)).then(|| args.to_vec()))
    };
    let parts = [linear(term.args[0])?, linear(term.args[1])?, linear(term.args[2])?];
    let x = parts[0][0];
    if parts.iter().any(|p| !t.same(p[0], x) || p.len() != parts[0].len()) {
        return None;
    }
    let heads = t.shape(term.args[0]).to_vec();
    let [batch, time, head, width] = &heads[..] else {
        return None;
    };
    let mut merged = vec![x];
    for i in 1..parts[0].len() {
        merged.push(t.op(Concat { axis: 0 }, &parts.each_ref().map(|p| p[i]))?);
    }
    // The map must be of [B, T, _], else rows of the result mean something else.
    if t.shape(x).len() != 3 || t.shape(x)[..2] != heads[..2] {
        return None;
    }
    let flat = t.op(Linear {}, &merged)?;
    let packed = t.reshape(
        flat,
        [batch.clone(), time.clone(), 3.into(), head.clone(), width.clone()],
    )?;
    let mut args = vec![packed];
    args.extend(&term.args[3..]);
    t.op(
        Attention {
            packed: true,
            ..attention.clone()
        },
        &args,
    )
}

#[cfg(test)]
mod tests {
    use crate::rewrite::testing::{Case, dims};
    use ir::graph::ValueId;
    use ir::ops::{Attention, Dropout, Einsum, Iota, Linear, Op, Softmax};
    use ir::scalar::Binary;

    /// 1 for keys below the length, [B, 1, 1, T], by way of [B, T] or straight.
    fn key_mask(c: &mut Case, lengths: ValueId, b: i64, t: i64) -> ValueId {
        let steps = c.g.add_op(Iota { size: t.into() }, &[]);
        if c.r.flag() {
            let ends = c.g.reshape(lengths, dims(&[b, 1]));
            let inside = c.g.binary(Binary::Less, steps, ends);
            return c.g.reshape(inside, dims(&[b, 1, 1, t]));
        }
        let ends = c.g.reshape(lengths, dims(&[b, 1, 1, 1]));
        c.g.binary(Binary::Less, steps, ends)
    }

    fn attention(c: &mut Case, qkv: [ValueId; 3], scaling: i64) -> ValueId {
        let [b, t] = [0, 1].map(|i| c.g.shape(qkv[0])[i].as_const().unwrap());
        let lengths = c.ints("lengths", &[b], 1, t);
        let mask = key_mask(c, lengths, b, t);
        let q = if scaling == 1 { c.g.scale(qkv[0], 0.3) } else { qkv[0] };
        let mut scores = c.g.add_op(
            Einsum {
                spec: "bihd,bjhd->bhij".into(),
            },
            &[q, qkv[1]],
        );
        if scaling == 2 {
            scores = c.g.scale(scores, 0.3);
        }
        let never = c.g.constant(f64::NEG_INFINITY);
        let masked = c.g.select(mask, scores, never);
        let mut weights = c.g.add_op(Softmax {}, &[masked]);
        if c.r.flag() {
            let rate = c.floats("rate", &[1], 0.2, 0.5);
            let seed = c.ints("seed", &[2], -99, 99);
            weights = c.g.add_op(Dropout { site: 5 }, &[weights, rate, seed]);
        }
        c.g.add_op(
            Einsum {
                spec: "bhts,bshd->bthd".into(),
            },
            &[weights, qkv[2]],
        )
    }

    #[test]
    fn masked_softmax_becomes_attention() {
        for seed in 0..12 {
            let mut c = Case::new(seed);
            let [b, t, h, d] = [c.r.int(1, 3), c.r.int(2, 7), c.r.int(2, 3), c.r.int(2, 4)];
            let qkv = ["q", "k", "v"].map(|name| c.param(name, &[b, t, h, d]));
            let scaling = c.r.int(0, 2);
            let y = attention(&mut c, qkv, scaling);
            let rules: &[&str] = if scaling == 1 {
                &["attention-fusion", "scale-into-attention"]
            } else {
                &["attention-fusion"]
            };
            let g = c.holds(y, rules);
            let scale = if scaling == 0 { 1.0 } else { 0.3 };
            let fused = |op: &Op| matches!(op, Op::Attention(a) if (a.scale.get() - scale).abs() < 1e-15);
            assert!(g.nodes.iter().any(|n| fused(&n.op)), "{g}");
            assert!(!g.nodes.iter().any(|n| matches!(n.op, Op::Softmax(_))), "{g}");
        }
    }

    #[test]
    fn what_is_nearly_attention_is_told() {
        let miss = |spoil: &dyn Fn(&mut Case, [ValueId; 3]) -> ValueId| {
            let mut c = Case::new(1);
            let qkv = ["q", "k", "v"].map(|name| c.param(name, &[2, 4, 2, 3]));
            let y = spoil(&mut c, qkv);
            c.g.outputs = vec![("y".into(), y)];
            let misses = crate::rewrite::rewrite(&c.g, &Default::default()).misses;
            misses.iter().map(|m| m.why.clone()).collect::<Vec<_>>().join("; ")
        };
        let scores = |c: &mut Case, [q, k, _]: [ValueId; 3]| c.g.einsum("bthd,bshd->bhts", q, k);
        let masked = |c: &mut Case, scores: ValueId, other: f64| {
            let lengths = c.ints("lengths", &[2], 1, 4);
            let mask = key_mask(c, lengths, 2, 4);
            let never = c.g.constant(other);
            c.g.select(mask, scores, never)
        };
        let weighed = |c: &mut Case, scores: ValueId, spec: &str, v: ValueId| {
            let weights = c.g.add_op(Softmax {}, &[scores]);
            c.g.einsum(spec, weights, v)
        };
        let infinite = f64::NEG_INFINITY;
        let values = "bhts,bshd->bthd";
        let good = miss(&|c, qkv| {
            let s = scores(c, qkv);
            let s = masked(c, s, infinite);
            weighed(c, s, values, qkv[2])
        });
        assert_eq!(good, "");
        let unmasked = miss(&|c, qkv| {
            let s = scores(c, qkv);
            weighed(c, s, values, qkv[2])
        });
        assert!(
            unmasked.contains("the softmax is over `einsum`, not over select"),
            "{unmasked}"
        );
        let finite = miss(&|c, qkv| {
            let s = scores(c, qkv);
            let s = masked(c, s, -1e9);
            weighed(c, s, values, qkv[2])
        });
        assert!(finite.contains("become -1000000000, not -inf"), "{finite}");
        let biased = miss(&|c, qkv| {
            let s = scores(c, qkv);
            let bias = c.param("bias", &[2, 4, 4]);
            let s = c.g.add(s, bias);
            let s = masked(c, s, infinite);
            weighed(c, s, values, qkv[2])
        });
        assert!(biased.contains("scores are `add`, not a product"), "{biased}");
        let heads_first = miss(&|c, qkv| {
            let s = scores(c, qkv);
            let s = masked(c, s, infinite);
            weighed(c, s, "bhts,bshd->bhtd", qkv[2])
        });
        assert!(
            heads_first.contains("meets the values in `bhts,bshd->bhtd`"),
            "{heads_first}"
        );
        let wider = miss(&|c, qkv| {
            let s = scores(c, qkv);
            let s = masked(c, s, infinite);
            let v = c.param("wide", &[2, 4, 2, 5]);
            weighed(c, s, values, v)
        });
        assert!(wider.contains("q, k and v must have one type"), "{wider}");
    }

    #[test]
    fn a_mask_of_queries_is_no_match() {
        let mut c = Case::new(1);
        let qkv = ["q", "k", "v"].map(|name| c.param(name, &[2, 4, 2, 3]));
        let lengths = c.ints("lengths", &[2], 1, 4);
        let steps = c.g.add_op(Iota { size: 4.into() }, &[]);
        let steps = c.g.reshape(steps, dims(&[1, 1, 4, 1]));
        let ends = c.g.reshape(lengths, dims(&[2, 1, 1, 1]));
        let mask = c.g.binary(Binary::Less, steps, ends);
        let scores = c.g.einsum("bthd,bshd->bhts", qkv[0], qkv[1]);
        let never = c.g.constant(f64::NEG_INFINITY);
        let masked = c.g.select(mask, scores, never);
        let weights = c.g.add_op(Softmax {}, &[masked]);
        let y = c.g.einsum("bhts,bshd->bthd", weights, qkv[2]);
        c.result(y);
        assert_eq!(crate::rewrite::rewrite(&c.g, &Default::default()).report, vec![]);
    }

    #[test]
    fn three_linear_maps_merge() {
        for seed in 0..8 {
            let mut c = Case::new(seed);
            let [b, t, h, d, i] = [
                c.r.int(1, 3),
                c.r.int(2, 6),
                c.r.int(2, 3),
                c.r.int(2, 4),
                c.r.int(2, 9),
            ];
            let x = c.param("x", &[b, t, i]);
            let bias = c.r.flag();
            let mut args = vec![];
            for name in ["q", "k", "v"] {
                let mut linear = vec![x, c.param(name, &[h * d, i])];
                if bias {
                    linear.push(c.param(&format!("{name} bias"), &[h * d]));
                }
                let y = c.g.add_op(Linear {}, &linear);
                args.push(c.g.reshape(y, dims(&[b, t, h, d])));
            }
            args.push(c.ints("lengths", &[b], 1, t));
            let whole = c.g.add_op(
                Attention {
                    scale: 0.5.into(),
                    packed: false,
                    dropout: None,
                },
                &args,
            );
            let y = c.g.results(whole)[0];
            c.result(y);
            // Too small for the merged map to pay: the rule is tried without asking the price.
            let equal = crate::rewrite::tests::with_every_choice(&c.g, &["qkv-merging"], 8);
            assert!(
                equal
                    .iter()
                    .any(|g| g.nodes.iter().any(|n| matches!(&n.op, Op::Attention(a) if a.packed)))
            );
            for g in equal {
                c.same(&g);
            }
        }
    }
}
