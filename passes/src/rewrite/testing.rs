//! For tests of rules: small graphs with random operands, compared with their rewritten form, gradients included.

use super::rewrite_with;
use crate::differentiate::differentiate;
use ir::dim::{Dim, Env};
use ir::eval::evaluate;
use ir::examples::Examples;
use ir::graph::{Graph, ValueId};
use ir::ops::{Input, Op, Param};
use ir::sample::{Rand, SampleArg};
use ir::tensor::Tensor;
use std::collections::BTreeMap;

pub struct Case {
    pub g: Graph,
    pub env: Env,
    pub r: Rand,
    pub bound: BTreeMap<String, Tensor>,
}

pub fn dims(sizes: &[i64]) -> Vec<Dim> {
    sizes.iter().map(|d| Dim::from(*d)).collect()
}

impl Case {
    pub fn new(seed: u32) -> Case {
        Case {
            g: Graph::default(),
            env: Env::new(),
            r: Rand::new(seed),
            bound: BTreeMap::new(),
        }
    }
    fn bind(&mut self, op: impl Into<Op>, name: &str, arg: SampleArg) -> ValueId {
        self.bound.insert(name.into(), arg.draw(&mut self.r));
        self.g.add_op(op, &[])
    }
    /// A trained tensor with values in low..=high.
    pub fn param_between(&mut self, name: &str, shape: &[i64], low: f64, high: f64) -> ValueId {
        let arg = SampleArg::between(dims(shape), low, high);
        self.bind(
            Param {
                name: name.into(),
                ty: arg.ty.clone(),
            },
            name,
            arg,
        )
    }
    pub fn param(&mut self, name: &str, shape: &[i64]) -> ValueId {
        self.param_between(name, shape, -1.0, 1.0)
    }
    pub fn ints(&mut self, name: &str, shape: &[i64], low: i64, high: i64) -> ValueId {
        let arg = SampleArg::int(dims(shape), low, high);
        self.bind(
            Input {
                name: name.into(),
                ty: arg.ty.clone(),
            },
            name,
            arg,
        )
    }
    pub fn floats(&mut self, name: &str, shape: &[i64], low: f64, high: f64) -> ValueId {
        let arg = SampleArg::between(dims(shape), low, high);
        self.bind(
            Input {
                name: name.into(),
                ty: arg.ty.clone(),
            },
            name,
            arg,
        )
    }

    /// Names `y` the result, and a weighted sum of it the loss.
    pub fn result(&mut self, y: ValueId) {
        let shape: Vec<i64> = self
            .g
            .shape(y)
            .iter()
            .map(|d| d.as_const().expect("cases have constant sizes"))
            .collect();
        let axes: Vec<usize> = (0..shape.len()).collect();
        let weights = self.floats("loss weights", &shape, -1.0, 1.0);
        let products = self.g.mul(y, weights);
        let loss = self.g.sum(products, &axes);
        self.g.outputs = vec![("y".into(), y), ("loss".into(), loss)];
    }

    /// Rewrites with the named rules, of which each must fire, and compares values and gradients.
    pub fn holds(mut self, y: ValueId, rules: &[&str]) -> Graph {
        self.result(y);
        let rewritten = rewrite_with(&self.g, rules, &Examples::default());
        let fired: Vec<&str> = rewritten.report.iter().map(|f| f.rule).collect();
        for rule in rules {
            assert!(fired.contains(rule), "`{rule}` did not fire on\n{}", self.g);
        }
        self.same(&rewritten.graph);
        rewritten.graph
    }

    /// Panics unless a graph gives the values and gradients of the case.
    pub fn same(&self, other: &Graph) {
        let inputs = |g: &Graph| g.inputs.iter().map(|v| g.node(*v).op.clone()).collect::<Vec<_>>();
        assert_eq!(inputs(&self.g), inputs(other), "inputs changed");
        let run = |g: &Graph| {
            let step = differentiate(g, "loss", &|_| true).expect("the loss is a scalar");
            evaluate(&step, &self.env, &self.bound)
                .into_iter()
                .collect::<BTreeMap<_, _>>()
        };
        let (want, got) = (run(&self.g), run(other));
        assert_eq!(
            want.keys().collect::<Vec<_>>(),
            got.keys().collect::<Vec<_>>(),
            "outputs changed"
        );
        for (name, want) in &want {
            close(name, want, &got[name]);
        }
    }
}

/// Everything is computed in f64, so only the order of sums differs.
pub fn close(name: &str, want: &Tensor, got: &Tensor) {
    assert_eq!(
        (want.dtype, &want.shape),
        (got.dtype, &got.shape),
        "`{name}` has another type"
    );
    let largest = want
        .data
        .iter()
        .filter(|x| x.is_finite())
        .fold(1e-3f64, |a, x| a.max(x.abs()));
    for (w, g) in want.data.iter().zip(&got.data) {
        let same = w == g || (w.is_nan() && g.is_nan()) || (w - g).abs() <= 1e-10 * largest;
        assert!(same, "`{name}` is {g}, want {w} (largest {largest})");
    }
}
