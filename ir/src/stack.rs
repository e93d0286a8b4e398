//! Work on trees and chains recurses. How deep these are is limited where they are read; this gives the stack that the limits
//! need, whatever thread the caller is on.

use std::thread::{Builder, scope};

/// Runs `work` on a thread of so many bytes of stack, of which only what is touched takes memory. Where there is no thread to
/// be had, on this one, on a stack of that size. A panic goes on in the caller.
pub fn with_stack<T: Send>(bytes: usize, work: impl FnOnce() -> T + Send) -> T {
    let mut work = Some(work);
    let spawned = scope(|s| {
        let job = &mut work;
        // The closure is taken by the thread that runs; one that was not started leaves it here.
        let run = move || job.take().map(|work| work());
        match Builder::new().stack_size(bytes).spawn_scoped(s, run) {
            Ok(thread) => Some(thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e))),
            Err(_) => None,
        }
    });
    match (spawned.flatten(), work) {
        (Some(done), _) => done,
        (None, Some(work)) => here(bytes, work),
        (None, None) => unreachable!("a thread that took the work gives its result or panics"),
    }
}

/// Runs `work` on this thread, on a stack of its own. Where there is not even address space for one, on the stack that there
/// is: what is as deep as the limits allow may be too deep for it then.
fn here<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    match Vec::<u8>::new().try_reserve_exact(bytes) {
        Ok(()) => stacker::grow(bytes, work),
        Err(_) => work(),
    }
}

#[cfg(test)]
mod tests {
    use super::{here, with_stack};

    fn depth(n: usize) -> usize {
        if n == 0 {
            0
        } else {
            1 + std::hint::black_box(depth(n - 1))
        }
    }

    #[test]
    fn deep_work_has_room_and_panics_come_through() {
        assert_eq!(with_stack(256 << 20, || depth(1_000_000)), 1_000_000);
        assert_eq!(here(256 << 20, || depth(1_000_000)), 1_000_000);
        let caught = std::panic::catch_unwind(|| with_stack(1 << 20, || -> () { panic!("deep") }));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"deep"));
    }
}
