//! Sums of gradients over ranks, their norm, and Adam: on every rank alike or, with `shard`, each rank on a part of its own.
//!
//! A part is a run of whole blocks of the norm in each trained range, so that norms and updates are the same bits either way. With
//! `shard` a rank has the moments of its part alone.

use super::Trainer;
use crate::error::Error;
use crate::exec::program::ranges;
use crate::ranks::{Pending, Ranks};
use crate::session::{AdamStep, NORM_BLOCK};
use crate::settings::Settings;

/// A trained range of the arenas: where it begins, and how much of it belongs to each rank.
pub(super) struct Range {
    pub start: usize,
    pub parts: Vec<usize>,
}

impl Range {
    fn len(&self) -> usize {
        self.parts.iter().sum()
    }

    /// How much of a stretch within the arenas is each rank's, where this range has all of it.
    fn within(&self, (start, length): (usize, usize)) -> Option<Vec<usize>> {
        let end = start + length;
        if start < self.start || end > self.start + self.len() {
            return None;
        }
        let of = |rank: usize| {
            let (own, n) = self.of(rank);
            end.min(own + n).saturating_sub(start.max(own))
        };
        Some((0..self.parts.len()).map(of).collect())
    }

    /// What a rank has of it: start and length in the arenas.
    fn of(&self, rank: usize) -> (usize, usize) {
        (self.start + self.parts[..rank].iter().sum::<usize>(), self.parts[rank])
    }
}

/// One sum over all ranks.
pub(super) struct Sum {
    /// Start and length in the arena.
    pub stretch: (usize, usize),
    /// Of each rank, where moments are shared.
    pub parts: Option<Vec<usize>>,
}

/// Whether sums begin while gradients are computed: on all ranks or on none, as the order of sums depends on it.
pub(super) fn overlap(ranks: &Ranks, settings: &Settings) -> Result<bool, Error> {
    let own = match settings.text("overlap") {
        Some("always") => ranks.several(),
        Some("never") => false,
        _ => ranks.spare_cores(),
    };
    Ok(ranks.gather(own)?.into_iter().all(|own| own))
}

impl Trainer<'_> {
    fn ranges(&self, program: &str) -> Result<Vec<Range>, Error> {
        let all = ranges(self.session.artifact(), program)?;
        let one = |(start, length)| Range {
            start,
            parts: self.ranks.parts(length, NORM_BLOCK),
        };
        Ok(all.into_iter().map(one).collect())
    }

    pub(super) fn shards(&self) -> Result<bool, Error> {
        Ok(self.ranks.several() && self.settings.flag("shard")?)
    }

    /// How gradients are summed, in this order on all ranks: whole ranges or, where sums begin while others are computed, stretches as
    /// they become final; each with its parts where ranks share the moments.
    pub(super) fn sums(&self, program: &str) -> Result<Vec<Sum>, Error> {
        let (ranges, shards) = (self.ranges(program)?, self.shards()?);
        let stretches = match self.overlap {
            true => self.session.points(program)?,
            false => ranges.iter().map(|range| (range.start, range.len())).collect(),
        };
        let one = |stretch: (usize, usize)| Sum {
            stretch,
            parts: match shards {
                true => ranges.iter().find_map(|range| range.within(stretch)),
                false => None,
            },
        };
        Ok(stretches.into_iter().map(one).collect())
    }

    /// Adds up the gradients of all ranks, those whose sums were not begun before; with `shard` each rank gets its part of the sums.
    pub(super) fn sum(&mut self, program: &str, begun: Vec<Pending>) -> Result<(), Error> {
        if !self.ranks.several() {
            return Ok(());
        }
        let sums = self.sums(program)?;
        let left = &sums[begun.len()..];
        self.ranks.wait(begun)?;
        // With parts or without, all of a sum is on every device.
        let stretches: Vec<(usize, usize)> = left.iter().map(|sum| sum.stretch).collect();
        if self.session.sum_here(&stretches)? {
            return Ok(());
        }
        if left.is_empty() {
            return Ok(());
        }
        let grads = self.session.grads()?;
        for Sum {
            stretch: (start, length),
            parts,
        } in left
        {
            let own = &mut grads[*start..start + length];
            match parts {
                Some(parts) => self.ranks.sum_parts(own, parts)?,
                None => self.ranks.sum(own)?,
            }
        }
        Ok(())
    }

    /// The norm of the summed gradients, times `scale`.
    pub(super) fn norm(&mut self, program: &str, scale: f32) -> Result<f64, Error> {
        if !self.shards()? {
            return Ok(self.session.grad_norm(program, scale)?.sqrt());
        }
        let rank = self.ranks.rank();
        let mut total = 0.0;
        for range in self.ranges(program)? {
            let own = match range.of(rank) {
                (_, 0) => vec![],
                own => self.session.squares(own)?,
            };
            // By rank is by block.
            let all = self.ranks.gather(own)?;
            total += all.iter().flatten().map(|s| *s as f64).sum::<f64>();
        }
        Ok((total * scale as f64 * scale as f64).sqrt())
    }

    /// Updates the parameters.
    pub(super) fn step(&mut self, program: &str, adam: &AdamStep) -> Result<(), Error> {
        if !self.shards()? {
            return self.session.adam(program, adam);
        }
        self.divide(program)?;
        let rank = self.ranks.rank();
        let ranges = self.ranges(program)?;
        for own in ranges
            .iter()
            .map(|range| range.of(rank))
            .filter(|(_, length)| *length > 0)
        {
            self.session.adam_over(own, adam)?;
        }
        let params = self.session.params()?;
        for range in ranges {
            let own = &mut params[range.start..range.start + range.len()];
            self.ranks.spread_parts(own, &range.parts)?;
        }
        Ok(())
    }

    /// Has moments divided as this program trains: where another was trained before, everyone gets all of them first.
    fn divide(&mut self, program: &str) -> Result<(), Error> {
        if self.divided_by.as_deref() == Some(program) {
            return Ok(());
        }
        if let Some(before) = self.divided_by.take() {
            let ranges = self.ranges(&before)?;
            let (first, second) = self.session.moments()?;
            for (range, moment) in ranges.iter().flat_map(|r| [(r, 0), (r, 1)]) {
                let moment = if moment == 0 { &mut *first } else { &mut *second };
                let own = &mut moment[range.start..range.start + range.len()];
                self.ranks.spread_parts(own, &range.parts)?;
            }
        }
        self.divided_by = Some(program.into());
        self.forget_others()
    }

    /// Lets go of the moments that other ranks have.
    pub(super) fn forget_others(&mut self) -> Result<(), Error> {
        let Some(program) = self.divided_by.clone() else {
            return Ok(());
        };
        let own = self.ranks.rank();
        for range in self.ranges(&program)? {
            for rank in (0..self.ranks.size()).filter(|rank| *rank != own) {
                self.session.forget_moments(range.of(rank));
            }
        }
        Ok(())
    }

    /// Has rank 0 hold all moments, to write them.
    pub(super) fn collect_moments(&mut self) -> Result<(), Error> {
        let Some(program) = self.divided_by.clone() else {
            return Ok(());
        };
        let ranges = self.ranges(&program)?;
        let (first, second) = self.session.moments()?;
        for range in ranges {
            for moment in [&mut *first, &mut *second] {
                let own = &mut moment[range.start..range.start + range.len()];
                self.ranks.collect_parts(own, &range.parts)?;
            }
        }
        Ok(())
    }
}
