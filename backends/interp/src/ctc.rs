//! Connectionist temporal classification by forward and backward log-probabilities (Graves et al. 2006, section 4).

use crate::Error;
use crate::memory::Slots;
use ir::dim::Env;
use ir::kernel::Ctc;

fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY {
        high
    } else {
        high + (low - high).exp().ln_1p()
    }
}

pub fn run(c: &Ctc, memory: &mut Slots, sizes: &Env) -> Result<(), Error> {
    let (time, vocab) = (c.time.eval(sizes)?, c.vocab.eval(sizes)?);
    let labels = c.labels.eval(sizes)?;
    for b in 0..c.batch.eval(sizes)? {
        let length = (memory.load(c.lengths, b)? as i64).clamp(0, time);
        let mut path = vec![0]; // labels with blanks around them
        for l in 0..labels {
            let label = memory.load(c.label_ids, b * labels + l)? as i64;
            if (1..vocab).contains(&label) {
                path.extend([label, 0]);
            }
        }
        let at = |t: i64, v: i64| (b * time + t) * vocab + v;
        let mut emit = Vec::new(); // log-probability of the path's symbols at each time
        for t in 0..length {
            let row = path.iter().map(|v| memory.load(c.log_probs, at(t, *v)));
            emit.push(row.collect::<Result<Vec<f64>, Error>>()?);
        }
        let log_p = Lattice::new(&path, &emit);
        let loss = if log_p.total == f64::NEG_INFINITY {
            0.0
        } else {
            -log_p.total
        };
        memory.store(c.loss, b, loss)?;
        for t in 0..time {
            let mut grad = vec![0.0; vocab as usize];
            if t < length && log_p.total > f64::NEG_INFINITY {
                for (s, v) in path.iter().enumerate() {
                    grad[*v as usize] -= log_p.posterior(t as usize, s);
                }
            }
            for v in 0..vocab {
                memory.store(c.grad, at(t, v), grad[v as usize])?;
            }
        }
    }
    Ok(())
}

/// Log-probabilities by time and position in the path.
struct Lattice {
    /// Of having emitted the path up to a position by a time, that time included.
    before: Vec<Vec<f64>>,
    /// Of emitting the rest after a time.
    after: Vec<Vec<f64>>,
    total: f64,
}

impl Lattice {
    fn new(path: &[i64], emit: &[Vec<f64>]) -> Lattice {
        let (n, times) = (path.len(), emit.len());
        // A step stays, goes to the next, or skips a blank between different labels.
        let may_skip = |s: usize| s >= 2 && path[s] != 0 && path[s] != path[s - 2];
        let mut before = vec![vec![f64::NEG_INFINITY; n]; times];
        let mut after = before.clone();
        for t in 0..times {
            for s in 0..n {
                let mut p = if t == 0 && s <= 1 { 0.0 } else { f64::NEG_INFINITY };
                if t > 0 {
                    p = before[t - 1][s];
                    if s >= 1 {
                        p = log_add(p, before[t - 1][s - 1]);
                    }
                    if may_skip(s) {
                        p = log_add(p, before[t - 1][s - 2]);
                    }
                }
                before[t][s] = p + emit[t][s];
            }
        }
        for t in (0..times).rev() {
            for s in 0..n {
                if t + 1 == times {
                    after[t][s] = if s + 2 >= n { 0.0 } else { f64::NEG_INFINITY };
                    continue;
                }
                let next = |s: usize| after[t + 1][s] + emit[t + 1][s];
                let mut p = next(s);
                if s + 1 < n {
                    p = log_add(p, next(s + 1));
                }
                if s + 2 < n && may_skip(s + 2) {
                    p = log_add(p, next(s + 2));
                }
                after[t][s] = p;
            }
        }
        let total = match before.last() {
            Some(row) => row
                .iter()
                .skip(n.saturating_sub(2))
                .copied()
                .fold(f64::NEG_INFINITY, log_add),
            // No frames emit no labels with certainty.
            None if n == 1 => 0.0,
            None => f64::NEG_INFINITY,
        };
        Lattice { before, after, total }
    }

    /// Probability of being at a position of the path at a time.
    fn posterior(&self, t: usize, s: usize) -> f64 {
        (self.before[t][s] + self.after[t][s] - self.total).exp()
    }
}
