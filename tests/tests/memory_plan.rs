//! The memory plan under poison: programs give the same bits whether every buffer has separate memory or all share an
//! arena in which everything outside its life is NaN.

use ir::artifact::{Program, Step};
use ir::dim::Env;
use ir::graph::Graph;
use ir::kernel::Kernel;
use ir::ops::Op;
use ir::sample::Rand;
use ir::tensor::Tensor;
use passes::differentiate::differentiate;
use proptest::prelude::*;
use runtime::exec::plan::{Request, layout};
use std::collections::BTreeMap;
use w2vc_tests::generate;
use w2vc_tests::interpret::{Lowered, lower};
use w2vc_tests::ops::{case, with_loss};

/// Offsets as the runtime plans them.
fn plan(program: &Program, sizes: &Env) -> Vec<usize> {
    let temps = program.buffers.iter().enumerate().filter(|(_, b)| b.kind.is_planned());
    let (owners, requests): (Vec<usize>, Vec<Request>) = temps
        .map(|(i, b)| {
            let bytes = b.elements.eval(sizes).unwrap() as usize * b.dtype.bytes();
            (
                i,
                Request {
                    bytes,
                    first: b.live.0,
                    last: b.live.1,
                },
            )
        })
        .unzip();
    let mut offsets = vec![0; program.buffers.len()];
    owners
        .into_iter()
        .zip(layout(&requests).offsets)
        .for_each(|(i, offset)| offsets[i] = offset);
    offsets
}

/// Runs a graph with every buffer apart and then in an arena under poison, as it is and with work on parameters alone apart;
/// gives how many buffers lie where others begin.
fn check(about: &str, g: &Graph, sizes: &Env, bound: &BTreeMap<String, Tensor>) -> usize {
    let lowered = lower(g);
    let want = lowered.interpret(sizes, bound);
    check_lowered(&format!("{about}, prepared"), &lowered.prepared(), sizes, bound, &want);
    check_lowered(about, &lowered, sizes, bound, &want)
}

fn check_lowered(
    about: &str,
    lowered: &Lowered,
    sizes: &Env,
    bound: &BTreeMap<String, Tensor>,
    want: &BTreeMap<String, Tensor>,
) -> usize {
    let kernels: Vec<Kernel> = lowered.kernels.iter().map(|(_, k)| k.clone()).collect();
    let mut buffers = lowered.buffers(sizes, bound);
    let place = interp::run_poisoned(&kernels, &lowered.program, &mut buffers, sizes, plan);
    assert_eq!(place, Ok(()), "{about}");
    let bits = |t: &Tensor| t.data.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let got = lowered.outputs(sizes, &buffers);
    for (output, w) in want {
        assert_eq!(bits(&got[output]), bits(w), "{about}, {output}");
    }
    let offsets = plan(&lowered.program, sizes);
    let temps = |i: &usize| lowered.program.buffers[*i].kind.is_planned();
    let mut used: Vec<usize> = (0..offsets.len()).filter(temps).map(|i| offsets[i]).collect();
    let all = used.len();
    used.sort();
    used.dedup();
    all - used.len()
}

#[test]
fn plans_of_every_op_hold_under_poison() {
    let env = Env::from([("layer".into(), 0)]);
    let (mut shared, mut moved) = (0, 0);
    for (name, sampler) in Op::SAMPLERS {
        for seed in 0..6 {
            let mut r = Rand::new(seed);
            let Some(mut c) = case(sampler(&mut r), &mut r) else {
                continue;
            };
            if !c.graph.ty(c.graph.outputs[0].1).dtype.is_float() {
                continue;
            }
            let g = with_loss(&c.graph, &mut r, &mut c.bound);
            let about = format!("{name}, seed {seed}");
            // All that an op reads is parameters.
            check(&about, &g, &env, &c.bound);
            moved += lower(&g).prepared().program.prepare.len();
            let g = differentiate(&g, "loss", &|_| true).unwrap();
            shared += check(&about, &g, &env, &c.bound);
        }
    }
    assert!(shared > 0, "no memory was ever used twice");
    assert!(moved > 40, "{moved} steps prepare");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn plans_of_generated_graphs_hold_under_poison(seed: u32, pieces in 1usize..12) {
        let forward = generate::graph(seed, pieces);
        let g = differentiate(&forward, "loss", &|_| true).unwrap();
        let mut r = Rand::new(seed);
        let mut sizes = generate::sizes(&mut r);
        let bound = generate::bind(&g, &sizes, &mut r);
        sizes.insert("layer".into(), 0);
        check(&format!("{g}"), &g, &sizes, &bound);
        check(&format!("{forward}"), &forward, &sizes, &bound);
    }
}

/// What the properties hold for is there: work on parameters alone, in loops and outside.
#[test]
fn generated_graphs_prepare_layers_too() {
    let (mut loops, mut others) = (0, 0);
    for seed in 0..150 {
        for step in lower(&generate::graph(seed, 12)).prepared().program.prepare {
            match step {
                Step::Loop { .. } => loops += 1,
                Step::Launch(_) => others += 1,
            }
        }
    }
    assert!(
        loops > 5 && others > 5,
        "{loops} loops and {others} other steps prepare"
    );
}
