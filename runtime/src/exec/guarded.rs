//! Memory between guard pages: an access slightly outside ends the process instead of reading or changing
//! other memory. The pages cost only address space.

use ir::artifact::ALIGN;
use std::ffi::c_void;
use std::io;
use std::ptr::{NonNull, null_mut};

const PAGE: usize = super::resolve::PAGE;
/// A large page. Memory of at least this begins at a multiple of it, so that the system can use such pages for all of it.
const LARGE: usize = 2 << 20;

/// Which end touches a guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edge {
    /// The first byte comes right behind one. The last is less than a page before the other.
    #[default]
    Begin,
    /// The last byte comes right before one, but for what the alignment of the first takes.
    End,
}

/// Zeros between two guards, given by the system where they are touched.
pub struct Guarded {
    /// All of the mapping, guards included.
    base: NonNull<c_void>,
    mapped: usize,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it owns its memory alone; nothing about it is of one thread.
unsafe impl Send for Guarded {}
// SAFETY: through a shared reference only addresses and the length are given out.
unsafe impl Sync for Guarded {}

impl Guarded {
    /// So many bytes, at least one, at a multiple of `ALIGN`; with [`Edge::Begin`] at a page boundary.
    ///
    /// # Errors
    /// Where the system has no such memory.
    pub fn new(len: usize, edge: Edge) -> io::Result<Guarded> {
        Guarded::aligned(len, edge, ALIGN)
    }

    /// The same, where the alignment need not be more than `align` (a power of two below a page).
    pub fn aligned(len: usize, edge: Edge, align: usize) -> io::Result<Guarded> {
        let none = || io::Error::from(io::ErrorKind::OutOfMemory);
        let boundary = if len >= LARGE { LARGE } else { PAGE };
        let inner = len.max(1).checked_next_multiple_of(PAGE).ok_or_else(none)?;
        // A guard on either side, and room to begin at a boundary.
        let mapped = inner.checked_add(2 * PAGE + boundary).ok_or_else(none)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the system's choice touches no memory that anybody has.
        let base = unsafe { libc::mmap(null_mut(), mapped, libc::PROT_NONE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base).expect("the system gives no mapping at address 0 unless asked to");
        let first = (base.as_ptr() as usize + PAGE).next_multiple_of(boundary);
        let offset = match edge {
            Edge::Begin => 0,
            Edge::End => inner - len.max(1).next_multiple_of(align),
        };
        let inside = first - base.as_ptr() as usize;
        // SAFETY: `inside` and what follows it are below `mapped`: a page for the guard, less than `boundary` up to the
        // boundary, `inner` bytes, and at least a page of what is left.
        let start = unsafe { base.cast::<u8>().add(inside) };
        // Dropped on a failure, which unmaps it.
        let own = Guarded {
            base,
            mapped,
            // SAFETY: less than `inner` bytes on.
            start: unsafe { start.add(offset) },
            len,
        };
        // SAFETY: the range lies within the mapping made above, at page boundaries.
        if unsafe { libc::mprotect(start.as_ptr().cast(), inner, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(own)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn address(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Advises the system about some of its bytes; those that share a page with others are left out. Advice may be ignored.
    pub fn advise(&mut self, from: usize, to: usize, advice: libc::c_int) {
        let start = self.start.as_ptr() as usize;
        // Where the end touches the guard, the pages of the range are not those of the offsets.
        let first = (start + from).next_multiple_of(PAGE);
        let last = match to >= self.len {
            true => (start + self.len).next_multiple_of(PAGE),
            false => (start + to) / PAGE * PAGE,
        };
        if first < last {
            // SAFETY: whole pages of this mapping, borrowed mutably, so nobody holds a reference into them whose target
            // would change.
            unsafe { libc::madvise(first as *mut c_void, last - first, advice) };
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, which nobody refers to any more.
        unsafe { libc::munmap(self.base.as_ptr(), self.mapped) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;

    /// Whether a byte can be read, found out by the system, which refuses where this process would be ended.
    fn readable(at: *const u8) -> bool {
        let (_reader, mut writer) = io::pipe().expect("pipes can be had");
        // SAFETY: the system checks the address.
        let wrote = unsafe { libc::write(writer.as_raw_fd(), at.cast(), 1) };
        writer.flush().expect("a pipe holds nothing back");
        wrote == 1
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn all_bytes_are_there_and_none_beside_them(
            len in prop_oneof![1usize..70, 4000usize..9000, LARGE - 70..LARGE + 70],
            end: bool,
            align in prop_oneof![Just(4usize), Just(64)],
        ) {
            let edge = if end { Edge::End } else { Edge::Begin };
            let memory = Guarded::aligned(len, edge, align).unwrap();
            let start = memory.address();
            prop_assert!((start as usize).is_multiple_of(align));
            // SAFETY: the memory is this test's own, zeros, and `len` bytes long.
            let bytes = unsafe { std::slice::from_raw_parts_mut(start, len) };
            prop_assert!(bytes.iter().all(|b| *b == 0));
            bytes.fill(7);
            prop_assert!(readable(start) && readable(&bytes[len - 1]));
            let gap = len.next_multiple_of(align) - len;
            match edge {
                Edge::Begin => prop_assert!(!readable(start.wrapping_sub(1)) && (start as usize).is_multiple_of(PAGE)),
                Edge::End => prop_assert!(!readable(start.wrapping_add(len + gap))),
            }
            // The other side, at most a page on.
            prop_assert!(!readable(start.wrapping_sub(PAGE)) && !readable(start.wrapping_add(len.next_multiple_of(PAGE))));
        }
    }

    #[test]
    fn large_memory_begins_where_large_pages_do_and_too_much_is_an_error() {
        let memory = Guarded::new(3 * LARGE + 5, Edge::Begin).unwrap();
        assert!((memory.address() as usize).is_multiple_of(LARGE));
        assert!(Guarded::new(usize::MAX, Edge::Begin).is_err());
        assert!(Guarded::new(usize::MAX / 2, Edge::End).is_err());
    }

    #[test]
    fn pages_given_back_are_zero_and_others_stay() {
        let mut memory = Guarded::new(5 * PAGE, Edge::Begin).unwrap();
        // SAFETY: as above.
        let bytes = unsafe { std::slice::from_raw_parts_mut(memory.address(), 5 * PAGE) };
        bytes.fill(7);
        memory.advise(PAGE, 3 * PAGE, libc::MADV_DONTNEED);
        // SAFETY: as above; made anew after the contents changed behind it.
        let bytes = unsafe { std::slice::from_raw_parts(memory.address(), 5 * PAGE) };
        let zero = |range: std::ops::Range<usize>| bytes[range].iter().all(|b| *b == 0);
        assert!(zero(PAGE..3 * PAGE) && !zero(0..1) && bytes[PAGE - 1] == 7 && bytes[3 * PAGE] == 7);
    }
}
