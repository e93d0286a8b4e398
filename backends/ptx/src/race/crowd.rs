//! Writes of one and the same value by several threads, which do not race with each other, but with the next writer.

use super::{History, Place, Touch, Writer};
use crate::fault::{FaultKind, RaceKind};
use std::ops::Range;

impl History {
    /// Keeps the writers that another write of the same value takes the place of.
    #[cold]
    pub(super) fn keep_crowd(&mut self, range: Range<usize>, who: Place, changes: bool) {
        for g in range {
            if changes {
                self.crowd.remove(&g);
                continue;
            }
            let writer = self.writers[g];
            let (agent, lane) = (usize::from(writer.agent), u32::from(writer.lane));
            let same = agent == who.warp as usize && lane == who.lane;
            if self.write_epochs[g] != self.epoch || same || self.order.ordered(agent, lane, writer.clock, who) {
                continue;
            }
            let crowd = self.crowd.entry(g).or_default();
            let one = |w: &&mut Writer| (w.agent, w.lane) == (writer.agent, writer.lane);
            match crowd.iter_mut().find(one) {
                Some(earlier) => *earlier = writer,
                None => crowd.push(writer),
            }
        }
    }

    /// A fault unless a write comes after all that wrote the value before.
    pub(super) fn check_crowd(&self, g: usize, who: Place, touch: Touch) -> Result<(), FaultKind> {
        let crowd = self.crowd.get(&g);
        crowd
            .into_iter()
            .flatten()
            .try_for_each(|writer| self.check_against(g, *writer, who, touch, RaceKind::WriteAfterWrite))
    }
}
