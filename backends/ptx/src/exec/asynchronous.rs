//! What works beside the threads: which family an instruction belongs to, and what a warpgroup does together.

use super::block::Block;
use super::warp::{Event, FULL, Warp};
use super::wgmma;
use crate::asynchronous::Async;
use crate::fault::{FaultKind, Raised, Run, raise};
use crate::op::Op;
use crate::order::GROUP;

impl Warp {
    /// Executes an instruction in the lanes of `mask`, which is not empty. An event says that the warp cannot go on yet.
    pub fn asynchronous(&mut self, op: &Async, mask: u32, block: &mut Block<'_>) -> Run<Option<Event>> {
        match op {
            Async::Barrier(op) => return self.barrier(op, mask, block),
            Async::Load(op) => self.tensor_load(op, mask, block)?,
            Async::Proxy => block.shared.history.order.fence_proxy(self.index, mask),
            Async::Multiply(_) | Async::Registers { .. } => {
                self.aligned_group(mask, block)?;
                return Ok(Some(Event::Group));
            }
            Async::Fence => {
                self.aligned_group(mask, block)?;
                self.fence_products();
            }
            Async::Commit => {
                self.aligned_group(mask, block)?;
                self.commit_products();
            }
            Async::Wait { pending } => {
                self.aligned_group(mask, block)?;
                self.wait_products(*pending, block);
            }
        }
        self.pc += 1;
        Ok(None)
    }

    fn aligned_group(&self, mask: u32, block: &Block<'_>) -> Run<()> {
        if (self.index as usize / GROUP + 1) * GROUP > block.warps {
            return raise(0, FaultKind::NoWarpgroup);
        }
        if mask == FULL {
            return Ok(());
        }
        let lane = (!mask).trailing_zeros() as usize;
        let (required, active) = (FULL, mask);
        raise(lane, FaultKind::NotConverged { required, active })
    }
}

/// Executes the instruction that all warps of a warpgroup are at; false if it has to wait.
pub fn together(warps: &mut [Warp], block: &mut Block<'_>) -> Result<bool, (usize, Box<Raised>)> {
    let Op::Async(op) = &block.kernel.code[warps[0].pc as usize].op else {
        return Ok(true);
    };
    match &**op {
        Async::Multiply(op) => {
            block.shared.history.at = warps[0].pc;
            wgmma::multiply(op, warps, block)?;
            Ok(true)
        }
        Async::Registers { count, more } => registers(*count, *more, warps, block),
        _ => Ok(true),
    }
}

/// `setmaxnreg`: takes registers from the block's, or gives some back.
fn registers(count: u32, more: bool, warps: &mut [Warp], block: &mut Block<'_>) -> Result<bool, (usize, Box<Raised>)> {
    let now = warps[0].registers;
    if (more && count < now) || (!more && count > now) {
        let kind = FaultKind::Registers { now, count };
        return Err((0, Box::new(Raised { lane: 0, kind })));
    }
    let change = i64::from(count) - i64::from(now);
    let change = change * warps.len() as i64;
    if change > block.registers_left {
        return Ok(false);
    }
    block.registers_left -= change;
    block.mbarriers.changes += 1;
    for warp in warps {
        warp.registers = count;
        warp.pc += 1;
    }
    Ok(true)
}
