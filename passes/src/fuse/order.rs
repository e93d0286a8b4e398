//! The order in which groups run: late where that frees memory.

use super::{Fuser, producer, root};
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
    let size = |v: &ValueId| {
        if outputs.contains(v) {
            0.0
        } else {
            f.sizes.bytes(f.g.ty(*v))
        }
    };
    for at in (0..order.len()).rev() {
        let group = order[at];
        let reads_it = |later: &usize| f.reads[*later].iter().any(|w| computed_by(f, *w) == Some(group));
        let Some(first) = order[at + 1..].iter().position(reads_it).map(|i| at + 1 + i) else {
            continue;
        };
        // What somebody reads from `first` on is there anyway, and what no group computes lives forever.
        let free = |w: &ValueId| computed_by(f, *w).is_none() || order[first..].iter().any(|g| readers[w].contains(g));
        let longer: f64 = f.reads[group]
            .iter()
            .filter(|w| readers.contains_key(w) && !free(w))
            .map(size)
            .sum();
        let later: f64 = f.groups[group]
            .members
            .iter()
            .filter(|v| readers.contains_key(v))
            .map(size)
            .sum();
        if longer < later {
            order[at..first].rotate_left(1);
        }
    }
    order
}

/// The group that computes a value.
fn computed_by(f: &Fuser, v: ValueId) -> Option<usize> {
    f.group_of.get(&producer(f.g, v)).copied()
}

/// The groups that read each value from another group.
fn readers(f: &Fuser) -> BTreeMap<ValueId, Vec<usize>> {
    let mut readers: BTreeMap<ValueId, Vec<usize>> = BTreeMap::new();
    for (i, reads) in f.reads.iter().enumerate() {
        for w in reads.iter().filter(|w| computed_by(f, **w) != Some(i)) {
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
        let fused = fuse(&g, &Default::default());
        assert_eq!(fused.group_of[&early] + 1, fused.group_of[&last]);
    }
}
