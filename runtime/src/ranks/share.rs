//! Which rank does which batch. Batches are numbered from where a training begins or goes on; an update has `group` of them.

/// A rank's share of numbered batches: of every group, those whose place in it leaves the rank when divided by the ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub rank: usize,
    pub ranks: usize,
    /// Batches of an update.
    pub group: u64,
}

impl Share {
    /// Who has all.
    pub const ALL: Share = Share {
        rank: 0,
        ranks: 1,
        group: 1,
    };

    pub fn has(&self, number: u64) -> bool {
        number % self.group % self.ranks as u64 == self.rank as u64
    }

    /// The first of its batches from this number on.
    pub fn next(&self, number: u64) -> u64 {
        (number..)
            .find(|n| self.has(*n))
            .expect("every group has one for each rank")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the number of ranks, every batch is someone's, and a group is spread as evenly as can be.
        #[test]
        fn shares_part_every_group(ranks in 1usize..9, more in 0u64..9, from in 0u64..50) {
            let group = ranks as u64 + more;
            let shares: Vec<Share> = (0..ranks).map(|rank| Share { rank, ranks, group }).collect();
            for number in from..from + 3 * group {
                prop_assert_eq!(shares.iter().filter(|s| s.has(number)).count(), 1);
            }
            for share in &shares {
                let own = (0..group).filter(|n| share.has(*n)).count() as u64;
                prop_assert!(own >= group / ranks as u64 && own <= group.div_ceil(ranks as u64));
                prop_assert!(share.has(share.next(from)) && share.next(from) < from + 2 * group);
            }
        }
    }
}
