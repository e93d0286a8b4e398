//! Instructions of Hopper, as PTX: barriers in shared memory, copies of boxes, products of four warps.
//!
//! Addresses in shared memory are i32. MLIR has operations for some of these; here are all of them, in one form.

use crate::arith::Cmp;
use crate::builder::{Builder, Scalar, Ty, V};

/// An operand of a product in shared memory, as the instruction finds its elements.
#[derive(Clone, Copy)]
pub struct Descriptor<'c> {
    /// The descriptor of its first 16 positions along the sum, i64.
    pub first: V<'c>,
    /// From there to the next 16, in its own units.
    pub step: i64,
    /// Whether its rows lie along m or n, and not along the sum.
    pub transposed: bool,
}

impl<'c> Builder<'c> {
    /// An address in shared memory as i32.
    pub fn shared_address(&self, address: V<'c>) -> V<'c> {
        self.op("llvm.ptrtoint", &[address], Ty::I32)
    }

    /// Makes a barrier for so many arrivals per phase.
    pub fn init_barrier(&self, barrier: V<'c>, arrivals: u32) {
        let text = format!("mbarrier.init.shared.b64 [$0], {arrivals};");
        self.asm(&text, "r", &[barrier], None);
    }

    /// Lets copies that are started later, and the other threads once they have met, see barriers that were made.
    pub fn publish_barriers(&self) {
        let text = "fence.mbarrier_init.release.cluster;\n\tfence.proxy.async.shared::cta;";
        self.asm(text, "", &[], None);
    }

    /// Arrives where the condition holds.
    pub fn arrive(&self, barrier: V<'c>, condition: V<'c>) {
        let text = "@$1 mbarrier.arrive.shared.b64 _, [$0];";
        self.asm(text, "r,b", &[barrier, condition], None);
    }

    /// Arrives, and announces copies of so many bytes that the phase has to wait for.
    pub fn arrive_with_copies(&self, barrier: V<'c>, bytes: u32) {
        let text = format!("mbarrier.arrive.expect_tx.shared.b64 _, [$0], {bytes};");
        self.asm(&text, "r", &[barrier], None);
    }

    /// Waits until the phase with this parity (i32) is over. Before the first phase that counts as true of parity 1.
    pub fn await_phase(&self, barrier: V<'c>, parity: V<'c>) {
        let text = "mbarrier.try_wait.parity.shared.b64 $0, [$1], $2;";
        self.repeat_while(&[], |_| {
            let over = self.asm(text, "=b,r,r", &[barrier, parity], Some(Ty::I1));
            let over = over.expect("it has a result");
            (self.xor(over, self.truth(true)), vec![])
        });
    }

    /// Brings a tensor map close.
    pub fn prefetch_map(&self, map: V<'c>) {
        self.asm("prefetch.tensormap [$0];", "l", &[map], None);
    }

    /// Begins to copy the box at these coordinates (i32, innermost first) to shared memory; its bytes count for the barrier.
    pub fn copy_box(&self, to: V<'c>, map: V<'c>, coordinates: &[V<'c>], barrier: V<'c>) {
        let count = coordinates.len();
        let places: Vec<String> = (0..count).map(|i| format!("${}", i + 3)).collect();
        let text = format!(
            "cp.async.bulk.tensor.{count}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [$0], [$1, {{{}}}], [$2];",
            places.join(", ")
        );
        let operands: Vec<V> = [to, map, barrier].iter().chain(coordinates).copied().collect();
        let constraints = format!("r,l,r{}", ",r".repeat(count));
        self.asm(&text, &constraints, &operands, None);
    }

    /// Begins to add the products of `steps` times 16 positions along the sum: 64 rows of `a`, `columns` columns of `b`. The
    /// sums may not be touched before [`Builder::await_products`].
    pub fn multiply_shared(
        &self,
        (a, b): (Descriptor<'c>, Descriptor<'c>),
        (columns, steps): (u32, u32),
        sums: &[V<'c>],
    ) -> Vec<V<'c>> {
        let count = sums.len();
        // Results come first, then the sums that go in with them.
        let registers: Vec<String> = (0..count).map(|i| format!("${i}")).collect();
        let registers = registers.join(", ");
        let mut text = String::from("wgmma.fence.sync.aligned;\n\t");
        let mut operands = sums.to_vec();
        for step in 0..steps {
            let at = 2 * count + 2 * step as usize;
            text += &format!(
                "wgmma.mma_async.sync.aligned.m64n{columns}k16.f32.bf16.bf16 {{{registers}}}, ${at}, ${}, ${}, 1, 1, {}, {};\n\t",
                at + 1,
                2 * count + 2 * steps as usize,
                i32::from(a.transposed),
                i32::from(b.transposed),
            );
            operands.extend([a, b].map(|d| self.add(d.first, self.i64(d.step * step as i64))));
        }
        text += "wgmma.commit_group.sync.aligned;";
        // Adds to what is there.
        operands.push(self.truth(true));
        let tied: Vec<String> = (0..count).map(|i| i.to_string()).collect();
        let constraints = [
            vec!["=f".to_string(); count],
            tied,
            vec!["l".into(); 2 * steps as usize],
            vec!["b".into()],
        ];
        let ty = Ty::Struct(Scalar::F32, count as u32);
        let sums = self.asm(&text, &constraints.concat().join(","), &operands, Some(ty));
        let sums = sums.expect("it has a result");
        (0..count).map(|i| self.field(sums, i as u32)).collect()
    }

    /// Waits until at most the `pending` latest products of this warp are under way, which leaves the sums where they are.
    pub fn await_products(&self, pending: u32) {
        self.asm(&format!("wgmma.wait_group.sync.aligned {pending};"), "", &[], None);
    }

    /// Waits for all products, after which the sums are there.
    pub fn finish_products(&self, sums: &[V<'c>]) -> Vec<V<'c>> {
        let count = sums.len();
        let tied: Vec<String> = (0..count).map(|i| i.to_string()).collect();
        let constraints = [vec!["=f".to_string(); count], tied].concat().join(",");
        let ty = Ty::Struct(Scalar::F32, count as u32);
        let sums = self.asm("wgmma.wait_group.sync.aligned 0;", &constraints, sums, Some(ty));
        let sums = sums.expect("it has a result");
        (0..count).map(|i| self.field(sums, i as u32)).collect()
    }

    /// Changes how many registers the threads of this group of four warps have.
    pub fn set_registers(&self, count: u32, more: bool) {
        let action = if more { "inc" } else { "dec" };
        let name = format!("llvm.nvvm.setmaxnreg.{action}.sync.aligned.u32");
        self.call(&name, &[self.i32(count as i32)]);
    }

    /// Waits for the first `threads` threads of the block, whatever the others do.
    pub fn barrier_of(&self, threads: u32) {
        // Barrier 0 is that of all.
        let operands = [self.i32(1), self.i32(threads as i32)];
        self.call("llvm.nvvm.barrier.cta.sync.aligned.count", &operands);
    }

    /// The number of this thread's warp in its block, in a form that is visibly the same for the whole warp.
    pub fn uniform_warp(&self) -> V<'c> {
        let own = self.lshr(self.thread(), 5);
        let operands = [self.i32(-1), own, self.i32(0), self.i32(0x1f)];
        self.op_with(
            "nvvm.shfl.sync",
            &operands,
            Ty::I32,
            &[("kind", "#nvvm<shfl_kind idx>")],
        )
    }

    /// The stage and the parity after these, of so many stages.
    pub fn next_stage(&self, stage: V<'c>, parity: V<'c>, stages: u32) -> (V<'c>, V<'c>) {
        let next = self.add(stage, self.i32(1));
        let over = self.cmp(Cmp::Eq, next, self.i32(stages as i32));
        let turned = self.xor(parity, self.i32(1));
        (self.select(over, self.i32(0), next), self.select(over, turned, parity))
    }
}
