//! Updates of several ranks at once, with sums of their gradients.

use super::{Options, median, update};
use crate::error::Error;
use crate::exec::program::ranges;
use crate::session::{Session, Tensor};
use ir::artifact::Program;
use serde::Serialize;
use std::time::Instant;

/// What sums cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Together {
    pub ranks: usize,
    /// Seconds of an update without sums, all ranks at work: the slowest rank's median.
    pub alone_s: f64,
    /// The same with sums.
    pub together_s: f64,
    /// Seconds from the end of a rank's gradients to the sum of all: the median of the rank that waits least.
    pub sum_s: f64,
    /// Bytes of the gradients.
    pub gradient_bytes: usize,
    /// `alone_s` by `together_s`.
    pub efficiency: f64,
}

impl Together {
    /// Every rank comes here.
    pub fn measure(
        session: &mut dyn Session,
        (program, inputs): (&Program, &[(&str, &Tensor)]),
        options: &Options,
        alone: f64,
    ) -> Result<Together, Error> {
        let ranks = &options.ranks;
        session.join(ranks)?;
        let ranges = ranges(session.artifact(), &program.name)?;
        let gradient_bytes = ranges.iter().map(|(_, length)| 4 * length).sum();
        let (mut whole, mut sums) = (vec![], vec![]);
        for run in 0..=options.runs {
            // All begin at once.
            ranks.gather(0u8)?;
            let start = Instant::now();
            let mut of_sums = 0.0;
            let mut sum = |session: &mut dyn Session| -> Result<(), Error> {
                let begun = Instant::now();
                if !session.sum_here(&ranges)? {
                    let grads = session.grads()?;
                    for (start, length) in &ranges {
                        ranks.sum(&mut grads[*start..start + length])?;
                    }
                }
                of_sums = begun.elapsed().as_secs_f64();
                Ok(())
            };
            update(session, &program.name, inputs, run as u64 + 1, &mut sum)?;
            // The first warms up.
            if run > 0 {
                whole.push(start.elapsed().as_secs_f64());
                sums.push(of_sums);
            }
        }
        let own = (alone, median(&mut whole), median(&mut sums));
        let all = ranks.gather(own)?;
        let alone_s = all.iter().map(|a| a.0).fold(0.0, f64::max);
        let together_s = all.iter().map(|a| a.1).fold(0.0, f64::max);
        Ok(Together {
            ranks: ranks.size(),
            alone_s,
            together_s,
            sum_s: all.iter().map(|a| a.2).fold(f64::INFINITY, f64::min),
            gradient_bytes,
            efficiency: alone_s / together_s,
        })
    }

    pub fn text(&self) -> String {
        format!(
            "{} ranks: {:.4} s without sums, {:.4} s with them ({:.4} s for {:.1} MB of gradients): efficiency {:.0} %",
            self.ranks,
            self.alone_s,
            self.together_s,
            self.sum_s,
            self.gradient_bytes as f64 / 1e6,
            100.0 * self.efficiency
        )
    }
}
