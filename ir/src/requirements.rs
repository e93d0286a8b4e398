//! Conditions on a program's sizes under which every op stays inside its operands. Constant sizes are checked where an
//! op is made (`infer`, `Type::check`); what depends on run-time sizes is written down here, and a runner checks it
//! before anything runs.

use crate::artifact::Requirement;
use crate::dim::Dim;
use crate::graph::{Graph, Node};
use crate::ops::Op;
use crate::types::{MAX_AXIS, Type};

/// Of a graph as it is lowered: no axis is shorter than 0, slices lie inside what they cut, and padding adds.
pub fn of_sizes(g: &Graph) -> Vec<Requirement> {
    let mut all = vec![];
    each_node(g, &mut |g, node| {
        let mut need = |value: &Dim, least: i64, what: &str| {
            let what = format!("{what} of `{}`", node.op.name());
            let most = i64::MAX;
            add(
                &mut all,
                Requirement {
                    value: value.clone(),
                    least,
                    most,
                    what,
                },
            );
        };
        node.types
            .iter()
            .flat_map(|t| &t.shape)
            .for_each(|d| need(d, 0, "an axis"));
        let args: Vec<&Type> = node.args.iter().map(|a| g.ty(*a)).collect();
        for n in node.op.requires(&args, &node.types) {
            need(&n.value, n.least, n.what);
        }
    });
    all
}

/// Of a graph as it is written: no axis is longer than positions can be counted in i32, which kernels compare.
pub fn of_axes(g: &Graph) -> Vec<Requirement> {
    let mut all = vec![];
    each_node(g, &mut |_, node| {
        for value in node.types.iter().flat_map(|t| &t.shape).cloned() {
            let what = format!("an axis of `{}`", node.op.name());
            add(
                &mut all,
                Requirement {
                    value,
                    least: 0,
                    most: MAX_AXIS,
                    what,
                },
            );
        }
    });
    all
}

/// Adds a requirement, unless it holds whatever the sizes are.
pub fn add(to: &mut Vec<Requirement>, new: Requirement) {
    let fixed = new
        .value
        .as_const()
        .is_some_and(|v| (new.least..=new.most).contains(&v));
    if fixed || (new.least <= 0 && new.most == i64::MAX && new.value.is_never_negative()) {
        return;
    }
    match to.iter_mut().find(|r| r.value == new.value) {
        Some(old) => {
            old.least = old.least.max(new.least);
            old.most = old.most.min(new.most);
        }
        None => to.push(new),
    }
}

fn each_node(g: &Graph, f: &mut dyn FnMut(&Graph, &Node)) {
    for node in &g.nodes {
        f(g, node);
        if let Op::Repeat(r) = &node.op {
            each_node(&r.body, f);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_on_sizes_is_written_down_once() {
        let d = |s: &str| s.parse::<Dim>().unwrap();
        let mut g = Graph::default();
        let x = g.input("x", Type::f32([d("B"), d("N")]));
        let cut = g.slice(x, 1, d("3"), d("N - 10"));
        let y = g.pad(cut, 1, d("2"), d("N - 5"));
        g.outputs = vec![("y".into(), y)];
        let got: Vec<(String, i64)> = of_sizes(&g).iter().map(|r| (r.value.to_string(), r.least)).collect();
        // B, N and their sums need nothing; what is left of N after the slice is 7.
        let want = ["N - 10", "2*N - 13", "N - 5"].map(|s| (s.to_string(), 0));
        assert_eq!(got, want);
        let most: Vec<(String, i64)> = of_axes(&g).iter().map(|r| (r.value.to_string(), r.most)).collect();
        assert_eq!(
            most,
            ["B", "N", "N - 10", "2*N - 13"].map(|s| (s.to_string(), MAX_AXIS))
        );
    }
}
