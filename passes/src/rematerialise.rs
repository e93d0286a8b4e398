//! Recomputes large, cheap values in the backward pass: results of matrix multiplications with a short summed axis
//! (conv 0 has one channel and ten taps) and what is made of them element by element. They need not be kept through the
//! whole forward pass.
//!
//! Only the graph is changed; `fuse` runs a group that reads nothing short-lived right before its first reader.

use crate::module::Module;
use crate::pipeline::{CompileError, Settings};
use ir::dim::Dim;
use ir::examples::Examples;
use ir::graph::{Graph, Node, ValueId};
use ir::lower::Lower;
use ir::names::param_of_gradient;
use ir::ops::Einsum;
use std::collections::BTreeMap;

/// Summands of a product that is rather computed again than kept: it costs less than the traffic of one more tensor of its
/// size, twenty FLOPs against eight bytes on machines with more than ten FLOPs per byte.
const SHORT: i64 = 16;
/// Elements, at example sizes, of what is worth computing again.
const LARGE: f64 = 1e6;

pub(crate) fn run(m: &mut Module, _: &Settings) -> Result<(), CompileError> {
    let units = m.stage.graphs().iter_mut();
    units.for_each(|unit| unit.graph = rematerialise(&unit.graph, &m.examples));
    Ok(())
}

/// The same program, whose backward pass computes again what it reads of short products. Takes a decomposed graph.
pub fn rematerialise(g: &Graph, sizes: &Examples) -> Graph {
    let outputs = || g.outputs.iter();
    if !outputs().any(|(name, _)| param_of_gradient(name).is_some()) {
        return g.clone();
    }
    // `differentiate` appends the backward pass to the forward one.
    let forward = outputs()
        .filter(|(name, _)| param_of_gradient(name).is_none())
        .map(|(_, v)| v.0 + 1);
    let forward = forward.max().unwrap_or(0);
    let again = computed_again(g, forward, sizes);
    let mut out = Graph::default();
    let mut map: Vec<ValueId> = Vec::with_capacity(g.nodes.len());
    let mut copies = BTreeMap::new();
    for (i, node) in g.nodes.iter().enumerate() {
        let args = node.args.iter().map(|a| {
            if i < forward || !again[a.0] {
                map[a.0]
            } else {
                copy(g, &mut out, &map, &mut copies, &again, *a)
            }
        });
        let args = args.collect();
        map.push(push(&mut out, Node { args, ..node.clone() }));
    }
    out.inputs = g.inputs.iter().map(|v| map[v.0]).collect();
    out.outputs = outputs().map(|(n, v)| (n.clone(), map[v.0])).collect();
    out.prune()
}

fn push(g: &mut Graph, node: Node) -> ValueId {
    g.nodes.push(node);
    ValueId(g.nodes.len() - 1)
}

/// Which of the first `forward` values are short products, or made of some element by element.
fn computed_again(g: &Graph, forward: usize, sizes: &Examples) -> Vec<bool> {
    let mut again = vec![false; g.nodes.len()];
    for i in 0..forward {
        let node = g.node(ValueId(i));
        again[i] = match node.op.lower() {
            Lower::Contract { .. } => is_short(g, ValueId(i)) && sizes.elements(g.ty(ValueId(i))) >= LARGE,
            Lower::Element(_) | Lower::Reshape => node.args.iter().any(|a| again[a.0]),
            _ => false,
        };
    }
    again
}

/// Whether every element sums few products.
fn is_short(g: &Graph, v: ValueId) -> bool {
    let node = g.node(v);
    let Lower::Contract { spec } = node.op.lower() else {
        return false;
    };
    let [a, _, result] = Einsum::parse(spec).expect("infer checked the spec");
    let summed = a.iter().zip(g.shape(node.args[0])).filter(|(c, _)| !result.contains(c));
    let depth = summed.map(|(_, extent)| extent.clone()).product::<Dim>();
    depth.as_const().is_some_and(|depth| depth <= SHORT)
}

/// The copy of a value in the backward pass.
fn copy(
    g: &Graph,
    out: &mut Graph,
    map: &[ValueId],
    copies: &mut BTreeMap<ValueId, ValueId>,
    again: &[bool],
    v: ValueId,
) -> ValueId {
    if !again[v.0] {
        return map[v.0];
    }
    if let Some(known) = copies.get(&v) {
        return *known;
    }
    let node = g.node(v);
    let args = node.args.iter().map(|a| copy(g, out, map, copies, again, *a)).collect();
    let made = push(out, Node { args, ..node.clone() });
    copies.insert(v, made);
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decompose::decompose;
    use crate::differentiate::differentiate;
    use crate::fuse::{Space, fuse};
    use ir::dim::Env;
    use ir::eval::evaluate;
    use ir::ops::{Gelu, Param, Unfold};
    use ir::sample::Rand;
    use ir::scalar::DType;
    use ir::tensor::Tensor;
    use ir::types::Type;

    const TAPS: i64 = 10;
    const CHANNELS: i64 = 512;

    /// Products over windows of ten samples, a GELU, and the gradient for the weights of the sum of its squares.
    fn training_step() -> Graph {
        let mut g = Graph::default();
        let x = g.input("x", Type::new(DType::F32, vec![Dim::sym("B"), Dim::sym("N")]));
        let ty = Type::new(DType::F32, vec![CHANNELS.into(), TAPS.into()]);
        let w = g.add_op(Param { name: "w".into(), ty }, &[]);
        let windows = g.add_op(Unfold { size: TAPS, step: 5 }, &[x]);
        let y = g.einsum("btk,ok->bto", windows, w);
        let y = g.add_op(Gelu {}, &[y]);
        let y = g.mul(y, y);
        let loss = g.sum(y, &[0, 1, 2]);
        g.outputs.push(("loss".into(), loss));
        decompose(&differentiate(&g, "loss", &|_| true).expect("the graph has a loss"))
    }

    /// A long clip.
    fn sizes() -> Examples {
        [("N", 160_000)].into_iter().collect()
    }

    fn products(g: &Graph) -> Vec<usize> {
        let groups = fuse(g, &sizes()).groups;
        let product = |i: &usize| matches!(groups[*i].space, Space::Contract(v) if is_short(g, v));
        (0..groups.len()).filter(product).collect()
    }

    #[test]
    fn short_products_are_computed_twice_with_the_same_result() {
        let kept = training_step();
        let again = rematerialise(&kept, &sizes());
        assert_eq!((products(&kept).len(), products(&again).len()), (1, 2));

        let env: Env = [("B".into(), 2), ("N".into(), 40)].into_iter().collect();
        let mut r = Rand::new(7);
        let mut tensor = |shape: Vec<usize>| {
            let n = shape.iter().product();
            Tensor::new(DType::F32, shape, (0..n).map(|_| r.int(-9, 9) as f64 / 8.0).collect())
        };
        let x = tensor(vec![2, 40]);
        let w = tensor(vec![CHANNELS as usize, TAPS as usize]);
        let bound = [("x".to_string(), x), ("w".to_string(), w)].into_iter().collect();
        assert_eq!(evaluate(&kept, &env, &bound), evaluate(&again, &env, &bound));
    }

    #[test]
    fn what_only_infers_is_left_alone() {
        let mut g = training_step();
        g.outputs.retain(|(name, _)| param_of_gradient(name).is_none());
        let g = g.prune();
        assert_eq!(rematerialise(&g, &sizes()).nodes, g.nodes);
    }
}
