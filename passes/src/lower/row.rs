//! Groups over rows: every reduction needs the ones before it, so they are laid out in phases.

use super::Builder;
use super::kernel::KernelBuilder;
use super::region::Region;
use crate::fuse::{Space, coordinates_in};
use crate::scalar::{Resolve, Values, element};
use ir::artifact::Step;
use ir::dim::Dim;
use ir::graph::ValueId;
use ir::kernel::{Body, Index, Phase, Reduction, RowKernel, Store, ValId, Value};
use ir::lower::Lower;
use std::collections::{BTreeMap, BTreeSet};

/// A member of the group with the number of phases that must be over before it can be computed.
struct Member {
    v: ValueId,
    level: usize,
    reduction: Option<Reduction>,
    /// One value per row.
    per_row: bool,
}

pub fn emit(region: &Region, b: &mut Builder, group: usize, axes: &[Dim], members: &[ValueId]) -> Vec<Step> {
    let members = order(region, group, axes, members);
    let phases = members
        .iter()
        .map(|m| m.level + m.reduction.is_some() as usize)
        .max()
        .unwrap_or(0)
        + 1;
    let mut k = KernelBuilder::new(region, Some(group));
    let identity: Vec<Index> = (0..axes.len()).map(Index::axis).collect();
    let space = Space::Row(axes.to_vec());
    let mut out = vec![];
    let mut reductions = 0;
    for level in 0..phases {
        let mut once: Vec<Store> = vec![];
        for m in members
            .iter()
            .filter(|m| m.level == level && m.per_row && m.reduction.is_none())
        {
            once.extend(store_member(&mut k, &space, m));
        }
        // Reductions of the previous phase are known only now.
        for m in members.iter().filter(|m| m.reduction.is_some() && m.level + 1 == level) {
            once.extend(store_member(&mut k, &space, m));
        }
        if !once.is_empty() {
            out.push(Phase::Row { store: once });
        }
        let mut reduce = vec![];
        let mut found = vec![];
        for m in members.iter().filter(|m| m.level == level) {
            if let Some(reduction) = m.reduction {
                let x = region.g.node(m.v).args[0];
                reduce.push((reduction, k.element(x, &identity)));
                found.push((m.v, Value::Reduced(reductions)));
                reductions += 1;
            }
        }
        let mut store = vec![];
        for m in members
            .iter()
            .filter(|m| m.level == level && m.reduction.is_none() && !m.per_row)
        {
            store.extend(store_member(&mut k, &space, m));
        }
        k.known.extend(found);
        let stored =
            |m: &&Member| m.level == level && m.reduction.is_none() && !m.per_row && region.places.contains_key(&m.v);
        k.reload.extend(members.iter().filter(stored).map(|m| m.v));
        if !reduce.is_empty() || !store.is_empty() {
            out.push(Phase::Columns { reduce, store });
        }
    }
    let axes = if axes.is_empty() {
        vec![Dim::from(1)]
    } else {
        axes.to_vec()
    };
    vec![k.launch(b, "row", |values| {
        Body::Row(RowKernel {
            axes,
            values,
            phases: out,
        })
    })]
}

fn store_member(k: &mut KernelBuilder, space: &Space, m: &Member) -> Vec<Store> {
    if k.region.dests(m.v).is_empty() {
        return vec![];
    }
    let mut at = coordinates_in(k.region.g, space, m.v).expect("members have a place in their group's space");
    // Where rows have one column, that of a row's own value is no position along the columns.
    if let (Some(_), Some(last)) = (m.reduction, at.last_mut()) {
        *last = Index::zero();
    }
    let value = k.element(m.v, &at);
    k.stores(m.v, &at, value)
}

fn order(region: &Region, group: usize, axes: &[Dim], members: &[ValueId]) -> Vec<Member> {
    let g = region.g;
    let space = Space::Row(axes.to_vec());
    let mut out: Vec<Member> = vec![];
    for v in members {
        let node = g.node(*v);
        let (reduction, what, at) = match node.op.lower() {
            Lower::Reduce { reduction, .. } => (
                Some(reduction),
                node.args[0],
                (0..axes.len()).map(Index::axis).collect(),
            ),
            _ => (
                None,
                *v,
                coordinates_in(g, &space, *v).expect("members have a place in their group's space"),
            ),
        };
        let known: BTreeMap<ValueId, usize> = out
            .iter()
            .filter(|m| m.reduction.is_some())
            .map(|m| (m.v, m.level))
            .collect();
        let mut seen = Needs {
            region,
            group,
            known: &known,
            found: BTreeSet::new(),
        };
        element(g, &mut Values::default(), &mut seen, what, &at, None);
        let level = seen.found.iter().map(|w| known[w] + 1).max().unwrap_or(0);
        let own_row = crate::fuse::is_row_valued(axes, g.shape(*v));
        out.push(Member {
            v: *v,
            level,
            reduction,
            per_row: own_row,
        });
    }
    out
}

/// Finds the group's reductions that an element is computed from.
struct Needs<'a, 'g> {
    region: &'a Region<'g>,
    group: usize,
    known: &'a BTreeMap<ValueId, usize>,
    found: BTreeSet<ValueId>,
}

impl Resolve for Needs<'_, '_> {
    fn resolve(&mut self, out: &mut Values, v: ValueId, _: &[Index], _: Option<ValId>) -> Option<ValId> {
        let w = crate::fuse::root(self.region.g, v);
        let hit = self.known.contains_key(&w);
        if hit {
            self.found.insert(w);
        }
        let own = self.region.fused.group_of.get(&crate::fuse::producer(self.region.g, w)) == Some(&self.group);
        let elsewhere = self.region.places.contains_key(&w) && !own;
        let dtype = self.region.g.ty(v).dtype;
        (hit || elsewhere).then(|| out.push(Value::constant(dtype, v.0 as f64)))
    }
    fn seed_slot(&mut self, _: ValueId) -> usize {
        0
    }
}
