//! Decides which values live in memory and which nodes share a kernel.
//!
//! A *group* becomes one kernel (or none, where matrix multiplications write into a concatenation: `lower::parts`). An
//! element op is computed where it is read unless it must be in memory; then it joins the group of a value it reads at
//! the same position (an epilogue) or a group over the same rows, as long as no group comes to depend on itself.

mod memory;
mod order;

use crate::module::{Module, Stage, Unit};
use crate::pipeline::{CompileError, Settings};
use crate::reshape;
use crate::scalar::{Resolve, Values, element};
use ir::dim::Dim;
use ir::examples::Examples;
use ir::graph::{Graph, Node, ValueId};
use ir::kernel::{Index, Reduction, ValId, Value};
use ir::lower::Lower;
use ir::ops::Op;
use ir::scalar::DType;
use std::collections::{BTreeMap, BTreeSet};

pub use memory::strided;

/// What the members of a group are computed over.
#[derive(Clone, Debug, PartialEq)]
pub enum Space {
    /// Rows of these axes, the last being the columns.
    Row(Vec<Dim>),
    /// Reduces these leading axes of the shape.
    Column {
        /// The shape that is reduced.
        shape: Vec<Dim>,
        /// The reduced axes.
        axes: Vec<usize>,
    },
    /// The tile of a contraction.
    Contract(ValueId),
    /// One op that is a kernel.
    Opaque(ValueId),
}

/// Nodes that share a kernel.
#[derive(Clone, Debug)]
pub struct Group {
    /// What it is computed over.
    pub space: Space,
    /// What it computes, in topological order.
    pub members: Vec<ValueId>,
}

/// The plan of a region: groups in execution order.
#[derive(Clone, Debug, Default)]
pub struct Fused {
    /// The groups.
    pub groups: Vec<Group>,
    /// The group that computes a value.
    pub group_of: BTreeMap<ValueId, usize>,
    /// Values that are written to memory (of those that groups compute).
    pub stored: BTreeSet<ValueId>,
    /// Those of them that another group reads.
    pub read: BTreeSet<ValueId>,
    /// The plans of the bodies of repeats.
    pub bodies: BTreeMap<ValueId, Fused>,
}

/// The value whose memory a reshape shares.
pub fn root(g: &Graph, mut v: ValueId) -> ValueId {
    while matches!(g.node(v).op.lower(), Lower::Reshape) {
        v = g.node(v).args[0];
    }
    v
}

/// Whether nothing computes the value: it is given, or a result of a kernel of its own.
pub fn is_leaf(g: &Graph, v: ValueId) -> bool {
    matches!(g.node(v).op.lower(), Lower::Leaf)
}

/// Coordinates of `v`'s element where the group's axes stand; `None` if v has no place in the space.
pub fn coordinates_in(g: &Graph, space: &Space, v: ValueId) -> Option<Vec<Index>> {
    let axes = |n: usize| (0..n).map(Index::axis).collect::<Vec<_>>();
    let shape = g.shape(v);
    match space {
        Space::Row(dims) if shape == dims => Some(axes(dims.len())),
        Space::Row(dims) if is_row_valued(dims, shape) => {
            let mut at = axes(dims.len());
            at[dims.len() - 1] = Index::zero();
            Some(at)
        }
        Space::Contract(c) => {
            let dims = g.shape(*c);
            reshape::coordinates(shape, dims, &axes(dims.len()))
        }
        _ => None,
    }
}

/// [.., 1] for rows [.., C].
pub fn is_row_valued(dims: &[Dim], shape: &[Dim]) -> bool {
    let n = dims.len();
    shape.len() == n && n > 0 && shape[n - 1].is_one() && !dims[n - 1].is_one() && shape[..n - 1] == dims[..n - 1]
}

pub(crate) fn run(m: &mut Module, _: &Settings) -> Result<(), CompileError> {
    let units = std::mem::take(m.stage.graphs());
    let planned = |unit: Unit| {
        let plan = fuse(&unit.graph, &m.examples);
        (unit, plan)
    };
    m.stage = Stage::Fused(units.into_iter().map(planned).collect());
    Ok(())
}

/// Plans a decomposed graph and the bodies of its repeats; what lives how long is weighed at example sizes.
pub fn fuse(g: &Graph, sizes: &Examples) -> Fused {
    let in_memory = memory::decide(g);
    let mut f = Fuser {
        g,
        sizes,
        in_memory,
        groups: vec![],
        reach: vec![],
        group_of: BTreeMap::new(),
        reads: vec![],
    };
    for i in 0..g.nodes.len() {
        f.place(ValueId(i));
    }
    f.finish()
}

/// Reads of values that have a place: the root that holds it, the coordinates, and the value (a reshape of the root,
/// perhaps) that they are coordinates of.
type Accesses = Vec<(ValueId, Vec<Index>, ValueId)>;

