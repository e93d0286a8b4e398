//! How evenly ranks work: who is slowest, and how long the others wait for it.

/// Updates that are looked back on.
const MEMORY: usize = 10;

/// A rank is slow that took so much longer than the others' middle, in so many of these updates.
const SLOWER: f64 = 1.1;
const OFTEN: usize = 8;

/// Seconds that ranks took for their shares.
#[derive(Default)]
pub(super) struct Spread {
    /// Of each update since the last report, by rank.
    updates: Vec<Vec<f64>>,
    /// The slow rank of each of the last updates.
    slow: Vec<Option<usize>>,
    /// Who was told last.
    told: Option<usize>,
}

/// The slowest, and by which factor it is slower than the middle one of all.
fn slowest(seconds: &[f64]) -> Option<(usize, f64)> {
    let (rank, most) = seconds.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some((rank, most / sorted[(sorted.len() - 1) / 2].max(1e-9)))
}

impl Spread {
    /// Notes an update: how long each rank took, and for how many batches.
    pub fn note(&mut self, seconds: &[f64], batches: &[usize]) {
        if seconds.len() < 2 {
            return;
        }
        let each: Vec<f64> = seconds
            .iter()
            .zip(batches)
            .map(|(s, n)| s / (*n).max(1) as f64)
            .collect();
        self.updates.push(seconds.to_vec());
        self.slow
            .push(slowest(&each).filter(|(_, by)| *by >= SLOWER).map(|(rank, _)| rank));
        if self.slow.len() > MEMORY {
            self.slow.remove(0);
        }
    }

    /// Numbers for the log, since the last time; none for who works alone.
    pub fn report(&mut self) -> Vec<(String, f64)> {
        let updates = std::mem::take(&mut self.updates);
        let Some(ranks) = updates.first().map(Vec::len) else {
            return vec![];
        };
        let sums: Vec<f64> = (0..ranks).map(|r| updates.iter().map(|u| u[r]).sum()).collect();
        let most: f64 = updates.iter().map(|u| u.iter().copied().fold(0.0, f64::max)).sum();
        let all: f64 = sums.iter().sum();
        let rank = slowest(&sums).map_or(0, |(rank, _)| rank);
        vec![
            ("ranks".into(), ranks as f64),
            ("slowest_rank".into(), rank as f64),
            // Of the time of all ranks until the last of them is done.
            ("waiting_share".into(), 1.0 - all / (most * ranks as f64).max(1e-9)),
        ]
    }

    /// A rank that has been slow for a while, and by how much in the last update; each is told once, until it is slow no more.
    pub fn slow(&mut self, names: impl Fn(usize) -> String) -> Option<String> {
        let count = |rank: usize| self.slow.iter().filter(|s| **s == Some(rank)).count();
        let found = self.slow.iter().flatten().copied().find(|rank| count(*rank) >= OFTEN);
        let new = found.filter(|_| self.told != found);
        self.told = found;
        let rank = new?;
        let times = count(rank);
        Some(format!(
            "{} was slower than the others by a tenth or more in {times} of the last {} updates: the others wait for it",
            names(rank),
            self.slow.len()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_slow_is_told_once() {
        let mut spread = Spread::default();
        let name = |rank: usize| format!("rank {rank}");
        for _ in 0..OFTEN {
            assert_eq!(spread.slow(name), None);
            spread.note(&[1.0, 1.3, 2.0], &[1, 1, 2]);
        }
        assert!(spread.slow(name).unwrap().starts_with("rank 1 "));
        assert_eq!(spread.slow(name), None);
        let fields = spread.report();
        assert_eq!(fields[1].1, 2.0);
        assert!((fields[2].1 - (1.0 - 4.3 / 6.0)).abs() < 1e-9, "{fields:?}");
        assert!(spread.report().is_empty());
    }
}
