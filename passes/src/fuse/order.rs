//! The order in which groups run: late where that frees memory.

use super::{Fuser, producer, root};
use crate::rewrite::cost::bytes;
use ir::graph::ValueId;
use std::collections::{BTreeMap, BTreeSet};

/// Groups in execution order.
pub(super) fn execution(f: &Fuser) -> Vec<usize> {
    let mut order: Vec<usize> = (0..f.groups.len()).collect();
    // Fewer ancestors first is a topological order, because an ancestor's ancestors are one's own.
    order.sort_by_key(|i| (f.reach[*i].len(), *i));
    sink(f, order)
}

/// Moves groups to right before their first reader where what they read then lives longer by less than what they write.
fn sink(f: &Fuser, mut order: Vec<usize>) -> Vec<usize> {
    let readers = readers(f);
    let outputs: BTreeSet<ValueId> = f.g.outputs.iter().map(|(_, v)| root(f.g, *v)).collect();
    for at in (0..order.len()).rev() {
        let group = order[at];
        let position = |i: &usize| order.iter().position(|o| o == i).expect("all groups are in order");
        let written: Vec<ValueId> = f.groups[group].members.clone();
        let Some(first) = order[at + 1..]
            .iter()
            .position(|later| {
                f.reads[*later]
                    .iter()
                    .any(|w| f.group_of.get(&producer(f.g, *w)) == Some(&group))
            })
            .map(|i| at + 1 + i)
        else {
            continue;
        };
        // What is read until then anyway, or lives forever, costs nothing.
        let longer = f.reads[group].iter().filter(|w| {
            f.group_of.get(&producer(f.g, **w)).is_some_and(|own| *own != group)
                && !outputs.contains(w)
                && readers
                    .get(w)
                    .is_some_and(|all| all.iter().all(|r| *r == group || position(r) < first))
        });
        let longer: f64 = longer.map(|w| bytes(f.g.ty(*w))).sum();
        let later = written
            .iter()
            .filter(|v| readers.contains_key(v) && !outputs.contains(v));
        let later: f64 = later.map(|v| bytes(f.g.ty(*v))).sum();
        if first > at + 1 && longer < later {
            let moved = order.remove(at);
            order.insert(first - 1, moved);
        }
    }
    order
}

/// The groups that read each value from another group.
fn readers(f: &Fuser) -> BTreeMap<ValueId, Vec<usize>> {
    let mut readers: BTreeMap<ValueId, Vec<usize>> = BTreeMap::new();
    for (i, reads) in f.reads.iter().enumerate() {
        for w in reads.iter().filter(|w| f.group_of.get(&producer(f.g, **w)) != Some(&i)) {
            readers.entry(*w).or_default().push(i);
        }
    }
    readers
}

#[cfg(test)]
mod tests {
    use crate::fuse::fuse;
    use ir::dim::Dim;
    use ir::graph::Graph;
    use ir::ops::Param;
    use ir::types::Type;

    #[test]
    fn what_reads_parameters_alone_runs_right_before_its_reader() {
        let mut g = Graph::default();
        let x = g.input("x", Type::f32(vec![Dim::sym("B"), 64.into()]));
        let [p, q, r] = ["p", "q", "r"].map(|name| {
            let ty = Type::f32(vec![64.into(), 64.into()]);
            g.add_op(Param { name: name.into(), ty }, &[])
        });
        let early = g.einsum("ik,kj->ij", p, p);
        let y = g.einsum("ik,kj->ij", x, q);
        let y = g.einsum("ik,kj->ij", y, r);
        let last = g.einsum("ik,kj->ij", y, early);
        g.outputs.push(("y".into(), last));
        let fused = fuse(&g);
        assert_eq!(fused.group_of[&early] + 1, fused.group_of[&last]);
    }
}
