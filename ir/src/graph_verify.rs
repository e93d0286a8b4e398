//! What must hold of every graph, whatever made it.

use crate::graph::{Graph, ValueId};
use crate::ops::Op;
use crate::types::Type;
use std::collections::BTreeSet;

/// Checks that values come before their readers and have the types that their ops give, and that inputs and outputs are there.
///
/// # Errors
/// The first thing that is not so.
pub fn verify(g: &Graph) -> Result<(), String> {
    for (i, node) in g.nodes.iter().enumerate() {
        let at = |what: String| format!("%{i} (`{}`): {what}", node.op.name());
        if let Some(late) = node.args.iter().find(|a| a.0 >= i) {
            return Err(at(format!("its operand %{} does not come before it", late.0)));
        }
        let types = types(g, &node.op, &node.args).map_err(at)?;
        if types != node.types {
            return Err(at(format!("it has the types {:?}, where {types:?} follow", node.types)));
        }
        if let Op::Repeat(r) = &node.op {
            verify(&r.body).map_err(|e| at(format!("body: {e}")))?;
        }
    }
    let is_input = |v: &ValueId| g.nodes.get(v.0).is_some_and(|n| matches!(n.op, Op::Input(_)));
    if let Some(other) = g.inputs.iter().find(|v| !is_input(v)) {
        return Err(format!("%{} is listed as an input and is none", other.0));
    }
    let inputs = (0..g.nodes.len())
        .map(ValueId)
        .filter(is_input)
        .collect::<BTreeSet<_>>();
    let listed: BTreeSet<ValueId> = g.inputs.iter().copied().collect();
    if inputs != listed || listed.len() != g.inputs.len() {
        return Err("the inputs are not all listed once".into());
    }
    match g
        .outputs
        .iter()
        .find(|(_, v)| g.nodes.get(v.0).is_none_or(|n| n.types.len() != 1))
    {
        Some((name, v)) => Err(format!("output `{name}`: %{} is no single value", v.0)),
        None => Ok(()),
    }
}

/// The types that follow from an op and what it reads.
fn types(g: &Graph, op: &Op, args: &[ValueId]) -> Result<Vec<Type>, String> {
    if let Op::Get(get) = op {
        let [of] = args else {
            return Err("it has one operand".into());
        };
        let found = g.node(*of).types.get(get.index);
        return found
            .map(|ty| vec![ty.clone()])
            .ok_or_else(|| format!("%{} has no result {}", of.0, get.index));
    }
    if let Some(many) = args.iter().find(|a| g.node(**a).types.len() != 1) {
        return Err(format!("it reads %{}, which has several results", many.0));
    }
    let args: Vec<Type> = args.iter().map(|a| g.ty(*a).clone()).collect();
    op.infer(&args).map_err(|e| e.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Node;

    #[test]
    fn what_does_not_hold_is_named() {
        let mut g = Graph::default();
        let x = g.input("x", Type::f32(["B".parse().unwrap(), 4.into()]));
        let y = g.mul(x, x);
        g.outputs = vec![("y".into(), y)];
        assert_eq!(verify(&g), Ok(()));
        let spoilt = |spoil: &dyn Fn(&mut Graph)| {
            let mut g = g.clone();
            spoil(&mut g);
            verify(&g).unwrap_err()
        };
        let late = spoilt(&|g| g.nodes[1].args[1] = ValueId(1));
        assert!(
            late.contains("%1 (`mul`): its operand %1 does not come before it"),
            "{late}"
        );
        let typed = spoilt(&|g| g.nodes[1].types = vec![Type::f32([4.into()])]);
        assert!(typed.contains("follow"), "{typed}");
        let unlisted = spoilt(&|g| g.inputs.clear());
        assert!(unlisted.contains("inputs are not all listed"), "{unlisted}");
        let no_input = spoilt(&|g| g.inputs[0] = y);
        assert!(no_input.contains("%1 is listed"), "{no_input}");
        let missing = spoilt(&|g| g.outputs[0].1 = ValueId(7));
        assert!(missing.contains("output `y`: %7"), "{missing}");
        let two = spoilt(&|g| {
            let twice = Node {
                args: vec![x],
                ..g.nodes[1].clone()
            };
            g.nodes.push(twice);
        });
        assert!(two.contains("%2"), "{two}");
    }
}
