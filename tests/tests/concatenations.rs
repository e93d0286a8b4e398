//! Results of products that only a concatenation reads are written straight to their places in it.

use ir::artifact::Step;
use ir::dim::Env;
use ir::eval::evaluate;
use ir::graph::Graph;
use ir::ops::Concat;
use ir::sample::Rand;
use ir::scalar::{DType, Unary};
use ir::tensor::Tensor;
use ir::types::Type;
use std::collections::BTreeMap;
use tests::interpret::lower;

/// Two products side by side, as the phases of a convolution's input gradient, and what is made of both. With `seen`, the
/// second is an output too.
fn graph(seen: bool) -> Graph {
    let d = |dims: &[&str]| dims.iter().map(|d| d.parse().unwrap()).collect::<Vec<_>>();
    let mut g = Graph::default();
    let mut input = |name: &str, dims: &[&str]| g.input(name, Type::new(DType::F32, d(dims)));
    let x = input("x", &["B", "T", "3"]);
    let weights = ["even", "odd"].map(|name| input(name, &["3", "4"]));
    let products = weights.map(|w| g.einsum("btj,jc->btc", x, w));
    let parts = products.map(|y| g.reshape(y, d(&["B", "T", "1", "4"])));
    let both = g.add_op(Concat { axis: 2 }, &parts);
    let flat = g.reshape(both, d(&["B", "2*T", "4"]));
    let y = g.unary(Unary::Exp, flat);
    g.outputs.push(("y".into(), y));
    if seen {
        g.outputs.push(("odd_product".into(), products[1]));
    }
    g
}

fn kernels_run(g: &Graph) -> Vec<String> {
    let lowered = lower(g);
    let launched = lowered.program.steps.iter().map(|step| match step {
        Step::Launch(launch) => lowered.kernels[launch.kernel].0.clone(),
        Step::Loop { .. } => panic!("there is no loop"),
    });
    let kind = |name: String| name.split('_').next().unwrap_or_default().to_string();
    launched.map(kind).collect()
}

#[test]
fn no_kernel_joins_what_products_can_write_in_place() {
    assert_eq!(kernels_run(&graph(false)), ["contract", "contract", "row"]);
    assert_eq!(kernels_run(&graph(true)), ["contract", "contract", "row", "row"]);
}

#[test]
fn every_part_is_in_its_place() {
    let mut r = Rand::new(5);
    let sizes = Env::from([("B".into(), 2), ("T".into(), 5), ("layer".into(), 0)]);
    let mut random = |shape: &[usize]| {
        let data = (0..shape.iter().product()).map(|_| r.float(-0.5, 0.5)).collect();
        Tensor::new(DType::F32, shape.to_vec(), data)
    };
    let bound = BTreeMap::from([
        ("x".to_string(), random(&[2, 5, 3])),
        ("even".to_string(), random(&[3, 4])),
        ("odd".to_string(), random(&[3, 4])),
    ]);
    for seen in [false, true] {
        let g = graph(seen);
        let want = evaluate(&g, &sizes, &bound);
        let got = lower(&g).interpret(&sizes, &bound);
        for (name, want) in want {
            let off = want.data.iter().zip(&got[&name].data).map(|(w, g)| (w - g).abs());
            assert!(off.fold(0.0, f64::max) < 1e-6, "{name}");
        }
    }
}
