//! What must hold after each pass.

use crate::fuse::{Fused, is_leaf, producer, root};
use crate::module::{Module, Stage, Unit};
use ir::graph::Graph;
use ir::kernel::Reduction;
use ir::lower::Lower;
use ir::names::param_of_gradient;
use ir::ops::Op;
use ir::{graph_verify, program_verify};
use std::collections::BTreeSet;

type Verified = Result<(), String>;

fn each_unit(m: &Module, check: impl Fn(&Unit) -> Verified) -> Verified {
    let checked = |u: &Unit| check(u).map_err(|e| format!("program `{}`: {e}", u.name));
    m.units().into_iter().try_for_each(checked)
}

/// Graphs are well formed, and those that train have their loss.
pub fn graphs(m: &Module) -> Verified {
    each_unit(m, |u| {
        graph_verify::verify(&u.graph)?;
        let is_there = |loss: &String| u.graph.outputs.iter().any(|(name, _)| name == loss);
        match u.loss.as_ref().filter(|l| !is_there(l)) {
            Some(loss) => Err(format!("its loss `{loss}` is no output")),
            None => Ok(()),
        }
    })
}

/// As [`graphs`]; besides, gradients are those of parameters that train, of whose types they are.
pub fn differentiated(m: &Module) -> Verified {
    graphs(m)?;
    each_unit(m, |u| {
        let gradients = u
            .graph
            .outputs
            .iter()
            .filter_map(|(name, v)| Some((param_of_gradient(name)?, *v)));
        for (name, v) in gradients {
            let own = |n: &&ir::graph::Node| matches!(&n.op, Op::Param(p) if p.name == name);
            let Some(param) = u
                .graph
                .nodes
                .iter()
                .find(own)
                .filter(|_| u.trains.iter().any(|t| t == name))
            else {
                return Err(format!("`{name}`, which does not train, has a gradient"));
            };
            if param.types[0] != *u.graph.ty(v) {
                return Err(format!(
                    "the gradient of `{name}` is {}, not {}",
                    u.graph.ty(v),
                    param.types[0]
                ));
            }
        }
        Ok(())
    })
}

/// As [`differentiated`]; besides, kernels can be made of every op.
pub fn primitive(m: &Module) -> Verified {
    differentiated(m)?;
    each_unit(m, |u| is_primitive(&u.graph))
}

fn is_primitive(g: &Graph) -> Verified {
    for (i, node) in g.nodes.iter().enumerate() {
        let wrong = match (&node.op, node.op.lower()) {
            (Op::Repeat(r), _) => {
                is_primitive(&r.body)?;
                continue;
            }
            (_, Lower::Decompose(_)) => "it is made of simpler ops",
            (_, Lower::Reduce { reduction, axes, .. }) => {
                let last = g.shape(node.args[0]).len() - 1;
                let mixed = axes.len() > 1 && axes.contains(&last);
                match reduction {
                    Reduction::Sum if mixed => "it sums over the last axis and others at once",
                    _ => continue,
                }
            }
            _ => continue,
        };
        return Err(format!("%{i} (`{}`): {wrong}", node.op.name()));
    }
    Ok(())
}

/// As [`primitive`]; besides, every kernel comes after those that it reads from, and all that leaves the program is written.
pub fn fused(m: &Module) -> Verified {
    primitive(m)?;
    let Stage::Fused(units) = &m.stage else {
        return Err("there is no plan".into());
    };
    let one = |(u, plan): &(Unit, Fused)| is_planned(&u.graph, plan).map_err(|e| format!("program `{}`: {e}", u.name));
    units.iter().try_for_each(one)
}

fn is_planned(g: &Graph, plan: &Fused) -> Verified {
    for (number, group) in plan.groups.iter().enumerate() {
        for v in &group.members {
            if plan.group_of.get(v) != Some(&number) {
                return Err(format!("%{} is not where its kernel is", v.0));
            }
        }
        let (mut seen, mut open) = (BTreeSet::new(), group.members.clone());
        while let Some(v) = open.pop() {
            for arg in &g.node(v).args {
                let arg = producer(g, root(g, *arg));
                match plan.group_of.get(&arg) {
                    Some(other) if *other > number => {
                        return Err(format!("%{} is read by a kernel before it is computed", arg.0));
                    }
                    Some(_) => {}
                    None if seen.insert(arg) => open.push(arg),
                    None => {}
                }
            }
        }
    }
    for (name, v) in &g.outputs {
        let v = root(g, *v);
        if !is_leaf(g, v) && !plan.stored.contains(&v) {
            return Err(format!("output `{name}`, %{}, is not written", v.0));
        }
    }
    for (v, body) in &plan.bodies {
        let Op::Repeat(r) = &g.node(*v).op else {
            return Err(format!("%{} has a body and is no repeat", v.0));
        };
        is_planned(&r.body, body).map_err(|e| format!("body of %{}: {e}", v.0))?;
    }
    Ok(())
}

/// Programs and kernels are well formed.
pub fn programs(m: &Module) -> Verified {
    match &m.stage {
        Stage::Programs { programs, kernels } => program_verify::verify(programs, &kernels.list),
        _ => Err("there are no programs".into()),
    }
}