struct Fuser<'a> {
    g: &'a Graph,
    sizes: &'a Examples,
    in_memory: Vec<bool>,
    groups: Vec<Group>,
    /// Groups each group depends on, transitively.
    reach: Vec<BTreeSet<usize>>,
    group_of: BTreeMap<ValueId, usize>,
    /// Roots each group reads from memory or from itself.
    reads: Vec<BTreeSet<ValueId>>,
}

impl Fuser<'_> {
    fn place(&mut self, v: ValueId) {
        let node = self.g.node(v);
        match node.op.lower() {
            Lower::Leaf | Lower::Reshape => {}
            Lower::Element(_) if !self.in_memory[v.0] => {}
            Lower::Element(_) => self.place_element(v),
            Lower::Reduce { reduction, axes, .. } => {
                let shape = self.g.shape(node.args[0]).to_vec();
                let last = shape.len() - 1;
                if reduction != Reduction::Sum || axes.contains(&last) {
                    self.place_reduction(v, Space::Row(shape));
                } else {
                    self.place_reduction(v, Space::Column { shape, axes });
                }
            }
            Lower::Contract { .. } => self.place_alone(v, Space::Contract(v)),
            Lower::Kernel { .. } | Lower::Loop => self.place_alone(v, Space::Opaque(v)),
            Lower::Decompose(_) => panic!("`{}` is decomposed before fusion", node.op.name()),
        }
    }

    fn place_alone(&mut self, v: ValueId, space: Space) {
        let args = self.g.node(v).args.clone();
        let roots: BTreeSet<ValueId> = args.iter().flat_map(|a| self.roots(*a)).collect();
        let deps = self.groups_of(&roots);
        self.new_group(v, space, deps, roots);
    }

    fn place_reduction(&mut self, v: ValueId, space: Space) {
        let x = self.g.node(v).args[0];
        let at: Vec<Index> = (0..self.g.shape(x).len()).map(Index::axis).collect();
        let accesses = self.accesses(x, &at);
        let roots: BTreeSet<ValueId> = accesses.iter().map(|a| a.0).collect();
        let deps = self.groups_of(&roots);
        let fits = |f: &Self, i: usize| {
            f.groups[i].space == space
                && (deps.contains(&i) || f.reads[i].intersection(&roots).next().is_some())
                && f.legal(i, &accesses)
                && f.acyclic(i, &deps)
        };
        match (0..self.groups.len()).rev().find(|i| fits(self, *i)) {
            Some(i) => self.join(i, v, deps, roots),
            None => self.new_group(v, space, deps, roots),
        }
    }

    fn place_element(&mut self, v: ValueId) {
        let candidates: Vec<usize> = (0..self.groups.len()).rev().collect();
        let mut best = None;
        for i in candidates {
            let Some(at) = coordinates_in(self.g, &self.groups[i].space, v) else {
                continue;
            };
            let accesses = self.accesses_within(v, &at);
            let roots: BTreeSet<ValueId> = accesses.iter().map(|a| a.0).collect();
            let deps = self.groups_of(&roots);
            let related = deps.contains(&i) || self.reads[i].intersection(&roots).next().is_some();
            let epilogue = matches!(self.groups[i].space, Space::Contract(_)) && deps.contains(&i);
            let rows = matches!(self.groups[i].space, Space::Row(_)) && related;
            if (epilogue || rows) && self.legal(i, &accesses) && self.acyclic(i, &deps) {
                best = Some((i, deps, roots));
                break;
            }
        }
        match best {
            Some((i, deps, roots)) => self.join(i, v, deps, roots),
            None => {
                let shape = self.g.shape(v).to_vec();
                let at: Vec<Index> = (0..shape.len()).map(Index::axis).collect();
                let roots: BTreeSet<ValueId> = self.accesses_within(v, &at).iter().map(|a| a.0).collect();
                let deps = self.groups_of(&roots);
                self.new_group(v, Space::Row(shape), deps, roots);
            }
        }
    }

    fn new_group(&mut self, v: ValueId, space: Space, deps: BTreeSet<usize>, reads: BTreeSet<ValueId>) {
        let all = deps
            .iter()
            .flat_map(|d| self.reach[*d].iter().copied().chain([*d]))
            .collect();
        self.groups.push(Group {
            space,
            members: vec![v],
        });
        self.reach.push(all);
        self.reads.push(reads);
        self.group_of.insert(v, self.groups.len() - 1);
    }

    fn join(&mut self, i: usize, v: ValueId, deps: BTreeSet<usize>, reads: BTreeSet<ValueId>) {
        let mut all: BTreeSet<usize> = deps
            .iter()
            .flat_map(|d| self.reach[*d].iter().copied().chain([*d]))
            .collect();
        all.remove(&i);
        self.reach[i].extend(&all);
        for r in 0..self.reach.len() {
            if self.reach[r].contains(&i) {
                self.reach[r].extend(&all);
            }
        }
        self.reads[i].extend(reads);
        self.groups[i].members.push(v);
        self.group_of.insert(v, i);
    }

    /// Joining group `i` with these dependencies makes no group depend on itself.
    fn acyclic(&self, i: usize, deps: &BTreeSet<usize>) -> bool {
        deps.iter().all(|d| *d == i || !self.reach[*d].contains(&i))
    }

    /// Members of group `i` are read only at the group's own position.
    fn legal(&self, i: usize, accesses: &Accesses) -> bool {
        accesses
            .iter()
            .filter(|(w, _, _)| self.group_of.get(w) == Some(&i))
            .all(|(_, at, seen)| {
                let own = coordinates_in(self.g, &self.groups[i].space, *seen);
                own.is_some_and(|own| same_position(self.g.shape(*seen), &own, at))
            })
    }

    fn groups_of(&self, roots: &BTreeSet<ValueId>) -> BTreeSet<usize> {
        roots
            .iter()
            .filter_map(|w| self.group_of.get(&producer(self.g, *w)).copied())
            .collect()
    }

    fn roots(&self, v: ValueId) -> Vec<ValueId> {
        let at: Vec<Index> = (0..self.g.shape(v).len()).map(Index::axis).collect();
        self.accesses(v, &at).into_iter().map(|a| a.0).collect()
    }

    /// What reading an element of `v` reads.
    fn accesses(&self, v: ValueId, at: &[Index]) -> Accesses {
        self.record(v, at, None)
    }

    /// What computing an element of `v` reads, though `v` itself has a place.
    fn accesses_within(&self, v: ValueId, at: &[Index]) -> Accesses {
        self.record(v, at, Some(v))
    }

    fn record(&self, v: ValueId, at: &[Index], open: Option<ValueId>) -> Accesses {
        let mut record = Record {
            g: self.g,
            in_memory: &self.in_memory,
            open,
            accesses: vec![],
        };
        element(self.g, &mut Values::default(), &mut record, v, at, None);
        record.accesses
    }

    /// Orders the groups and finds what is read from outside its group.
    fn finish(self) -> Fused {
        let order = order::execution(&self);
        let mut read = BTreeSet::new();
        for (i, reads) in self.reads.iter().enumerate() {
            // A member read at another position than its own would be illegal, so own reads need no memory.
            read.extend(reads.iter().filter(|w| self.group_of.get(w) != Some(&i)));
        }
        let outputs = self.g.outputs.iter().map(|(_, v)| root(self.g, *v));
        let stored: BTreeSet<ValueId> = read.iter().copied().chain(outputs).collect();
        let mut position = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            position[*old] = new;
        }
        let group_of = self.group_of.iter().map(|(v, i)| (*v, position[*i])).collect();
        let mut groups: Vec<Group> = order.iter().map(|i| self.groups[*i].clone()).collect();
        for group in &mut groups {
            group.members.sort();
        }
        let body = |(i, node): (usize, &Node)| match &node.op {
            Op::Repeat(r) => Some((ValueId(i), fuse(&r.body, self.sizes))),
            _ => None,
        };
        Fused {
            bodies: self.g.nodes.iter().enumerate().filter_map(body).collect(),
            groups,
            group_of,
            stored,
            read,
        }
    }
}

