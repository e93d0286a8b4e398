//! Threads, where the system may have none to give (a limit on processes, a container's quota): work goes on with fewer.

use crate::error::Error;
use rayon::{ThreadPool, ThreadPoolBuilder};

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
        crate::log::tell("note: the system gives no further thread (ulimit -u, or the container's limit of processes)");
    }
    None
}

/// Makes the pool that small parallel work shares before it is first used, which would end the program where there are no
/// threads. Later calls do nothing.
pub fn prepare_shared() {
    // A failed attempt to make the shared pool is final, so the number is tried out before.
    let shared = match pool(cores()).map(|tried| tried.current_num_threads()) {
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
}
