//! Generated graphs as CPU code, forward and gradient, against the reference evaluator.

use ir::eval::evaluate;
use ir::graph::Graph;
use ir::sample::Rand;
use ir::text::parse;
use passes::differentiate::differentiate;
use proptest::prelude::*;
use tests::generate::{SYMBOLS, bind, graph, sizes};
use tests::programs::{compile, run};

/// Sizes that each graph runs with.
const RUNS: u32 = 3;

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

fn check(seeds: &[(u32, usize)]) -> Result<(), TestCaseError> {
    let one = |(i, (seed, pieces)): (usize, &(u32, usize))| {
        let g = differentiate(&graph(*seed, *pieces), "loss", &|_| true).unwrap_or_else(|e| panic!("{e}"));
        (format!("g{i}"), g)
    };
    let graphs: Vec<(String, Graph)> = seeds.iter().enumerate().map(one).collect();
    let mut machine = compile(&graphs, &SYMBOLS).machine(2);
    for ((name, g), (seed, _)) in graphs.iter().zip(seeds) {
        prop_assert!(
            parse(&g.to_string()).as_ref() == Ok(g),
            "reads back as another graph:\n{g}"
        );
        for n in 0..RUNS {
            let mut r = Rand::new(seed ^ n);
            let sizes = sizes(&mut r);
            let bound = bind(g, &sizes, &mut r);
            let want = evaluate(g, &sizes, &bound);
            let got = run(&mut machine, name, &bound);
            let grads = want.iter().filter(|(n, _)| n.starts_with("grad:"));
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn code_computes_what_the_evaluator_says(seeds in prop::collection::vec((any::<u32>(), 1usize..10), 12)) {
        check(&seeds)?;
    }
}
