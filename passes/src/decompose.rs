//! Replaces composite ops by simpler ones until every op is a leaf, an element op, a reduction over the last or over
//! leading axes, a contraction, or a single kernel.

use crate::module::Module;
use crate::pipeline::{CompileError, Settings};
use ir::dim::Dim;
use ir::graph::{Graph, ValueId};
use ir::kernel::Reduction;
use ir::lower::Lower;
use ir::ops::{Op, Repeat, Sum};
use std::sync::Arc;

pub(crate) fn run(m: &mut Module, _: &Settings) -> Result<(), CompileError> {
    let units = m.stage.graphs().iter_mut();
    units.for_each(|unit| unit.graph = decompose(&unit.graph));
    Ok(())
}

/// The graph with composite ops replaced by primitives.
pub fn decompose(g: &Graph) -> Graph {
    let mut out = Graph::default();
    let mut map: Vec<ValueId> = vec![];
    for node in &g.nodes {
        let args: Vec<ValueId> = node.args.iter().map(|a| map[a.0]).collect();
        let new = match &node.op {
            Op::Get(get) => out.results(args[0])[get.index],
            op => expand(&mut out, op, &args),
        };
        map.push(new);
    }
    out.inputs = g.inputs.iter().map(|v| map[v.0]).collect();
    out.outputs = g.outputs.iter().map(|(n, v)| (n.clone(), map[v.0])).collect();
    out.prune()
}

fn expand(out: &mut Graph, op: &Op, args: &[ValueId]) -> ValueId {
    if let Op::Repeat(r) = op {
        return out.add_op(
            Repeat {
                body: Arc::new(decompose(&r.body)),
                ..r.clone()
            },
            args,
        );
    }
    match op.lower() {
        Lower::Decompose(f) => {
            let mut simpler = Graph::default();
            let inputs: Vec<ValueId> = args
                .iter()
                .enumerate()
                .map(|(i, a)| simpler.input(&i.to_string(), out.ty(*a).clone()))
                .collect();
            let results = f(&mut simpler, &inputs);
            inline(out, &simpler, args, results[0])
        }
        Lower::Reduce {
            reduction: Reduction::Sum,
            axes,
            keep,
        } => sum(out, args[0], &axes, keep),
        _ => out.add_op(op.clone(), args),
    }
}

/// Copies a small graph into another, its inputs bound to `args`, expanding as it goes.
fn inline(out: &mut Graph, from: &Graph, args: &[ValueId], result: ValueId) -> ValueId {
    let mut map: Vec<ValueId> = vec![];
    for (i, node) in from.nodes.iter().enumerate() {
        let new = match from.inputs.iter().position(|v| v.0 == i) {
            Some(n) => args[n],
            None => {
                let args: Vec<ValueId> = node.args.iter().map(|a| map[a.0]).collect();
                match &node.op {
                    Op::Get(get) => out.results(args[0])[get.index],
                    op => expand(out, op, &args),
                }
            }
        };
        map.push(new);
    }
    map[result.0]
}

/// Sums along the last axis first, each result a row of the next sum, so that every reduction is over the last axis or
/// keeps it.
fn sum(out: &mut Graph, x: ValueId, axes: &[usize], keep: bool) -> ValueId {
    let shape = out.shape(x).to_vec();
    let last = shape.len().saturating_sub(1);
    let requested = axes;
    let axes: Vec<usize> = axes.iter().copied().filter(|a| !shape[*a].is_one()).collect();
    let size = |(i, d): (usize, &Dim)| if axes.contains(&i) { Dim::from(1) } else { d.clone() };
    let result: Vec<Dim> = shape.iter().enumerate().map(size).collect();
    let y = if axes.is_empty() {
        x
    } else if axes.contains(&last) {
        let partial = out.add_op(
            Sum {
                axes: vec![last],
                keep: true,
            },
            &[x],
        );
        let rest: Vec<usize> = axes.iter().copied().filter(|a| *a != last).collect();
        if rest.is_empty() {
            partial
        } else {
            let dropped = out.reshape(partial, shape[..last].to_vec());
            let summed = sum(out, dropped, &rest, true);
            out.reshape(summed, result)
        }
    } else {
        out.add_op(
            Sum {
                axes: axes.clone(),
                keep: true,
            },
            &[x],
        )
    };
    if keep {
        return y;
    }
    let kept = result_without(out.shape(y), requested);
    out.reshape(y, kept)
}

fn result_without(shape: &[Dim], axes: &[usize]) -> Vec<Dim> {
    shape
        .iter()
        .enumerate()
        .filter(|(i, _)| !axes.contains(i))
        .map(|(_, d)| d.clone())
        .collect()
}
