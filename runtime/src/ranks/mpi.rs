//! MPI on a thread of its own, which makes every call: it works on what others sent while nobody asks for anything, and the rest
//! of the process can end while a call hangs.

mod abi;
pub mod library;

use super::launch::Launch;
use super::sum::{places, sum, sum_parts};
use super::wire::{Pending, Wire, lost};
use crate::error::Error;
use library::Mpi;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::time::Duration;

/// From one look at what others sent to the next.
const IDLE: Duration = Duration::from_millis(1);

type Job = Box<dyn FnOnce(&Mpi, &mut Vec<f32>) + Send>;

/// The thread, and what it found when it began.
pub struct MpiThread {
    jobs: Sender<Job>,
    rank: usize,
    size: usize,
    local: (usize, usize),
    version: String,
}

impl MpiThread {
    /// # Errors
    /// As [`Mpi::start`]; where the system gives no thread.
    pub fn start(launch: &Launch) -> Result<MpiThread, Error> {
        let (jobs, take) = channel::<Job>();
        let (tell, told) = sync_channel(1);
        let launch = launch.clone();
        let begin = move || match Mpi::start(&launch) {
            Ok(mpi) => {
                let _ = tell.send(Ok((mpi.rank, mpi.size, mpi.local, mpi.version.clone())));
                serve(&mpi, &take);
            }
            Err(e) => drop(tell.send(Err(e))),
        };
        let lost = |what: &str| Error::Ranks {
            what: what.into(),
            remedy: "raise the limit of processes (ulimit -u)".into(),
        };
        let thread = std::thread::Builder::new().name("mpi".into()).spawn(begin);
        drop(thread.map_err(|e| lost(&format!("the system gives no thread for MPI: {e}")))?);
        let (rank, size, local, version) = told.recv().map_err(|_| lost("the thread for MPI ended"))??;
        Ok(MpiThread {
            jobs,
            rank,
            size,
            local,
            version,
        })
    }

    /// Has the thread do something, and waits for it.
    fn call<T: Send>(&self, work: impl FnOnce(&Mpi, &mut Vec<f32>) -> Result<T, Error> + Send) -> Result<T, Error> {
        let (give, given) = sync_channel(1);
        let job: Box<dyn FnOnce(&Mpi, &mut Vec<f32>) + Send + '_> = Box::new(move |mpi, room| {
            let _ = give.send(work(mpi, room));
        });
        // SAFETY: this function does not return before the job was done or dropped, so that it outlives nothing it borrows.
        let job = unsafe { std::mem::transmute::<Box<dyn FnOnce(&Mpi, &mut Vec<f32>) + Send + '_>, Job>(job) };
        self.jobs.send(job).map_err(|_| lost())?;
        given.recv().map_err(|_| lost())?
    }
}

/// Does jobs in turn, until nobody can send any.
fn serve(mpi: &Mpi, jobs: &Receiver<Job>) {
    let mut room = vec![];
    loop {
        match jobs.recv_timeout(IDLE) {
            Ok(job) => job(mpi, &mut room),
            Err(RecvTimeoutError::Timeout) => mpi.idle(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Wire for MpiThread {
    fn rank(&self) -> usize {
        self.rank
    }
    fn size(&self) -> usize {
        self.size
    }
    fn local(&self) -> (usize, usize) {
        self.local
    }
    fn name(&self) -> String {
        self.version.clone()
    }
    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        self.call(|mpi, _| mpi.gather(own))
    }
    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), Error> {
        self.call(|mpi, _| mpi.broadcast(bytes))
    }
    fn sum(&self, values: &mut [f32]) -> Result<(), Error> {
        self.call(|mpi, room| sum(mpi, values, room))
    }
    fn sum_parts(&self, values: &mut [f32], parts: &[usize]) -> Result<(), Error> {
        self.call(|mpi, room| sum_parts(mpi, values, parts, room))
    }
    unsafe fn begin_sum(&self, values: *mut f32, length: usize, parts: Option<Vec<usize>>) -> Pending {
        let (give, given) = sync_channel(1);
        let at = values as usize;
        let job: Job = Box::new(move |mpi, room| {
            // SAFETY: the caller leaves these values alone until it has waited for this.
            let values = unsafe { std::slice::from_raw_parts_mut(at as *mut f32, length) };
            let done = match &parts {
                Some(parts) => sum_parts(mpi, values, parts, room),
                None => sum(mpi, values, room),
            };
            let _ = give.send(done);
        });
        // Where nobody takes it, waiting finds that out.
        let _ = self.jobs.send(job);
        Pending::new(given)
    }
    fn spread_parts(&self, values: &mut [f32], parts: &[usize]) -> Result<(), Error> {
        self.call(|mpi, _| mpi.spread(values, (parts, &places(parts))))
    }
    fn collect_parts(&self, values: &mut [f32], parts: &[usize]) -> Result<(), Error> {
        self.call(|mpi, _| mpi.collect(values, (parts, &places(parts))))
    }
    fn leave(&self) -> Result<(), Error> {
        self.call(|mpi, _| mpi.finish())
    }
}
