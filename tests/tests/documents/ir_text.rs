//! What flows through the passes as text reads back.

use compiler::compile::{Arithmetic, cpu_settings, gpu_settings};
use cpu::Target;
use ir::artifact::Precision;
use ir::graph::Graph;
use ir::ops::Op;
use ir::sample::Rand;
use ir::text::parse;
use passes::differentiate::differentiate;
use passes::module;
use passes::pipeline;
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

/// After each pass, a model's text reads back, and the next pass makes the same of it.
fn goes_on_from_its_text(sets: &[(&str, &str)], settings: &pipeline::Settings) {
    let m = model("models/tiny.ron", sets);
    let (mut whole, _) = compiler::compile::module(&m);
    let passes = pipeline::passes(settings.target);
    let mut texts = vec![];
    let mut see = |pass: &pipeline::Pass, m: &module::Module| texts.push((pass.name, m.to_string()));
    pipeline::run(&mut whole, settings, &passes, &mut see).unwrap();
    assert_eq!(texts.len(), passes.len());
    for pair in texts.windows(2) {
        let [(pass, text), (next, want)] = pair else {
            unreachable!("windows of two")
        };
        let mut m = module::parse(text).unwrap_or_else(|e| panic!("after {pass}: {e}"));
        if m.after == Some(pass) {
            let plain = |t: &str| t.lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>().join("\n");
            assert!(
                plain(&m.to_string()) == plain(text),
                "after {pass}, it reads back as another:\n{m}"
            );
        }
        let next = pipeline::find(next).unwrap();
        let rest = pipeline::between(settings.target, m.after, next);
        pipeline::run(&mut m, settings, &rest, &mut |_, _| ()).unwrap();
        assert!(
            m.to_string() == *want,
            "`{}` makes another of the text after {pass}:\n{m}",
            next.name
        );
    }
}

#[test]
fn a_model_for_the_cpu_goes_on_from_its_text() {
    let target = Target::parse("x86-64-v4-bf16").unwrap();
    goes_on_from_its_text(&[("layers", "2")], &cpu_settings(&target, Arithmetic::Int8Bf16));
}

#[test]
fn a_model_for_the_gpu_goes_on_from_its_text() {
    goes_on_from_its_text(&[("layers", "2")], &gpu_settings(Precision::Bf16));
}
