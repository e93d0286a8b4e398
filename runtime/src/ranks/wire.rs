//! What ranks need of whatever connects them.

use crate::error::Error;
use std::sync::mpsc::Receiver;

/// A sum that goes on: it is waited for at the latest when this is dropped.
pub struct Pending(Option<Receiver<Result<(), Error>>>);

impl Pending {
    pub fn new(done: Receiver<Result<(), Error>>) -> Pending {
        Pending(Some(done))
    }

    /// Waits for it.
    ///
    /// # Errors
    /// What the connection says.
    pub fn wait(mut self) -> Result<(), Error> {
        self.0
            .take()
            .map_or(Ok(()), |done| done.recv().unwrap_or_else(|_| Err(lost())))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            let _ = done.recv();
        }
    }
}

/// The thread that makes the calls is gone.
pub fn lost() -> Error {
    Error::Ranks {
        what: "the thread for MPI ended".into(),
        remedy: "go on with --resume".into(),
    }
}

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

    /// The values of this rank's part become the sums over all ranks, added in the order of the ranks; those of the other parts
    /// may be anything. Parts lie one after the other, by rank.
    fn sum_parts(&self, values: &mut [f32], parts: &[usize]) -> Result<(), Error>;

    /// Begins [`Wire::sum`] or, with parts, [`Wire::sum_parts`], and does not wait for it.
    ///
    /// # Safety
    /// The values are neither read nor written nor given back until the sum is waited for.
    unsafe fn begin_sum(&self, values: *mut f32, length: usize, parts: Option<Vec<usize>>) -> Pending;

    /// Every part becomes what its rank has there.
    fn spread_parts(&self, values: &mut [f32], parts: &[usize]) -> Result<(), Error>;

    /// The same, on rank 0 alone.
    fn collect_parts(&self, values: &mut [f32], parts: &[usize]) -> Result<(), Error>;

    /// Leaves the job, after everything else.
    fn leave(&self) -> Result<(), Error>;
}

/// Ranks that are threads of one process, for tests.
#[cfg(test)]
pub mod threads {
    use super::*;
    use std::sync::{Arc, Condvar, Mutex};

    /// Where all ranks wait for each other. Where one has gone, because its test failed, the others fail instead of waiting.
    struct Meeting {
        size: usize,
        now: Mutex<Now>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct Now {
        waiting: usize,
        meetings: usize,
        gone: bool,
    }

    impl Meeting {
        fn wait(&self) {
            let mut now = self.now.lock().unwrap();
            let this = now.meetings;
            now.waiting += 1;
            if now.waiting == self.size {
                (now.waiting, now.meetings) = (0, this + 1);
                self.changed.notify_all();
            }
            while now.meetings == this && !now.gone {
                now = self.changed.wait(now).unwrap();
            }
            let met = now.meetings != this;
            drop(now);
            assert!(met, "another rank has gone");
        }
    }

    pub struct Threads {
        rank: usize,
        size: usize,
        places: Arc<Vec<Mutex<Vec<u8>>>>,
        meeting: Arc<Meeting>,
    }

    /// So many ranks, by rank.
    pub fn of(size: usize) -> Vec<Threads> {
        let places: Arc<Vec<Mutex<Vec<u8>>>> = Arc::new((0..size).map(|_| Mutex::default()).collect());
        let meeting = Arc::new(Meeting {
            size,
            now: Mutex::default(),
            changed: Condvar::new(),
        });
        let one = |rank| Threads {
            rank,
            size,
            places: places.clone(),
            meeting: meeting.clone(),
        };
        (0..size).map(one).collect()
    }

    impl Drop for Threads {
        fn drop(&mut self) {
            self.meeting.now.lock().unwrap().gone = true;
            self.meeting.changed.notify_all();
        }
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
            self.meeting.wait();
            let all = self.places.iter().map(|p| p.lock().unwrap().clone()).collect();
            self.meeting.wait();
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
        fn sum_parts(&self, values: &mut [f32], parts: &[usize]) -> Result<(), Error> {
            let mut sums = values.to_vec();
            self.sum(&mut sums)?;
            let at: usize = parts[..self.rank].iter().sum();
            let own = at..at + parts[self.rank];
            // What is not this rank's is nothing that may be used.
            values.fill(f32::NAN);
            values[own.clone()].copy_from_slice(&sums[own]);
            Ok(())
        }
        unsafe fn begin_sum(&self, values: *mut f32, length: usize, parts: Option<Vec<usize>>) -> Pending {
            // SAFETY: the caller leaves them alone until this is done, which it is at once.
            let values = unsafe { std::slice::from_raw_parts_mut(values, length) };
            let done = match parts {
                Some(parts) => self.sum_parts(values, &parts),
                None => self.sum(values),
            };
            let (send, receive) = std::sync::mpsc::sync_channel(1);
            send.send(done).unwrap();
            Pending::new(receive)
        }
        fn spread_parts(&self, values: &mut [f32], parts: &[usize]) -> Result<(), Error> {
            let all = self.gather(crate::bytes::of(values))?;
            let owners = parts
                .iter()
                .enumerate()
                .flat_map(|(rank, n)| std::iter::repeat_n(rank, *n));
            for ((i, value), owner) in values.iter_mut().enumerate().zip(owners) {
                *value = f32::from_le_bytes(all[owner][4 * i..][..4].try_into().unwrap());
            }
            Ok(())
        }
        fn collect_parts(&self, values: &mut [f32], parts: &[usize]) -> Result<(), Error> {
            let mut all = values.to_vec();
            self.spread_parts(&mut all, parts)?;
            if self.rank == 0 {
                values.copy_from_slice(&all);
            }
            Ok(())
        }
        fn leave(&self) -> Result<(), Error> {
            Ok(())
        }
    }
}
