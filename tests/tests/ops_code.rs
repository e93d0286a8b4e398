//! Every op by its own sampler as CPU code, and as GPU code under the emulator, forward and gradient, against the reference
//! evaluator.

use ir::dim::Env;
use ir::eval::evaluate;
use ir::graph::Graph;
use ir::ops::Op;
use ir::sample::Rand;
use ir::tensor::Tensor;
use passes::differentiate::differentiate;
use runtime::session::Session;
use std::collections::BTreeMap;
use w2vc_tests::close::distance;
use w2vc_tests::ops::{case, with_loss};
use w2vc_tests::programs::{compile, emulate, run};

/// Samples of each op.
const CPU_SEEDS: u32 = 5;
const GPU_SEEDS: u32 = 2;

struct Case {
    name: String,
    graph: Graph,
    bound: BTreeMap<String, Tensor>,
}

fn forward(name: &str, sampler: fn(&mut Rand) -> ir::sample::Sample<Op>, seed: u32) -> Option<Case> {
    let mut r = Rand::new(100 + seed);
    let c = case(sampler(&mut r), &mut r)?;
    Some(Case {
        name: format!("{name}.{seed}"),
        graph: c.graph,
        bound: c.bound,
    })
}

fn gradient(name: &str, sampler: fn(&mut Rand) -> ir::sample::Sample<Op>, seed: u32) -> Option<Case> {
    let mut r = Rand::new(100 + seed);
    let mut c = case(sampler(&mut r), &mut r)?;
    if !c.graph.ty(c.graph.outputs[0].1).dtype.is_float() {
        return None;
    }
    let g = with_loss(&c.graph, &mut r, &mut c.bound);
    let graph = differentiate(&g, "loss", &|_| true).unwrap_or_else(|e| panic!("{name}: {e}"));
    Some(Case {
        name: format!("{name}.{seed}"),
        graph,
        bound: c.bound,
    })
}

type Make = fn(&str, fn(&mut Rand) -> ir::sample::Sample<Op>, u32) -> Option<Case>;

/// Compiles graphs and opens them where they run.
type Open = fn(&[(String, Graph)]) -> Box<dyn Session>;

fn on_cpu(graphs: &[(String, Graph)]) -> Box<dyn Session> {
    Box::new(compile(graphs, &[]).machine(2))
}

fn on_gpu(graphs: &[(String, Graph)]) -> Box<dyn Session> {
    Box::new(emulate(graphs, &[]))
}

fn check(make: Make, open: Open, seeds: u32) {
    let all = Op::SAMPLERS
        .iter()
        .flat_map(|(name, sampler)| (0..seeds).filter_map(|seed| make(name, *sampler, seed)));
    let cases: Vec<Case> = all.collect();
    let graphs: Vec<(String, Graph)> = cases.iter().map(|c| (c.name.clone(), c.graph.clone())).collect();
    let mut session = open(&graphs);
    let env = Env::from([("layer".into(), 0)]);
    for c in cases {
        let got = run(session.as_mut(), &c.name, &c.bound);
        let wanted = evaluate(&c.graph, &env, &c.bound);
        let grads = wanted.iter().filter(|(n, _)| ir::names::param_of_gradient(n).is_some());
        let all = grads.flat_map(|(_, t)| &t.data).map(|g| g * g).sum::<f64>().sqrt();
        for (output, want) in wanted {
            let floor = match output.as_str() {
                // A sum of terms of about 1, which may cancel.
                "loss" => 1.0,
                // Terms of a gradient are about as large as the gradients beside it, and may cancel.
                n if ir::names::param_of_gradient(n).is_some() => 0.1 * all + 1e-5,
                _ => 1e-5,
            };
            let d = distance(&got[&output], &want, floor);
            let about = || {
                format!(
                    "{}, {output}: {d}\n{}\ngot {:?}\nwant {want:?}",
                    c.name, c.graph, got[&output]
                )
            };
            assert!(d < 3e-5, "{}", about());
        }
    }
}

#[test]
fn cpu_code_computes_what_the_evaluator_says() {
    check(forward, on_cpu, CPU_SEEDS);
}

#[test]
fn cpu_gradient_code_computes_what_the_evaluator_says() {
    check(gradient, on_cpu, CPU_SEEDS);
}

#[test]
#[cfg_attr(not(feature = "gpu"), ignore = "needs the code generator for the GPU")]
fn gpu_code_computes_what_the_evaluator_says() {
    check(forward, on_gpu, GPU_SEEDS);
}

#[test]
#[cfg_attr(not(feature = "gpu"), ignore = "needs the code generator for the GPU")]
fn gpu_gradient_code_computes_what_the_evaluator_says() {
    check(gradient, on_gpu, GPU_SEEDS);
}
