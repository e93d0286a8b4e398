//! Lowers one graph: gives every stored value a place, of its own or within another, and emits its groups in order.

use super::kernel::KernelBuilder;
use super::parts::{self, Part};
use super::{Builder, Dest, LowerError, Place, column, contract, opaque, repeat, row};
use crate::fuse::{Fused, Space, is_leaf, producer, root};
use ir::artifact::{BufferKind, Step};
use ir::dim::numel;
use ir::graph::{Graph, ValueId};
use ir::kernel::{Body, Index, Phase, RowKernel};
use ir::lower::Lower;
use ir::ops::Op;
use std::collections::{BTreeMap, BTreeSet};

pub struct Region<'g> {
    pub g: &'g Graph,
    pub fused: &'g Fused,
    /// Places of roots that are read from memory; those in `parts` have none of their own.
    pub places: BTreeMap<ValueId, Place>,
    /// Roots that are written to their places in a concatenation instead of one of their own.
    parts: BTreeMap<ValueId, Part>,
    /// Further places that roots are written to.
    extra: BTreeMap<ValueId, Vec<Dest>>,
    /// Places of results that nothing reads, but kernels write: node and index of the result.
    unread: BTreeMap<(ValueId, usize), Place>,
}

impl<'g> Region<'g> {
    /// `given` are the places of leaves.
    pub fn new(g: &'g Graph, fused: &'g Fused, given: BTreeMap<ValueId, Place>) -> Self {
        Region {
            g,
            fused,
            places: given,
            parts: BTreeMap::new(),
            extra: BTreeMap::new(),
            unread: BTreeMap::new(),
        }
    }

    pub fn place(&self, v: ValueId) -> &Place {
        match self.places.get(&v) {
            Some(p) => p,
            None => panic!("value {v:?} (`{}`) has no place", self.g.node(v).op.name()),
        }
    }

    /// Every place a computed root is written to.
    pub fn dests(&self, v: ValueId) -> Vec<Dest> {
        let held_in = self.parts.get(&v).map_or(v, |part| part.whole);
        let own = self.places.get(&held_in).map(|p| Dest {
            place: p.clone(),
            accumulate: false,
        });
        own.into_iter()
            .chain(self.extra.get(&v).into_iter().flatten().cloned())
            .collect()
    }

    /// Where in its places the element at coordinates `at` of a root is written.
    pub fn index(&self, v: ValueId, at: &[Index]) -> Index {
        match self.parts.get(&v) {
            Some(part) => part.index(self.g, v, at),
            None => Index::linear(at, &self.g.ty(v).strides()),
        }
    }

    /// `outputs` are values with the places they must end up in.
    pub fn lower(mut self, b: &mut Builder, outputs: Vec<(ValueId, Dest)>) -> Result<Vec<Step>, LowerError> {
        let copies = self.assign(b, outputs);
        let wholes: BTreeSet<ValueId> = self.parts.values().map(|part| part.whole).collect();
        let mut steps = vec![];
        for i in 0..self.fused.groups.len() {
            let group = self.fused.groups[i].clone();
            if group.members.iter().any(|v| wholes.contains(v)) {
                continue;
            }
            let emitted = match &group.space {
                Space::Row(axes) => row::emit(&self, b, i, axes, &group.members),
                Space::Column { shape, axes } => column::emit(&self, b, i, shape, axes, &group.members),
                Space::Contract(c) => contract::emit(&self, b, i, *c, &group.members)?,
                Space::Opaque(v) => {
                    let op = &self.g.node(*v).op;
                    match (op, op.lower()) {
                        (Op::Repeat(r), _) => repeat::emit(&self, b, *v, r)?,
                        (_, Lower::Kernel { build, .. }) => vec![opaque::emit(&self, b, *v, build)?],
                        _ => unreachable!("`fuse` places alone only loops and kernels of their own"),
                    }
                }
            };
            steps.extend(emitted);
        }
        for (v, dest) in copies {
            steps.push(self.copy(b, v, &dest));
        }
        Ok(steps)
    }

