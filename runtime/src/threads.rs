//! Threads, where the system may have none to give (a limit on processes, a container's quota): work goes on with fewer.

use crate::error::Error;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::{Arc, Mutex, Once};
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

/// More threads than any machine has cores for is a slip.
const MOST: usize = 4096;

/// How many to compute with: as many as asked for, where that is not 0, else one per core that this process may use.
///
/// # Errors
/// Where more are asked for than make sense.
pub fn wanted(threads: usize) -> Result<usize, Error> {
    match threads {
        0 => Ok(cores()),
        n if n > MOST => Err(Error::Usage(format!(
            "--threads {n} is more than {MOST}; leave it out for one per core"
        ))),
        n => Ok(n),
    }
}

/// Cores that this process may use; the system counts a container's quota in.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// A pool of so many threads or, where the system refuses some, of half as many, and so on. `None` is one thread, which is
/// the caller's own.
pub fn pool(threads: usize) -> Option<ThreadPool> {
    pool_by(threads, &|n| ThreadPoolBuilder::new().num_threads(n).build().ok())
}

fn pool_by<P>(threads: usize, build: &dyn Fn(usize) -> Option<P>) -> Option<P> {
    let mut n = threads;
    while n > 1 {
        let built = build(n);
        if built.is_some() {
            if n < threads {
                crate::log::tell(&format!(
                    "note: the system gives no {threads} threads (ulimit -u, or the container's limit of processes); going on \
                     with {n}"
                ));
            }
            return built;
        }
        n /= 2;
    }
    if threads > 1 {
        tell_refused();
    }
    None
}

/// Starts a thread. Where the system refuses one, what it was to do is given back, to be done some other way.
///
/// # Errors
/// The work that was not begun.
pub fn start<T, F>(work: F) -> Result<JoinHandle<T>, F>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    handed(work, |job| Builder::new().spawn(job).ok())
}

/// As [`start`], for a thread that ends within a scope.
///
/// # Errors
/// The work that was not begun.
pub fn start_in<'s, T, F>(scope: &'s Scope<'s, '_>, work: F) -> Result<ScopedJoinHandle<'s, T>, F>
where
    T: Send + 's,
    F: FnOnce() -> T + Send + 's,
{
    handed(work, |job| Builder::new().spawn_scoped(scope, job).ok())
}

/// A closure that a thread is started with is lost where it cannot be: it is handed over through a place that stays.
fn handed<'s, T, F, H>(work: F, spawn: impl FnOnce(Box<dyn FnOnce() -> T + Send + 's>) -> Option<H>) -> Result<H, F>
where
    F: FnOnce() -> T + Send + 's,
{
    let place = Arc::new(Mutex::new(Some(work)));
    let own = place.clone();
    let take = |place: &Mutex<Option<F>>| place.lock().unwrap_or_else(|e| e.into_inner()).take();
    let job = move || take(&own).expect("the work is taken back only where no thread was started")();
    match spawn(Box::new(job)) {
        Some(handle) => Ok(handle),
        None => {
            tell_refused();
            Err(take(&place).expect("no thread was started that could take it"))
        }
    }
}

/// Says once that there are fewer threads than there might be.
fn tell_refused() {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        crate::log::tell("note: the system gives no further thread (ulimit -u, or the container's limit of processes)");
    });
}

/// Makes the pool that small parallel work shares before it is first used, which would end the program where there are no
/// threads. Later calls do nothing.
pub fn prepare_shared() {
    // A failed attempt to make the shared pool is final, so the number is tried out before. Its thread is one of its own also where
    // there is one core: whoever waits for it from another thread would wait for ever for a caller that waits as well.
    let one = || ThreadPoolBuilder::new().num_threads(1).build().ok();
    let shared = match pool(cores()).or_else(one).map(|tried| tried.current_num_threads()) {
        Some(n) => ThreadPoolBuilder::new().num_threads(n).build_global(),
        None => ThreadPoolBuilder::new()
            .num_threads(1)
            .use_current_thread()
            .build_global(),
    };
    // It is there already.
    drop(shared);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_threads_take_the_place_of_those_that_are_refused() {
        let up_to = |most: usize| move |n: usize| (n <= most).then_some(n);
        assert_eq!(pool_by(8, &up_to(100)), Some(8));
        assert_eq!(pool_by(8, &up_to(3)), Some(2));
        assert_eq!(pool_by(8, &up_to(1)), None);
        assert_eq!(pool_by(1, &up_to(100)), None);
        assert!(wanted(1_000_000).is_err() && wanted(0).unwrap() >= 1);
    }

    #[test]
    fn work_that_no_thread_takes_comes_back_whole() {
        let value = String::from("kept");
        let work = move || value;
        let refused = handed(work, |_| None::<()>).map(|()| String::new());
        assert_eq!(refused.unwrap_or_else(|work| work()), "kept");
        let done = start(|| 7).map_err(|_| ()).unwrap().join().unwrap();
        let doubled = std::thread::scope(|s| start_in(s, || 2 * done).map_err(|_| ()).unwrap().join().unwrap());
        assert_eq!((done, doubled), (7, 14));
    }
}
