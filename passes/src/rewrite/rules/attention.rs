//! Attention without a tensor of time x time.

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

/// Whether two specs are equal up to the names of letters.
fn is_spec(spec: &str, want: &str) -> bool {
    let mut names = BTreeMap::new();
    spec.len() == want.len()
        && spec.chars().zip(want.chars()).all(|(a, b)| a.is_alphabetic() == b.is_alphabetic() && *names.entry(a).or_insert(b) == b)
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
    let [batch, one, another, keys] = &shape[..] else { return None };
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
        if fits { t.binary(value, Binary::Less, counts) } else { None }
    };
    less(value).or_else(|| less(t.reshaped(value)?))
}

fn fusion(t: &mut Terms, term: &Term) -> Option<Id> {
    let [weighed, v] = einsum(&term.op, &term.args, "bhts,bshd->bthd")?;
    let (scores, dropout) = weights(t, weighed)?;
    let (lengths, scores) = t.find(scores, |op, args| match op {
        Op::Select(_) if t.is_constant(args[2], f64::NEG_INFINITY) => Some((key_lengths(t, args[0])?, args[1])),
        _ => None,
    })?;
    let product = |value: Id| t.find(value, |op, args| einsum(op, args, "bthd,bshd->bhts"));
    let plain = product(scores).map(|qk| (qk, 1.0));
    let ([q, k], scale) = plain.or_else(|| {
        let (x, by) = t.scaled(scores)?;
        Some((product(x)?, by))
    })?;
    if t.ty(q).dtype != DType::F32 {
        return None;
    }
    let mut args = vec![q, k, v, lengths];
    args.extend(dropout.iter().flat_map(|(_, rate_and_seed)| rate_and_seed));
    let op = Attention { scale: scale.into(), packed: false, dropout: dropout.map(|(site, _)| site) };
    let attention = t.op(op, &args)?;
    t.get(attention, 0)
}

fn merging(t: &mut Terms, term: &Term) -> Option<Id> {
    let Op::Attention(attention) = &term.op else { return None };
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
    let [batch, time, head, width] = &heads[..] else { return None };
    let mut merged = vec![x];
    for i in 1..parts[0].len() {
        merged.push(t.op(Concat { axis: 0 }, &parts.each_ref().map(|p| p[i]))?);
    }
    // The map must be of [B, T, _], else rows of the result mean something else.
    if t.shape(x).len() != 3 || t.shape(x)[..2] != heads[..2] {
        return None;
    }
    let flat = t.op(Linear {}, &merged)?;
    let packed = t.reshape(flat, [batch.clone(), time.clone(), 3.into(), head.clone(), width.clone()])?;
    let mut args = vec![packed];
    args.extend(&term.args[3..]);
    t.op(Attention { packed: true, ..attention.clone() }, &args)
}
