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
use w2vc_tests::close::distance;
use w2vc_tests::interpret::lower;

/// How the two products are joined, and what else is done with them.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Use {
    /// As the phases of a convolution's input gradient are.
    Phases,
    /// What is joined has an axis of the products in two.
    Split,
    /// The second is an output too.
    Seen,
    /// Both operands are the first.
    Twice,
    /// What is joined is itself an output, and nothing else is.
    Whole,
    /// The second operand is no product.
    Other,
}

const USES: [Use; 6] = [Use::Phases, Use::Split, Use::Seen, Use::Twice, Use::Whole, Use::Other];

fn graph(how: Use) -> Graph {
    let d = |dims: &[&str]| dims.iter().map(|d| d.parse().unwrap()).collect::<Vec<_>>();
    let mut g = Graph::default();
    let mut input = |name: &str, dims: &[&str]| g.input(name, Type::new(DType::F32, d(dims)));
    let x = input("x", &["B", "T", "3"]);
    let weights = ["even", "odd"].map(|name| input(name, &["3", "4"]));
    let mut products = weights.map(|w| g.einsum("btj,jc->btc", x, w));
    match how {
        Use::Twice => products[1] = products[0],
        Use::Other => products[1] = g.input("other", Type::new(DType::F32, d(&["B", "T", "4"]))),
        _ => {}
    }
    let shape = if how == Use::Split {
        d(&["B", "T", "1", "2", "2"])
    } else {
        d(&["B", "T", "1", "4"])
    };
    let parts = products.map(|y| g.reshape(y, shape.clone()));
    let both = g.add_op(Concat { axis: 2 }, &parts);
    let flat = g.reshape(both, d(&["B", "2*T", "4"]));
    let y = if how == Use::Whole {
        flat
    } else {
        g.unary(Unary::Exp, flat)
    };
    g.outputs.push(("y".into(), y));
    if how == Use::Seen {
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
    let in_place = ["contract", "contract", "row"];
    let joined = ["contract", "contract", "row", "row"];
    let with_one_product = ["contract", "row", "row"];
    for (how, want) in [
        (Use::Phases, &in_place[..]),
        (Use::Split, &joined),
        (Use::Seen, &joined),
        (Use::Twice, &with_one_product),
        // Here the last kernel is the one that joins.
        (Use::Whole, &in_place),
        (Use::Other, &with_one_product),
    ] {
        assert_eq!(kernels_run(&graph(how)), want, "{how:?}");
    }
}

#[test]
fn every_part_is_in_its_place() {
    let mut r = Rand::new(5);
    let sizes = Env::from([("B".into(), 2), ("T".into(), 5), ("layer".into(), 0)]);
    let mut random = |name: &str, shape: &[usize]| {
        let data = (0..shape.iter().product()).map(|_| r.float(-0.5, 0.5)).collect();
        (name.to_string(), Tensor::new(DType::F32, shape.to_vec(), data))
    };
    let bound = BTreeMap::from([
        random("x", &[2, 5, 3]),
        random("even", &[3, 4]),
        random("odd", &[3, 4]),
        random("other", &[2, 5, 4]),
    ]);
    for how in USES {
        let g = graph(how);
        let got = lower(&g).interpret(&sizes, &bound);
        for (name, want) in evaluate(&g, &sizes, &bound) {
            assert!(distance(&got[&name], &want, 1.0) < 1e-6, "{how:?}, {name}");
        }
    }
}
