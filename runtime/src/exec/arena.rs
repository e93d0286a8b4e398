//! Memory for arrays: aligned to pages, zero at first, and given by the system only where it is touched.

use super::guarded::{Edge, Guarded};
use crate::error::Error;
use crate::memory::{available, require};
use std::alloc::{Layout, handle_alloc_error};

/// Bytes at a page boundary, zero at first, with a guard on either side.
#[derive(Default)]
pub struct Arena {
    memory: Option<Guarded>,
    /// Tests place memory so that its end touches the guard; it is not at a page boundary then.
    edge: Edge,
}

impl Arena {
    pub fn new(bytes: usize) -> Arena {
        let mut arena = Arena::default();
        arena.grow(bytes);
        arena
    }
    /// An empty one that grows to memory at such an edge.
    pub fn at(edge: Edge) -> Arena {
        Arena { memory: None, edge }
    }
    /// As [`Arena::grow`], where there may not be as much; `what` is to lie in it.
    ///
    /// # Errors
    /// Where so much memory cannot be had.
    pub fn try_grow(&mut self, bytes: usize, what: &str) -> Result<(), Error> {
        if self.len() >= bytes {
            return Ok(());
        }
        // Freed first, so that old and new are never held at once.
        self.memory = None;
        let remedy = "give smaller batches or shorter clips, or a smaller model";
        require(bytes, what, remedy)?;
        let memory = Guarded::new(bytes, self.edge).map_err(|_| Error::Room {
            what: what.into(),
            needed: bytes,
            available: available().unwrap_or(0).min(bytes),
            remedy: remedy.into(),
        })?;
        self.take(memory);
        Ok(())
    }
    fn take(&mut self, mut memory: Guarded) {
        // Fewer page faults and entries of the TLB; a system without large pages works all the same.
        memory.advise(0, memory.len(), libc::MADV_HUGEPAGE);
        self.memory = Some(memory);
    }
    pub fn len(&self) -> usize {
        self.memory.as_ref().map_or(0, Guarded::len)
    }
    /// Makes room for `bytes`; what was there is lost.
    pub fn grow(&mut self, bytes: usize) {
        if self.len() < bytes {
            // Freed first, so that old and new are never held at once.
            self.memory = None;
            let memory = Guarded::new(bytes, self.edge).unwrap_or_else(|_| {
                // As every collection of the standard library ends.
                handle_alloc_error(Layout::array::<u8>(bytes).expect("a size that was planned"))
            });
            self.take(memory);
        }
    }
    /// Gives the pages of a range of bytes back to the system, which has them be zero if they are read again. The range begins
    /// and ends with a page.
    pub fn give_back(&mut self, from: usize, to: usize) {
        if let Some(memory) = &mut self.memory {
            memory.advise(from, to, libc::MADV_DONTNEED);
        }
    }
    /// What was given back stays so: the system does not make large pages out of what is left.
    pub fn stay_small(&mut self) {
        if let Some(memory) = &mut self.memory {
            memory.advise(0, memory.len(), libc::MADV_NOHUGEPAGE);
        }
    }
    /// Of the first byte; of an empty arena none that may be read or written.
    pub fn address(&mut self) -> *mut u8 {
        match &self.memory {
            Some(memory) => memory.address(),
            None => std::ptr::dangling_mut::<u64>().cast(),
        }
    }
    pub fn floats(&mut self, n: usize) -> &mut [f32] {
        assert!(n <= self.len() / 4);
        // SAFETY: the memory holds at least n f32, at an address aligned for them; every bit pattern is an f32; the
        // borrow of self keeps it alive and unaliased.
        unsafe { std::slice::from_raw_parts_mut(self.address().cast(), n) }
    }
}
