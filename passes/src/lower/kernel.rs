//! Collects the slots and values of one kernel while its elements are pulled out of the graph.

use super::Place;
use super::region::Region;
use crate::fuse::{producer, root};
use crate::scalar::{Resolve, Values, element};
use ir::artifact::{Launch, Step};
use ir::graph::ValueId;
use ir::kernel::{Access, Body, Index, Kernel, Slot, SlotDecl, Store, ValId, Value};
use ir::scalar::DType;
use std::collections::BTreeMap;

pub struct KernelBuilder<'r, 'g> {
    pub region: &'r Region<'g>,
    /// The group being emitted; its members are not loaded but computed.
    pub group: Option<usize>,
    /// Members that have a value here: reductions, the accumulator.
    pub known: BTreeMap<ValueId, Value>,
    /// Members that an earlier phase stored, which are loaded again.
    pub reload: Vec<ValueId>,
    pub values: Values,
    slots: Vec<SlotDecl>,
    places: Vec<Place>,
}

impl<'r, 'g> KernelBuilder<'r, 'g> {
    pub fn new(region: &'r Region<'g>, group: Option<usize>) -> Self {
        let (known, reload, slots, places) = (BTreeMap::new(), vec![], vec![], vec![]);
        KernelBuilder {
            region,
            group,
            known,
            reload,
            values: Values::default(),
            slots,
            places,
        }
    }

    /// The slot of a place; reading and writing one makes it `Update`.
    pub fn slot(&mut self, place: &Place, dtype: DType, access: Access) -> Slot {
        if let Some(i) = self.places.iter().position(|p| p == place) {
            if self.slots[i].access != access {
                self.slots[i].access = Access::Update;
            }
            return i;
        }
        self.places.push(place.clone());
        self.slots.push(SlotDecl { dtype, access });
        self.slots.len() - 1
    }

    /// A slot for a value in memory.
    pub fn read(&mut self, v: ValueId) -> Slot {
        let w = root(self.region.g, v);
        let place = self.region.place(w).clone();
        self.slot(&place, self.region.g.ty(w).dtype, Access::Read)
    }

    pub fn element(&mut self, v: ValueId, at: &[Index]) -> ValId {
        let mut values = std::mem::take(&mut self.values);
        let g = self.region.g;
        let id = element(g, &mut values, self, v, at, None);
        self.values = values;
        id
    }

    /// Stores of a member to every place it is wanted at.
    pub fn stores(&mut self, v: ValueId, at: &[Index], value: ValId) -> Vec<Store> {
        let ty = self.region.g.ty(v);
        let index = self.region.index(v, at);
        let mut all = vec![];
        for dest in self.region.dests(v) {
            let access = if dest.accumulate { Access::Update } else { Access::Write };
            let slot = self.slot(&dest.place, ty.dtype, access);
            all.push(Store {
                slot,
                index: index.clone(),
                value,
                accumulate: dest.accumulate,
            });
        }
        all
    }

    /// The launch of the finished kernel.
    pub fn launch(self, b: &mut super::Builder, name: &str, body: impl FnOnce(Vec<Value>) -> Body) -> Step {
        let kernel = Kernel {
            slots: self.slots,
            body: body(self.values.list),
        };
        if let Err(e) = ir::kernel_verify::verify(&kernel) {
            panic!("lowering built an invalid kernel: {e}\n{kernel:?}");
        }
        let kernel = b.kernels.add(name, kernel);
        Step::Launch(Launch {
            kernel,
            operands: self.places.iter().map(Place::operand).collect(),
        })
    }
}

impl Resolve for KernelBuilder<'_, '_> {
    fn resolve(&mut self, out: &mut Values, v: ValueId, at: &[Index], guard: Option<ValId>) -> Option<ValId> {
        let g = self.region.g;
        let w = root(g, v);
        if let Some(value) = self.known.get(&w) {
            return Some(out.push(value.clone()));
        }
        let own = self.group.is_some() && self.region.fused.group_of.get(&producer(g, w)).copied() == self.group;
        if own && !self.reload.contains(&w) {
            return None;
        }
        self.region.places.get(&w)?;
        let slot = self.read(w);
        let index = Index::linear(at, &g.ty(v).strides());
        Some(out.push(Value::Load { slot, index, guard }))
    }
    fn seed_slot(&mut self, v: ValueId) -> usize {
        self.read(v)
    }
}
