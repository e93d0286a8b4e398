//! Instructions among the lanes of a warp: shuffles, votes, reductions.

use super::block::Block;
use super::memory::lanes_of;
use super::warp::Warp;
use crate::fault::{FaultKind, Run, raise};
use crate::lanes::{Lanes, WARP};
use crate::op::{Redux, Reg, Shuffle, Vote, Warp as WarpOp};

/// The lane a shuffle reads and whether it is in range: PTX ISA, `shfl.sync`.
///
/// `b` is the lane offset or index, `c` holds the clamp in bits 0-4 and the segment mask in bits 8-12.
pub fn source_lane(mode: Shuffle, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let (b, clamp, segment) = (b & 31, c & 31, c >> 8 & 31);
    let (max, min) = ((lane & segment) | (clamp & !segment), lane & segment);
    let (from, valid) = match mode {
        Shuffle::Up => {
            let from = lane.wrapping_sub(b);
            (from, from as i32 >= max as i32)
        }
        Shuffle::Down => (lane + b, lane + b <= max),
        Shuffle::Butterfly => (lane ^ b, lane ^ b <= max),
        Shuffle::Index => {
            let from = min | (b & !segment);
            (from, from <= max)
        }
    };
    (if valid { from } else { lane }, valid)
}

impl Warp {
    /// The members' mask of the lanes at this instruction; all of them must be here.
    fn members(&self, reg: Reg, mask: u32) -> Run<u32> {
        let masks = *self.get32(reg);
        for lane in lanes_of(mask) {
            self.converged(mask, masks[lane])?;
            if masks[lane] >> lane & 1 == 0 {
                return raise(
                    lane,
                    FaultKind::NotConverged {
                        required: 1 << lane,
                        active: masks[lane],
                    },
                );
            }
        }
        Ok(masks[mask.trailing_zeros() as usize])
    }

    /// Executes an instruction among lanes.
    pub fn cooperate(&mut self, op: &WarpOp, mask: u32, block: &mut Block<'_>) -> Run<()> {
        match op {
            WarpOp::Shuffle {
                mode,
                to,
                valid,
                a,
                b,
                c,
                members,
            } => {
                self.members(*members, mask)?;
                self.shuffle(*mode, mask, [*to, *a, *b, *c], *valid)?;
            }
            WarpOp::Vote {
                mode,
                to,
                a,
                flip,
                members,
            } => {
                let members = self.members(*members, mask)? & mask;
                let votes = (self.predicates[usize::from(*a)] ^ flip) & members;
                let holds = match mode {
                    Vote::All => votes == members,
                    Vote::Any => votes != 0,
                    Vote::Uniform => votes == members || votes == 0,
                };
                self.set_predicate(*to, mask, if holds { u32::MAX } else { 0 });
            }
            WarpOp::Ballot { to, a, flip, members } => {
                let members = self.members(*members, mask)? & mask;
                let votes = (self.predicates[usize::from(*a)] ^ flip) & members;
                self.set32(*to, mask, &[votes; WARP]);
            }
            WarpOp::ActiveMask { to } => self.set32(*to, mask, &[mask; WARP]),
            WarpOp::Redux { op, to, a, members } => {
                let members = self.members(*members, mask)? & mask;
                let value = redux(*op, self.get32(*a), members);
                self.set32(*to, mask, &[value; WARP]);
            }
            WarpOp::MatchAny { to, a, wide, members } => {
                let members = self.members(*members, mask)? & mask;
                let values: Lanes<u64> = match wide {
                    true => *self.get64(*a),
                    false => self.get32(*a).map(u64::from),
                };
                let mut value = [0; WARP];
                for (lane, v) in value.iter_mut().enumerate() {
                    let same = lanes_of(members).filter(|&other| values[other] == values[lane]);
                    *v = same.fold(0, |mask, other| mask | 1 << other);
                }
                self.set32(*to, mask, &value);
            }
            WarpOp::Elect { to, leader, members } => {
                let members = self.members(*members, mask)? & mask;
                let lane = members.trailing_zeros();
                if let Some(to) = to {
                    self.set32(*to, mask, &[lane; WARP]);
                }
                self.set_predicate(*leader, mask, 1 << lane);
            }
            WarpOp::Sync { members } => {
                let members = self.members(*members, mask)?;
                // A barrier of some lanes orders only those; what it leaves out is reported rather than missed.
                if members & self.initial & !self.exited == self.initial & !self.exited {
                    block.shared.history.order.warp_barrier(self.index);
                }
            }
        }
        Ok(())
    }

    fn shuffle(&mut self, mode: Shuffle, mask: u32, [to, a, b, c]: [Reg; 4], valid: Option<Reg>) -> Run<()> {
        let (a, b, c) = (self.get32(a), self.get32(b), self.get32(c));
        let (mut value, mut in_range) = ([0; WARP], 0);
        for lane in lanes_of(mask) {
            let (from, ok) = source_lane(mode, lane as u32, b[lane], c[lane]);
            if mask >> from & 1 == 0 {
                return raise(lane, FaultKind::InactiveLane { lane: from });
            }
            value[lane] = a[from as usize];
            in_range |= u32::from(ok) << lane;
        }
        self.set32(to, mask, &value);
        if let Some(valid) = valid {
            self.set_predicate(valid, mask, in_range);
        }
        Ok(())
    }
}

fn redux(op: Redux, values: &Lanes<u32>, members: u32) -> u32 {
    let lanes = lanes_of(members).map(|lane| values[lane]);
    let signed = lanes_of(members).map(|lane| values[lane] as i32);
    match op {
        Redux::Add => lanes.fold(0, u32::wrapping_add),
        Redux::MinUnsigned => lanes.fold(u32::MAX, u32::min),
        Redux::MaxUnsigned => lanes.fold(0, u32::max),
        Redux::MinSigned => signed.fold(i32::MAX, i32::min) as u32,
        Redux::MaxSigned => signed.fold(i32::MIN, i32::max) as u32,
        Redux::And => lanes.fold(u32::MAX, |a, b| a & b),
        Redux::Or => lanes.fold(0, |a, b| a | b),
        Redux::Xor => lanes.fold(0, |a, b| a ^ b),
    }
}
