//! Asynchronous copies to shared memory: data lands when it is waited for, not before.

use super::block::Block;
use super::memory::{lanes_of, resolve};
use super::warp::Warp;
use crate::fault::{FaultKind, Run, raise};
use crate::op::{Address, Copy, Reg};
use crate::race::Place;
use crate::shared::Shared;
use crate::syntax::Space;
use std::sync::atomic::Ordering::Relaxed;

/// A copy under way.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    lane: u8,
    words: u8,
    /// The lane's group it belongs to.
    group: u32,
    /// In shared memory.
    address: u64,
    data: [u32; 4],
}

/// The registers of a `cp.async`.
struct Start<'a> {
    to: &'a Address,
    from: &'a Address,
    bytes: u64,
    source: Option<Reg>,
    ignore: Option<Reg>,
}

impl Warp {
    /// Executes an instruction on asynchronous copies in the lanes of `mask`.
    pub fn copy(&mut self, copy: &Copy, mask: u32, block: &mut Block<'_>) -> Run<()> {
        match copy {
            Copy::Start {
                to,
                from,
                bytes,
                source,
                ignore,
            } => {
                let start = Start {
                    to,
                    from,
                    bytes: u64::from(*bytes),
                    source: *source,
                    ignore: *ignore,
                };
                return self.copy_start(&start, mask, block);
            }
            Copy::Commit => lanes_of(mask).for_each(|lane| self.groups[lane] += 1),
            Copy::Wait { pending } => {
                let open = self.groups.map(|committed| committed.saturating_sub(*pending));
                self.land(&mut block.shared, |copy| {
                    mask >> copy.lane & 1 == 1 && copy.group < open[usize::from(copy.lane)]
                });
            }
            Copy::WaitAll => self.land(&mut block.shared, |copy| mask >> copy.lane & 1 == 1),
        }
        Ok(())
    }

    fn copy_start(&mut self, start: &Start<'_>, mask: u32, block: &mut Block<'_>) -> Run<()> {
        let (to, from, bytes) = (self.addresses(start.to), self.addresses(start.from), start.bytes);
        block.shared.history.at = self.pc;
        for lane in lanes_of(mask) {
            let (_, address) = resolve(Space::Shared, to[lane]);
            let note = |result: Result<(), FaultKind>| result.or_else(|kind| raise(lane, kind));
            note(block.shared.check(address, bytes, true))?;
            if from[lane] & (bytes - 1) != 0 {
                return raise(
                    lane,
                    FaultKind::Misaligned {
                        space: Space::Global,
                        address: from[lane],
                        bytes,
                    },
                );
            }
            let ignored = start
                .ignore
                .is_some_and(|p| self.predicates[usize::from(p)] >> lane & 1 == 1);
            let wanted = match start.source {
                _ if ignored => 0,
                Some(source) => u64::from(self.get32(source)[lane]).min(bytes),
                None => bytes,
            };
            let mut data = [0; 4];
            if wanted > 0 {
                let hint = &mut block.hints[self.pc as usize];
                let span = block
                    .view
                    .span(hint, from[lane], wanted, false)
                    .or_else(|kind| raise(lane, kind))?;
                for (to, word) in data.iter_mut().zip(span.words(from[lane], wanted.div_ceil(4) as usize)) {
                    *to = word.load(Relaxed);
                }
                if wanted % 4 != 0 {
                    data[wanted as usize / 4] &= (1 << (8 * (wanted % 4))) - 1;
                }
            }
            note(block.shared.history.pending(address, bytes, self.place(lane)))?;
            let group = self.groups[lane];
            self.pending.push(Pending {
                lane: lane as u8,
                words: (bytes / 4) as u8,
                group,
                address,
                data,
            });
        }
        Ok(())
    }

    /// Lands the copies that are done, in the order in which they were started.
    fn land(&mut self, shared: &mut Shared, done: impl Fn(&Pending) -> bool) {
        let index = self.index;
        self.pending.retain(|copy| {
            let lands = done(copy);
            if lands {
                let place = Place {
                    warp: index,
                    lane: u32::from(copy.lane),
                };
                shared.land(copy.address, &copy.data[..usize::from(copy.words)], place);
            }
            !lands
        });
    }

    /// Lands all that is left when the block ends.
    pub fn land_all(&mut self, shared: &mut Shared) {
        self.land(shared, |_| true);
    }
}
