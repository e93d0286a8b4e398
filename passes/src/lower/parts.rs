//! Concatenations without a kernel: matrix multiplications write their results directly into them.
//!
//! `prepare` moves kernels that write a whole buffer, so parts that depend on parameters alone stay where they are.

use super::region::Region;
use crate::fuse::{Space, producer, root};
use crate::reshape;
use ir::dim::Dim;
use ir::graph::{Graph, ValueId};
use ir::kernel::Index;
use ir::lower::Lower;
use ir::ops::Op;
use std::collections::BTreeMap;

/// The place of a value in a concatenation.
#[derive(Clone, Debug)]
pub struct Part {
    pub whole: ValueId,
    /// The operand of the concatenation that the value is, up to a reshape.
    operand: ValueId,
    axis: usize,
    /// Where the part begins along the axis.
    first: Dim,
}

impl Part {
    /// Where in the whole the element at coordinates `at` of the value `v` lies.
    pub fn index(&self, g: &Graph, v: ValueId, at: &[Index]) -> Index {
        let at = reshape::coordinates(g.shape(self.operand), g.shape(v), at);
        let mut at = at.expect("a part is chosen for its coordinates");
        let first = Index {
            base: self.first.clone(),
            terms: vec![],
        };
        at[self.axis] = at[self.axis].clone().plus(&first);
        Index::linear(&at, &g.ty(self.whole).strides())
    }
}

/// Parts by the value that is written, of all concatenations with a place of their own that consist of parts.
pub fn find(region: &Region, has_place: impl Fn(ValueId) -> bool) -> BTreeMap<ValueId, Part> {
    let mut found = BTreeMap::new();
    for group in &region.fused.groups {
        let (Space::Row(_), [v]) = (&group.space, group.members.as_slice()) else {
            continue;
        };
        let parts = parts_of(region, *v).filter(|_| has_place(*v));
        found.extend(parts.into_iter().flatten());
    }
    found
}

/// The parts of a concatenation all of whose operands are results of products that nothing else reads.
fn parts_of(region: &Region, whole: ValueId) -> Option<BTreeMap<ValueId, Part>> {
    let g = region.g;
    let Op::Concat(concat) = &g.node(whole).op else {
        return None;
    };
    let (axis, mut first) = (concat.axis, Dim::from(0));
    let mut parts = BTreeMap::new();
    for operand in &g.node(whole).args {
        let v = root(g, *operand);
        let at = vec![Index::zero(); g.shape(v).len()];
        let affine = reshape::coordinates(g.shape(*operand), g.shape(v), &at).is_some();
        if !affine || !is_of_product(region, v) || !is_read_once(g, v) {
            return None;
        }
        let length = g.shape(*operand)[axis].clone();
        let part = Part {
            whole,
            operand: *operand,
            axis,
            first: first.clone(),
        };
        parts.insert(v, part);
        first = first + length;
    }
    Some(parts)
}

fn is_of_product(region: &Region, v: ValueId) -> bool {
    let group = region.fused.group_of.get(&producer(region.g, v));
    group.is_some_and(|i| matches!(region.fused.groups[*i].space, Space::Contract(_)))
}

/// Whether one operand of one node, reshapes aside, is all that the value is used for.
fn is_read_once(g: &Graph, v: ValueId) -> bool {
    let reads = |args: &[ValueId]| args.iter().filter(|a| root(g, **a) == v).count();
    let computing = g.nodes.iter().filter(|n| !matches!(n.op.lower(), Lower::Reshape));
    let output = g.outputs.iter().any(|(_, o)| root(g, *o) == v);
    !output && computing.map(|n| reads(&n.args)).sum::<usize>() == 1
}
