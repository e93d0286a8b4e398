//! Rewriting of whole graphs.

use super::{Fired, Space, all_rules, extract::Menu, rewrite, rules};
use ir::graph::Graph;
use ir::ops::Op;
use ir::sample::Rand;
use std::collections::BTreeSet;
use std::path::Path;

/// Graphs that extraction gives for random prices: any choice of equal terms is an equal graph.
pub fn with_every_choice(g: &Graph, names: &[&str], count: u32) -> Vec<Graph> {
    let chosen: Vec<_> = all_rules().filter(|r| names.contains(&r.name)).collect();
    let space = Space::explore(g, &chosen);
    let menu = Menu::new(&space.classes, &space.outputs);
    let drawn = |seed| {
        let mut r = Rand::new(seed);
        // Only where there is a choice, so that long ways round are taken too.
        let choice = menu.cheapest_trees(|_, alternatives| if alternatives > 1 { r.float(0.01, 1.0) } else { 1e-6 });
        space.build(g, &choice)
    };
    (0..count).map(drawn).collect()
}

#[test]
fn names_are_kebab_case_and_unique() {
    let names: BTreeSet<&str> = rules().iter().map(|r| r.name).collect();
    assert_eq!(names.len(), rules().len());
    assert!(names.iter().all(|n| n.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
}

fn model(name: &str) -> frontend::Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(name);
    frontend::load(&path, &[]).unwrap_or_else(|e| panic!("{e:?}"))
}

fn graph(model: &frontend::Model, program: &str) -> Graph {
    model.program(program).unwrap_or_else(|| panic!("no program `{program}`")).graph.clone()
}

fn fired(report: &[Fired]) -> Vec<(&str, usize)> {
    report.iter().map(|f| (f.rule, f.times)).collect()
}

fn body(g: &Graph) -> Graph {
    let bodies = g.nodes.iter().filter_map(|n| if let Op::Repeat(r) = &n.op { Some(r.body.as_ref().clone()) } else { None });
    bodies.last().expect("the encoder is a repeat")
}

#[test]
fn base_keeps_no_time_by_time_tensor() {
    let base = model("base.ron");
    for program in ["pretrain", "finetune", "transcribe"] {
        let g = rewrite(&graph(&base, program)).graph;
        let body = body(&g);
        let squared = |n: &ir::graph::Node| {
            n.types.iter().any(|t| t.shape.iter().enumerate().any(|(i, d)| d.as_const().is_none() && t.shape[..i].contains(d)))
        };
        assert!(body.nodes.iter().all(|n| !squared(n)), "{program}: {body}");
        assert!(body.nodes.iter().any(|n| matches!(&n.op, Op::Attention(a) if a.packed)), "{program}: {body}");
        assert!(!g.nodes.iter().any(|n| matches!(n.op, Op::GroupNorm(_))), "{program}: {g}");
    }
}

#[test]
fn rules_fire_on_tiny() {
    let tiny = model("tiny.ron");
    let of = |program| {
        let report = rewrite(&graph(&tiny, program)).report;
        fired(&report).into_iter().map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", ")
    };
    let everywhere = "scale-into-product 1, attention-fusion 1, qkv-merging 1";
    let convolutions = "conv-group-norm-folding 1, weight-norm-folding 1";
    let contrastive = "normalize-before-gather 1, gathered-dot-to-matmul 1";
    assert_eq!(of("pretrain"), format!("reshape-of-reshape 6, {everywhere}, {contrastive}, {convolutions}"));
    assert_eq!(of("transcribe"), format!("reshape-of-reshape 5, {everywhere}, {convolutions}"));
}

#[test]
fn the_same_every_time() {
    let g = graph(&model("tiny.ron"), "pretrain");
    let (a, b) = (rewrite(&g), rewrite(&g));
    assert_eq!((a.graph, a.report), (b.graph, b.report));
}
