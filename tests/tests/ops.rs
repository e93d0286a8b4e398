//! Every op by its own sampler: gradients against central differences, kernels against the reference evaluator.

use ir::dim::Env;
use ir::eval::evaluate;
use ir::ops::Op;
use ir::sample::Rand;
use ir::scalar::DType;
use ir::tensor::Tensor;
use passes::differentiate::differentiate;
use w2vc_tests::close::distance;
use w2vc_tests::interpret::lower;
use w2vc_tests::ops::{case, with_loss};

const SEEDS: u32 = 12;
/// Elements of an operand that central differences are taken at.
const CHECKED: usize = 12;

fn env() -> Env {
    Env::from([("layer".into(), 0)])
}

#[test]
fn kernels_compute_what_the_evaluator_says() {
    for (name, sampler) in Op::SAMPLERS {
        for seed in 0..SEEDS {
            let mut r = Rand::new(seed);
            let Some(c) = case(sampler(&mut r), &mut r) else {
                continue;
            };
            let want = evaluate(&c.graph, &env(), &c.bound);
            let got = lower(&c.graph).interpret(&env(), &c.bound);
            for (output, w) in want {
                let d = distance(&got[&output], &w, 1e-6);
                assert!(
                    d < 1e-5,
                    "{name}, seed {seed}, {output}: {d}\n{:?}\ngot {:?}\nwant {w:?}",
                    c.graph,
                    got[&output]
                );
            }
        }
    }
}

#[test]
fn gradients_are_derivatives() {
    for (name, sampler) in Op::SAMPLERS {
        for seed in 0..SEEDS {
            let mut r = Rand::new(seed);
            let Some(mut c) = case(sampler(&mut r), &mut r) else {
                continue;
            };
            if !c.differentiable || !c.graph.ty(c.graph.outputs[0].1).dtype.is_float() {
                continue;
            }
            let g = with_loss(&c.graph, &mut r, &mut c.bound);
            let all = differentiate(&g, "loss", &|_| true).unwrap();
            for (output, grad) in evaluate(&all, &env(), &c.bound) {
                let Some(param) = ir::names::param_of_gradient(&output) else {
                    continue;
                };
                let x = c.bound[param].clone();
                // A spread of positions: each costs two evaluations.
                let positions: Vec<usize> = (0..x.data.len()).step_by(x.data.len().div_ceil(CHECKED)).collect();
                let mut numeric = Tensor::zeros(DType::F32, vec![positions.len()]);
                let picked = Tensor::new(
                    DType::F32,
                    numeric.shape.clone(),
                    positions.iter().map(|i| grad.data[*i]).collect(),
                );
                for (n, i) in positions.into_iter().enumerate() {
                    let mut at = |step: f64| {
                        let mut moved = x.clone();
                        moved.data[i] += step;
                        c.bound.insert(param.into(), moved);
                        evaluate(&g, &env(), &c.bound)[0].1.data[0]
                    };
                    let h = 1e-5;
                    numeric.data[n] = (at(h) - at(-h)) / (2.0 * h);
                }
                c.bound.insert(param.into(), x);
                let d = distance(&picked, &numeric, 1e-4);
                assert!(
                    d < 1e-5,
                    "{name}, seed {seed}, {param}: {d}\ngot {picked:?}\nwant {numeric:?}"
                );
            }
        }
    }
}

#[test]
fn gradient_kernels_compute_what_the_evaluator_says() {
    for (name, sampler) in Op::SAMPLERS {
        for seed in 0..SEEDS {
            let mut r = Rand::new(seed);
            let Some(mut c) = case(sampler(&mut r), &mut r) else {
                continue;
            };
            if !c.graph.ty(c.graph.outputs[0].1).dtype.is_float() {
                continue;
            }
            let g = with_loss(&c.graph, &mut r, &mut c.bound);
            let all = differentiate(&g, "loss", &|_| true).unwrap();
            let want = evaluate(&all, &env(), &c.bound);
            let got = lower(&all).interpret(&env(), &c.bound);
            for (output, w) in want {
                // The loss is a sum of terms of about 1, which may cancel.
                let floor = if output == "loss" { 1.0 } else { 1e-5 };
                let d = distance(&got[&output], &w, floor);
                assert!(
                    d < 2e-5,
                    "{name}, seed {seed}, {output}: {d}\ngot {:?}\nwant {w:?}",
                    got[&output]
                );
            }
        }
    }
}
