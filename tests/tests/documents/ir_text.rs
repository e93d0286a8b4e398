//! Tensor IR as text reads back.

use ir::graph::Graph;
use ir::ops::Op;
use ir::sample::Rand;
use ir::text::parse;
use passes::differentiate::differentiate;
use passes::pipeline::{Source, to_primitive};
use w2vc_tests::native::model;
use w2vc_tests::ops::{case, with_loss};

fn reads_back(about: &str, g: &Graph) {
    let text = g.to_string();
    match parse(&text) {
        Ok(back) => assert!(back == *g, "{about} reads back as another graph:\n{text}\n{back}"),
        Err(e) => panic!("{about}: {e}\n{text}"),
    }
}

#[test]
fn gradients_of_every_op_read_back() {
    for (name, sampler) in Op::SAMPLERS {
        for seed in 0..4 {
            let mut r = Rand::new(seed);
            let Some(mut c) = case(sampler(&mut r), &mut r) else {
                continue;
            };
            if c.graph.ty(c.graph.outputs[0].1).dtype.is_float() {
                let g = with_loss(&c.graph, &mut r, &mut c.bound);
                reads_back(name, &differentiate(&g, "loss", &|_| true).unwrap());
            }
        }
    }
}

#[test]
fn programs_of_a_model_read_back_at_every_stage() {
    let m = model("models/tiny.ron", &[]);
    for p in &m.programs {
        let trains = |name: &str| p.trains.iter().any(|t| t == name);
        let source = Source {
            name: &p.name,
            graph: &p.graph,
            loss: p.loss.as_deref(),
            trains: &trains,
        };
        let stages = to_primitive(&source).unwrap();
        for (stage, g) in [
            ("as described", &p.graph),
            ("differentiated", &stages.differentiated),
            ("decomposed", &stages.decomposed),
        ] {
            reads_back(&format!("{}, {stage}", p.name), g);
        }
    }
}
