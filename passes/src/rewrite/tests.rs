//! Rewriting of whole graphs.

use super::cost::Work;
use super::rule::Rule;
use super::testing::Case;
use super::{Space, all_rules, rewrite, rules};
use ir::dim::Env;
use ir::examples::Examples;
use ir::graph::Graph;
use ir::ops::{Input, Op, Param, Repeat};
use ir::sample::{Rand, SampleArg};
use ir::types::Type;
use std::collections::BTreeSet;
use std::path::Path;

/// Graphs that extraction gives for random prices: any choice of equal terms is an equal graph.
pub fn with_every_choice(g: &Graph, names: &[&str], count: u32) -> Vec<Graph> {
    let chosen: Vec<_> = all_rules().filter(|r| names.contains(&r.name)).collect();
    (0..count)
        .map(|seed| with_random_choices(g, &chosen, &mut Rand::new(seed)))
        .collect()
}

fn with_random_choices(g: &Graph, rules: &[&Rule], r: &mut Rand) -> Graph {
    let mut g = g.clone();
    for node in &mut g.nodes {
        if let Op::Repeat(repeat) = &node.op {
            node.op = Repeat {
                body: with_random_choices(&repeat.body, rules, r).into(),
                ..repeat.clone()
            }
            .into();
        }
    }
    let sizes = Examples::default();
    let space = Space::explore(&g, rules, &sizes);
    // Only where there is a choice, so that long ways round are taken too.
    let mut price = |_: &Work, alternatives: usize| if alternatives > 1 { r.float(0.01, 1.0) } else { 1e-6 };
    let choice = space.menu().cheapest_trees(&mut price);
    space.build(&g, &choice)
}

#[test]
fn names_are_kebab_case_and_unique() {
    let names: BTreeSet<&str> = rules().iter().map(|r| r.name).collect();
    assert_eq!(names.len(), rules().len());
    assert!(
        names
            .iter()
            .all(|n| n.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
    );
}

fn model(name: &str, sets: &[(&str, i64)]) -> frontend::Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(name);
    let sets: Vec<(String, String)> = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    frontend::load_programs(&path, &sets).unwrap_or_else(|e| panic!("{e:?}"))
}

fn graph(model: &frontend::Model, program: &str) -> Graph {
    model
        .program(program)
        .unwrap_or_else(|| panic!("no program `{program}`"))
        .graph
        .clone()
}

/// The layer of the encoder.
fn body(g: &Graph) -> &Graph {
    let node = g
        .nodes
        .iter()
        .find(|n| matches!(n.op, Op::Repeat(_)))
        .expect("the encoder is a repeat");
    let Op::Repeat(r) = &node.op else {
        unreachable!("found above")
    };
    &r.body
}

#[test]
fn layers_keep_no_time_by_time_tensor() {
    for name in ["base.ron", "large.ron"] {
        let model = model(name, &[]);
        for program in ["pretrain", "finetune", "transcribe"] {
            let g = rewrite(&graph(&model, program), &model.examples()).graph;
            let body = body(&g);
            let squared = |t: &Type| {
                let symbolic = |d: &ir::dim::Dim| d.as_const().is_none();
                t.shape
                    .iter()
                    .enumerate()
                    .any(|(i, d)| symbolic(d) && t.shape[..i].contains(d))
            };
            assert!(
                !body.nodes.iter().any(|n| n.types.iter().any(squared)),
                "{name} {program}: {body}"
            );
            assert!(
                body.nodes.iter().any(|n| matches!(&n.op, Op::Attention(a) if a.packed)),
                "{name} {program}: {body}"
            );
            assert!(
                !g.nodes.iter().any(|n| matches!(n.op, Op::GroupNorm(_))),
                "{name} {program}: {g}"
            );
        }
    }
}

/// Every choice that extraction could make of a whole training step gives its values and gradients.
#[test]
fn any_choice_is_the_same_training_step() {
    let sizes = [
        ("hidden", 8),
        ("layers", 2),
        ("heads", 2),
        ("ffn", 6),
        ("channels", 4),
        ("pos_kernel", 4),
        ("pos_groups", 2),
        ("codes", 4),
        ("code_dim", 4),
        ("proj_dim", 4),
        ("num_negatives", 3),
    ];
    let mut c = Case::new(9);
    c.g = graph(&model("tiny.ron", &sizes), "pretrain");
    c.env = Env::from([("B".into(), 2), ("N".into(), 1300), ("M".into(), 3)]);
    for node in &c.g.nodes {
        let (Op::Input(Input { name, ty }) | Op::Param(Param { name, ty })) = &node.op else {
            continue;
        };
        let shape: Vec<ir::dim::Dim> = ty
            .shape
            .iter()
            .map(|d| d.eval(&c.env).expect("all sizes are given").into())
            .collect();
        let (low, high) = match name.as_str() {
            "lengths" => (1000.0, 1300.0),
            "mask" => (0.0, 1.0),
            "masked_index" | "negatives" => (-1.0, 1.0),
            "temperature" | "keep" => (1.0, 1.0),
            name if name.contains("dropout") => (0.1, 0.4),
            _ => (-1.0, 1.0),
        };
        let arg = SampleArg {
            ty: Type::new(ty.dtype, shape),
            low,
            high,
        };
        c.bound.insert(name.clone(), arg.draw(&mut c.r));
    }
    let names: Vec<&str> = rules().iter().map(|r| r.name).collect();
    c.same(&rewrite(&c.g, &Examples::default()).graph);
    for g in with_every_choice(&c.g, &names, 8) {
        c.same(&g);
    }
}

/// Identities left aside, which come and go with the numbers of the file.
#[test]
fn rules_fire_on_tiny() {
    let tiny = model("tiny.ron", &[]);
    let of = |program| {
        let report = rewrite(&graph(&tiny, program), &tiny.examples()).report;
        let small = |name: &str| rules::identities::RULES.iter().any(|r| r.name == name);
        let large = report.iter().filter(|f| !small(f.rule));
        large
            .map(|f| format!("{} {}", f.rule, f.times))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let everywhere = "scale-into-product 1, attention-fusion 1, qkv-merging 1";
    let contrastive = "normalize-before-gather 1, gathered-dot-to-matmul 1";
    let convolutions = "conv-group-norm-folding 1, weight-norm-folding 1";
    assert_eq!(of("pretrain"), format!("{everywhere}, {contrastive}, {convolutions}"));
    assert_eq!(of("transcribe"), format!("{everywhere}, {convolutions}"));
}

#[test]
fn the_same_every_time() {
    let tiny = model("tiny.ron", &[]);
    let (g, sizes) = (graph(&tiny, "pretrain"), tiny.examples());
    let (a, b) = (rewrite(&g, &sizes), rewrite(&g, &sizes));
    assert_eq!((a.graph, a.report), (b.graph, b.report));
}
