//! The reference evaluator: the meaning of tensor IR, in f64.

use crate::dim::Env;
use crate::graph::Graph;
use crate::ops::{EvalCx, Op};
use crate::tensor::Tensor;
use std::collections::BTreeMap;

/// Evaluates the outputs; `bound` holds inputs and parameters by name.
pub fn evaluate(g: &Graph, env: &Env, bound: &BTreeMap<String, Tensor>) -> Vec<(String, Tensor)> {
    let find = |name: &str| {
        bound
            .get(name)
            .unwrap_or_else(|| panic!("no value for `{name}`"))
            .clone()
    };
    let values = run(g, env, &mut |_, name| find(name));
    g.outputs
        .iter()
        .map(|(name, v)| (name.clone(), values[v.0][0].clone()))
        .collect()
}

/// Evaluates the outputs with inputs in the order of `g.inputs`; for bodies, which hold no parameters.
pub fn evaluate_ordered(g: &Graph, env: &Env, inputs: Vec<Tensor>) -> Vec<Tensor> {
    let values = run(g, env, &mut |i, name| {
        let at = g
            .inputs
            .iter()
            .position(|v| v.0 == i)
            .unwrap_or_else(|| panic!("`{name}` is not bound in a body"));
        inputs[at].clone()
    });
    g.outputs.iter().map(|(_, v)| values[v.0][0].clone()).collect()
}

fn run(g: &Graph, env: &Env, leaf: &mut dyn FnMut(usize, &str) -> Tensor) -> Vec<Vec<Tensor>> {
    let mut values: Vec<Vec<Tensor>> = Vec::with_capacity(g.nodes.len());
    for (i, node) in g.nodes.iter().enumerate() {
        let results = match &node.op {
            Op::Input(o) => vec![leaf(i, &o.name)],
            Op::Param(o) => vec![leaf(i, &o.name)],
            Op::Get(o) => vec![values[node.args[0].0][o.index].clone()],
            op => {
                let args: Vec<&Tensor> = node.args.iter().map(|a| &values[a.0][0]).collect();
                op.eval(
                    &EvalCx {
                        types: &node.types,
                        env,
                    },
                    &args,
                )
            }
        };
        for (t, ty) in results.iter().zip(&node.types) {
            let want: Vec<i64> = ty
                .shape
                .iter()
                .map(|d| d.eval(env).unwrap_or_else(|e| panic!("{e}")))
                .collect();
            let got: Vec<i64> = t.shape.iter().map(|d| *d as i64).collect();
            assert_eq!(got, want, "`{}` gave another shape than {ty}", node.op.name());
        }
        values.push(results);
    }
    values
}