/// The node that computes a value: the one `get` reads, or the value's own.
pub fn producer(g: &Graph, v: ValueId) -> ValueId {
    if matches!(g.node(v).op, Op::Get(_)) {
        g.node(v).args[0]
    } else {
        v
    }
}

/// Equal coordinates, where an axis of size 1 has one position however it is written.
pub fn same_position(shape: &[Dim], a: &[Index], b: &[Index]) -> bool {
    shape
        .iter()
        .zip(a.iter().zip(b))
        .all(|(d, (x, y))| d.is_one() || x == y)
}

/// Stops at values that have a place, noting where they are read.
struct Record<'a> {
    g: &'a Graph,
    in_memory: &'a [bool],
    open: Option<ValueId>,
    accesses: Accesses,
}

impl Resolve for Record<'_> {
    fn resolve(&mut self, out: &mut Values, v: ValueId, at: &[Index], _: Option<ValId>) -> Option<ValId> {
        let w = root(self.g, v);
        if !self.in_memory[w.0] || self.open == Some(w) {
            return None;
        }
        self.accesses.push((w, at.to_vec(), v));
        // Distinct stand-ins, typed as the value is, so that nothing collapses that would not collapse later.
        let index = Index {
            base: Dim::from(self.accesses.len() as i64),
            terms: vec![],
        };
        let dtype_slot = if self.g.ty(v).dtype == DType::I32 { 1 } else { 0 };
        Some(out.push(Value::Load {
            slot: dtype_slot,
            index,
            guard: None,
        }))
    }
    fn seed_slot(&mut self, v: ValueId) -> usize {
        self.accesses.push((root(self.g, v), vec![], v));
        0
    }
}
