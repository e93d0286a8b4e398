//! Generated graphs: CPU code and GPU code under the emulator, forward and gradient, against the reference evaluator, and
//! gradients against differences.

use ir::dim::Env;
use ir::eval::evaluate;
use ir::graph::Graph;
use ir::sample::Rand;
use ir::text::parse;
use passes::differentiate::differentiate;
use proptest::prelude::*;
use runtime::session::Session;
use std::collections::BTreeMap;
use w2vc_tests::generate::{SYMBOLS, bind, graph, sizes};
use w2vc_tests::programs::{compile, emulate, run};

/// Sizes that each graph runs with, one of them 0 in the last run.
const RUNS: u32 = 4;

fn sizes_of_run(n: u32, r: &mut Rand) -> Env {
    let mut sizes = sizes(r);
    if n + 1 == RUNS {
        sizes.insert((*r.pick(&SYMBOLS)).into(), 0);
    }
    sizes
}

/// Compiles graphs and opens them where they run.
type Open = fn(&[(String, Graph)]) -> Box<dyn Session>;

fn on_cpu(graphs: &[(String, Graph)]) -> Box<dyn Session> {
    Box::new(compile(graphs, &SYMBOLS).machine(2))
}

fn on_gpu(graphs: &[(String, Graph)]) -> Box<dyn Session> {
    Box::new(emulate(graphs, &SYMBOLS))
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

fn check(seeds: &[(u32, usize)], open: Open) -> Result<(), TestCaseError> {
    let one = |(i, (seed, pieces)): (usize, &(u32, usize))| {
        let g = differentiate(&graph(*seed, *pieces), "loss", &|_| true).unwrap_or_else(|e| panic!("{e}"));
        (format!("g{i}"), g)
    };
    let graphs: Vec<(String, Graph)> = seeds.iter().enumerate().map(one).collect();
    let mut session = open(&graphs);
    for ((name, g), (seed, _)) in graphs.iter().zip(seeds) {
        prop_assert!(
            parse(&g.to_string()).as_ref() == Ok(g),
            "reads back as another graph:\n{g}"
        );
        for n in 0..RUNS {
            let mut r = Rand::new(seed ^ n);
            let sizes = sizes_of_run(n, &mut r);
            let bound = bind(g, &sizes, &mut r);
            let want = evaluate(g, &sizes, &bound);
            let got = run(session.as_mut(), name, &bound);
            let grads = want.iter().filter(|(n, _)| ir::names::param_of_gradient(n).is_some());
            let all = norm(grads.flat_map(|(_, t)| t.data.iter().copied()));
            for (output, w) in &want {
                let off = norm(got[output].data.iter().zip(&w.data).map(|(a, b)| a - b));
                // The loss and the sums of its gradient may cancel.
                let floor = if output == "y" { 1e-6 } else { 1e-6 * all + 1e-5 };
                let allowed = 1e-4 * norm(w.data.iter().copied()) + floor;
                prop_assert!(
                    got[output].shape == w.shape && off <= allowed,
                    "{output} of seed {seed} is off by {off:e} with {sizes:?}, allowed {allowed:e}\n{g}\ngot {:?}\nwant {w:?}",
                    got[output]
                );
            }
        }
    }
    Ok(())
}

/// The derivative along a random direction of all parameters, against central differences in f64.
fn derivative(seed: u32, pieces: usize) -> Result<(), TestCaseError> {
    let g = graph(seed, pieces);
    let has_surrogate = g.nodes.iter().any(|n| n.op.surrogate().is_some());
    prop_assume!(!has_surrogate);
    let all = differentiate(&g, "loss", &|_| true).unwrap_or_else(|e| panic!("{e}"));
    let mut r = Rand::new(seed);
    let sizes = sizes(&mut r);
    let bound = bind(&g, &sizes, &mut r);
    let mut direction = BTreeMap::new();
    let mut want = 0.0;
    for (output, grad) in evaluate(&all, &sizes, &bound) {
        let Some(param) = ir::names::param_of_gradient(&output) else {
            continue;
        };
        let d: Vec<f64> = grad.data.iter().map(|_| r.float(-1.0, 1.0)).collect();
        want += d.iter().zip(&grad.data).map(|(d, g)| d * g).sum::<f64>();
        direction.insert(param.to_string(), d);
    }
    let at = |step: f64| {
        let mut moved = bound.clone();
        for (name, d) in &direction {
            let values = moved.get_mut(name).expect("gradients are of bound parameters");
            values.data.iter_mut().zip(d).for_each(|(v, d)| *v += step * d);
        }
        evaluate(&g, &sizes, &moved)[0].1.data[0]
    };
    let h = 1e-6;
    let got = (at(h) - at(-h)) / (2.0 * h);
    prop_assert!(
        (got - want).abs() <= 1e-5 * (1.0 + want.abs()),
        "{got} by differences, {want} by gradients, of\n{g}"
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn code_computes_what_the_evaluator_says(seeds in prop::collection::vec((any::<u32>(), 1usize..10), 12)) {
        check(&seeds, on_cpu)?;
    }
}

// Compiling takes most of the time.
proptest! {
    #![proptest_config(ProptestConfig { cases: 2, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    #[cfg_attr(not(feature = "gpu"), ignore = "needs the code generator for the GPU")]
    fn gpu_code_computes_what_the_evaluator_says(seeds in prop::collection::vec((any::<u32>(), 1usize..10), 6)) {
        check(&seeds, on_gpu)?;
    }
}

proptest! {
    #[test]
    fn gradients_are_derivatives(seed: u32, pieces in 1usize..10) {
        derivative(seed, pieces)?;
    }
}
