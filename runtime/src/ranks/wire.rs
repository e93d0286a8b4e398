//! What ranks need of whatever connects them.

use crate::error::Error;

/// Moves bytes and numbers between ranks. Every rank makes the same calls in the same order.
pub trait Wire: Send + Sync {
    fn rank(&self) -> usize;
    fn size(&self) -> usize;
    /// Rank among the ranks of this machine, and how many those are.
    fn local(&self) -> (usize, usize);
    /// What it is, for people.
    fn name(&self) -> String;

    /// What each rank gives, by rank.
    ///
    /// # Errors
    /// Here and below: where the connection fails.
    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, Error>;

    /// Rank 0's bytes, on every rank. All give room for as many.
    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), Error>;

    /// Every rank's values become the sums over all ranks, added in the order of the ranks.
    fn sum(&self, values: &mut [f32]) -> Result<(), Error>;

    /// Leaves the job, after everything else.
    fn leave(&self) -> Result<(), Error>;
}

/// Ranks that are threads of one process, for tests.
#[cfg(test)]
pub mod threads {
    use super::*;
    use std::sync::{Arc, Barrier, Mutex};

    pub struct Threads {
        rank: usize,
        size: usize,
        places: Arc<Vec<Mutex<Vec<u8>>>>,
        barrier: Arc<Barrier>,
    }

    /// So many ranks, by rank.
    pub fn of(size: usize) -> Vec<Threads> {
        let places: Arc<Vec<Mutex<Vec<u8>>>> = Arc::new((0..size).map(|_| Mutex::default()).collect());
        let barrier = Arc::new(Barrier::new(size));
        let one = |rank| Threads {
            rank,
            size,
            places: places.clone(),
            barrier: barrier.clone(),
        };
        (0..size).map(one).collect()
    }

    impl Wire for Threads {
        fn rank(&self) -> usize {
            self.rank
        }
        fn size(&self) -> usize {
            self.size
        }
        fn local(&self) -> (usize, usize) {
            (self.rank, self.size)
        }
        fn name(&self) -> String {
            "threads".into()
        }
        fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
            *self.places[self.rank].lock().unwrap() = own.to_vec();
            self.barrier.wait();
            let all = self.places.iter().map(|p| p.lock().unwrap().clone()).collect();
            self.barrier.wait();
            Ok(all)
        }
        fn broadcast(&self, bytes: &mut [u8]) -> Result<(), Error> {
            let all = self.gather(bytes)?;
            bytes.copy_from_slice(&all[0]);
            Ok(())
        }
        fn sum(&self, values: &mut [f32]) -> Result<(), Error> {
            let all = self.gather(crate::bytes::of(values))?;
            for (i, value) in values.iter_mut().enumerate() {
                let of = |bytes: &Vec<u8>| f32::from_le_bytes(bytes[4 * i..][..4].try_into().unwrap());
                *value = all[1..].iter().fold(of(&all[0]), |sum, own| sum + of(own));
            }
            Ok(())
        }
        fn leave(&self) -> Result<(), Error> {
            Ok(())
        }
    }
}
