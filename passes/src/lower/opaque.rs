//! Ops that become one kernel each.

use super::kernel::KernelBuilder;
use super::region::Region;
use super::{Builder, LowerError};
use crate::fuse::{root, strided};
use ir::artifact::Step;
use ir::dim::Dim;
use ir::graph::ValueId;
use ir::kernel::{Access, Slot};
use ir::lower::{Bind, KernelFn, NotInMemory, View};
use ir::types::Type;

/// The launch of the kernel that node `v` is.
pub fn emit(region: &Region, b: &mut Builder, v: ValueId, build: KernelFn) -> Result<Step, LowerError> {
    let mut slots = Slots {
        kernel: KernelBuilder::new(region, None),
        v,
    };
    let node = region.g.node(v);
    let body = build(&mut slots).map_err(|NotInMemory { operand }| LowerError::Unsupported {
        op: node.op.name().into(),
        types: region.g.ty(node.args[operand]).to_string(),
        why: "an operand is not in memory".into(),
    })?;
    Ok(slots.kernel.launch(b, body.kind(), |_| body))
}

/// The slots of the operands and results of a node.
struct Slots<'r, 'g> {
    kernel: KernelBuilder<'r, 'g>,
    v: ValueId,
}

impl Slots<'_, '_> {
    fn arg(&self, i: usize) -> ValueId {
        self.kernel.region.g.node(self.v).args[i]
    }
}

impl Bind for Slots<'_, '_> {
    fn arg_type(&self, i: usize) -> Type {
        self.kernel.region.g.ty(self.arg(i)).clone()
    }

    fn result_type(&self, i: usize) -> Type {
        self.kernel.region.g.node(self.v).types[i].clone()
    }

    fn read(&mut self, i: usize) -> Slot {
        let v = root(self.kernel.region.g, self.arg(i));
        self.kernel.read(v)
    }

    fn read_rows(&mut self, i: usize) -> Result<View, NotInMemory> {
        let region = self.kernel.region;
        let in_memory: Vec<bool> = (0..region.g.nodes.len())
            .map(|i| region.places.contains_key(&ValueId(i)))
            .collect();
        let view = strided(region.g, &in_memory, self.arg(i))
            .filter(|s| s.strides.last().is_some_and(Dim::is_one))
            .ok_or(NotInMemory { operand: i })?;
        Ok(View {
            slot: self.kernel.read(view.of),
            base: view.base,
            strides: view.strides,
        })
    }

    fn write(&mut self, i: usize) -> Slot {
        let region = self.kernel.region;
        let place = region.result_place(self.v, i).clone();
        self.kernel
            .slot(&place, region.g.node(self.v).types[i].dtype, Access::Write)
    }
}
