//! What one input may take: a gibibyte of memory and five seconds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that may be held at a time.
pub const MEMORY: usize = 1 << 30;
/// Seconds of computing that an input may take, and seconds in all: a machine that is busy with other things is no fault.
pub const SECONDS: u64 = 5;
pub const WAITING: u64 = 300;

/// Seconds that this process has computed.
pub fn computed() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is this function's own, and the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as u64
}

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Most bytes held since the last call.
pub fn take_peak() -> usize {
    PEAK.swap(HELD.load(Ordering::Relaxed), Ordering::Relaxed)
}

/// The system's allocator, which has no memory left at [`MEMORY`]. Who asks in vain and can say so passes; others abort.
pub struct Limited;

fn taken(bytes: usize) -> bool {
    let held = HELD.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
    if held > MEMORY {
        HELD.fetch_sub(bytes, Ordering::Relaxed);
        return false;
    }
    PEAK.fetch_max(held, Ordering::Relaxed);
    true
}

// SAFETY: every call is passed on to the system's allocator unchanged, or answered with null, as callers must expect; the
// counters are atomics and allocate nothing.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !taken(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !taken(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > layout.size() && !taken(size - layout.size()) {
            return std::ptr::null_mut();
        }
        if size < layout.size() {
            HELD.fetch_sub(layout.size() - size, Ordering::Relaxed);
        }
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