    /// Gives places to everything stored; returns outputs that only a copy can bring about.
    fn assign(&mut self, b: &mut Builder, outputs: Vec<(ValueId, Dest)>) -> Vec<(ValueId, Dest)> {
        let mut copies = vec![];
        for (v, dest) in outputs {
            let r = root(self.g, v);
            let by_loop = is_stacked_result(self.g, r);
            let by_opaque = matches!(self.space_of(r), Some(Space::Opaque(_)));
            if self.space_of(r).is_none() {
                copies.push((v, dest));
            } else if !dest.accumulate && !self.places.contains_key(&r) {
                self.places.insert(r, dest.place);
            } else if by_opaque && !by_loop {
                copies.push((v, dest));
            } else {
                self.extra.entry(r).or_default().push(dest);
            }
        }
        self.parts = parts::find(self, |v| self.is_read(v) && !self.extra.contains_key(&v));
        // An own place for what is read, for results of kernels of their own, and for what nothing else would hold.
        for i in 0..self.g.nodes.len() {
            let v = ValueId(i);
            if self.places.contains_key(&v)
                || self.parts.contains_key(&v)
                || self.space_of(v).is_none()
                || self.g.node(v).types.len() > 1
            {
                continue;
            }
            let read = self.is_read(v);
            let opaque = matches!(self.space_of(v), Some(Space::Opaque(_)));
            if read || (opaque && !self.extra.contains_key(&v)) || copies.iter().any(|(c, _)| root(self.g, *c) == v) {
                let ty = self.g.ty(v);
                let buffer = b.buffer(BufferKind::Temp, ty.dtype, numel(&ty.shape));
                self.places.insert(v, Place::whole(buffer));
            }
        }
        self.place_unread(b);
        copies
    }

    fn place_unread(&mut self, b: &mut Builder) {
        for (i, node) in self.g.nodes.iter().enumerate().filter(|(_, n)| n.types.len() > 1) {
            let v = ValueId(i);
            if matches!(node.op, Op::Repeat(_)) {
                continue;
            }
            for (index, ty) in node.types.iter().enumerate() {
                if result_value(self.g, v, index).is_none() {
                    let buffer = b.buffer(BufferKind::Temp, ty.dtype, numel(&ty.shape));
                    self.unread.insert((v, index), Place::whole(buffer));
                }
            }
        }
    }

    /// Where a kernel of several results writes result `index`.
    pub fn result_place(&self, v: ValueId, index: usize) -> &Place {
        match result_value(self.g, v, index) {
            Some(r) => self.place(r),
            None => &self.unread[&(v, index)],
        }
    }

    /// Whether another group reads the value from memory.
    fn is_read(&self, v: ValueId) -> bool {
        let output = self.g.outputs.iter().any(|(_, o)| root(self.g, *o) == v);
        self.fused.stored.contains(&v) && (!output || self.fused.read.contains(&v))
    }

    fn space_of(&self, v: ValueId) -> Option<&Space> {
        let p = producer(self.g, v);
        if is_leaf(self.g, v) && p == v {
            return None;
        }
        self.fused.group_of.get(&p).map(|i| &self.fused.groups[*i].space)
    }

    /// A kernel that writes a value elsewhere.
    pub fn copy(&self, b: &mut Builder, v: ValueId, dest: &Dest) -> Step {
        let ty = self.g.ty(v).clone();
        let mut k = KernelBuilder::new(self, None);
        let axes = if ty.rank() == 0 {
            vec![1.into()]
        } else {
            ty.shape.clone()
        };
        let at: Vec<Index> = (0..ty.rank()).map(Index::axis).collect();
        let value = k.element(v, &at);
        let access = if dest.accumulate {
            ir::kernel::Access::Update
        } else {
            ir::kernel::Access::Write
        };
        let slot = k.slot(&dest.place, ty.dtype, access);
        let index = Index::linear(&at, &ty.strides());
        let store = ir::kernel::Store {
            slot,
            index,
            value,
            accumulate: dest.accumulate,
        };
        let phases = vec![Phase::Columns {
            reduce: vec![],
            store: vec![store],
        }];
        k.launch(b, "copy", |values| Body::Row(RowKernel { axes, values, phases }))
    }
}

/// Whether a value is what the layers of a repeat give one slice each, which they can write to several places. What they
/// hand on is in one place.
fn is_stacked_result(g: &Graph, v: ValueId) -> bool {
    let index = match &g.node(v).op {
        Op::Get(get) => get.index,
        _ => 0,
    };
    matches!(&g.node(producer(g, v)).op, Op::Repeat(r) if index >= r.carries)
}

/// The node that stands for a result: the node itself if it has one, else its `get`.
pub fn result_value(g: &Graph, v: ValueId, index: usize) -> Option<ValueId> {
    if g.node(v).types.len() == 1 {
        return (index == 0).then_some(v);
    }
    let is_get = |n: &ir::graph::Node| n.args == [v] && matches!(&n.op, Op::Get(get) if get.index == index);
    g.nodes.iter().position(is_get).map(ValueId)
}
