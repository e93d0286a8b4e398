//! Learning rates, and what else falls in the course of training, as functions of the number of updates done.

use crate::error::Error;
use crate::settings::Settings;
use ir::task;

/// A task's learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    Constant { peak: f64 },
    WarmupLinear { peak: f64, warmup: u64, total: u64 },
    TriStage(TriStage),
}

impl Schedule {
    /// # Errors
    /// Where stages take more than all updates.
    pub fn bind(declared: &task::Schedule, settings: &Settings, total: u64) -> Result<Schedule, Error> {
        Ok(match declared {
            task::Schedule::Constant { peak } => Schedule::Constant {
                peak: settings.amount(peak)?,
            },
            task::Schedule::WarmupLinear { peak, warmup } => Schedule::WarmupLinear {
                peak: settings.amount(peak)?,
                warmup: settings.whole(warmup)?,
                total,
            },
            task::Schedule::TriStage {
                peak,
                rise,
                hold,
                fall,
                start,
                end,
            } => {
                let shares = [settings.amount(rise)?, settings.amount(hold)?, settings.amount(fall)?];
                let sum: f64 = shares.iter().sum();
                if sum > 1.0 + 1e-9 {
                    let names = [rise, hold, fall].map(crate::settings::name_of).join(", ");
                    let what = format!("{names} together are {sum}, and there is 1 to share out");
                    return Err(Error::Setting(what));
                }
                Schedule::TriStage(TriStage {
                    peak: settings.amount(peak)?,
                    total,
                    shares,
                    start: settings.amount(start)?,
                    end: settings.amount(end)?,
                })
            }
        })
    }

    pub fn at(&self, update: u64) -> f64 {
        match *self {
            Schedule::Constant { peak } => peak,
            Schedule::WarmupLinear { peak, warmup, total } => linear(peak, warmup, total, update),
            Schedule::TriStage(stages) => stages.at(update),
        }
    }

    /// Updates of rising rate, where that is a number of updates.
    pub fn warmup(&self) -> u64 {
        match *self {
            Schedule::WarmupLinear { warmup, .. } => warmup,
            _ => 0,
        }
    }
}

/// Linear warm-up from `peak/warmup`, then linear decay to 0 at `total` (fairseq's polynomial decay of power 1).
pub fn linear(peak: f64, warmup: u64, total: u64, done: u64) -> f64 {
    if warmup > 0 && done <= warmup {
        peak * done.max(1) as f64 / warmup as f64
    } else if done >= total {
        0.0
    } else {
        peak * (total - done) as f64 / (total - warmup) as f64
    }
}

/// Three stages: rise, hold, fall.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TriStage {
    pub peak: f64,
    pub total: u64,
    /// Shares of `total`: linear rise, constant, exponential fall.
    pub shares: [f64; 3],
    /// First and last rate, as shares of `peak`.
    pub start: f64,
    pub end: f64,
}

impl TriStage {
    pub fn at(&self, done: u64) -> f64 {
        let [rise, hold, fall] = self.shares.map(|s| (self.total as f64 * s) as u64);
        if done < rise {
            self.peak * (self.start + (1.0 - self.start) * done as f64 / rise as f64)
        } else if done < rise + hold {
            self.peak
        } else if done < rise + hold + fall {
            self.peak * (self.end.ln() * (done - rise - hold) as f64 / fall as f64).exp()
        } else {
            self.peak * self.end
        }
    }
}

/// `max(start * factor^done, floor)`.
pub fn decay(start: f64, factor: f64, floor: f64, done: u64) -> f64 {
    (start * factor.powf(done as f64)).max(floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_rises_to_the_peak_and_falls_to_zero() {
        let lr = |n| linear(5e-4, 32_000, 400_000, n);
        assert_eq!(lr(0), 5e-4 / 32_000.0);
        assert_eq!(lr(32_000), 5e-4);
        assert!((lr(216_000) - 2.5e-4).abs() < 1e-12);
        assert_eq!(lr(400_000), 0.0);
        assert_eq!(linear(1.0, 0, 4, 0), 1.0);
    }

    #[test]
    fn tri_stage_has_its_corners() {
        let s = TriStage {
            peak: 2.0,
            total: 100,
            shares: [0.1, 0.4, 0.5],
            start: 0.01,
            end: 0.05,
        };
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        near(s.at(0), 0.02);
        near(s.at(5), 2.0 * (0.01 + 0.99 * 0.5));
        near(s.at(10), 2.0);
        near(s.at(50), 2.0);
        near(s.at(75), 2.0 * 0.05f64.sqrt());
        near(s.at(100), 0.1);
    }

    #[test]
    fn a_decay_stops_at_its_floor() {
        assert_eq!(decay(2.0, 0.999995, 0.5, 0), 2.0);
        assert!((decay(2.0, 0.999995, 0.5, 100_000) - 2.0 * (-0.500_001_25f64).exp()).abs() < 1e-6);
        assert_eq!(decay(2.0, 0.999995, 0.5, 1_000_000), 0.5);
    }
}
