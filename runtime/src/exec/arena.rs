//! Memory for arrays: aligned to pages, zero at first, and given by the system only where it is touched.

use crate::error::Error;
use crate::memory::{available, require};
use memmap2::{Advice, MmapMut, UncheckedAdvice};
use std::alloc::{Layout, handle_alloc_error};

/// Bytes at a page boundary, zero at first.
#[derive(Default)]
pub struct Arena {
    map: Option<MmapMut>,
}

impl Arena {
    pub fn new(bytes: usize) -> Arena {
        if bytes == 0 {
            return Arena::default();
        }
        let map = MmapMut::map_anon(bytes).unwrap_or_else(|_| {
            // As every collection of the standard library ends.
            handle_alloc_error(Layout::array::<u8>(bytes).expect("a size that was planned"))
        });
        // Fewer page faults and entries of the TLB; a system without large pages works all the same.
        let _ = map.advise(Advice::HugePage);
        Arena { map: Some(map) }
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
        self.map = None;
        let remedy = "give smaller batches or shorter clips, or a smaller model";
        require(bytes, what, remedy)?;
        let map = MmapMut::map_anon(bytes).map_err(|_| Error::Room {
            what: what.into(),
            needed: bytes,
            available: available().unwrap_or(0).min(bytes),
            remedy: remedy.into(),
        })?;
        let _ = map.advise(Advice::HugePage);
        self.map = Some(map);
        Ok(())
    }
    pub fn len(&self) -> usize {
        self.map.as_ref().map_or(0, |m| m.len())
    }
    /// Makes room for `bytes`; what was there is lost.
    pub fn grow(&mut self, bytes: usize) {
        if self.len() < bytes {
            // Freed first, so that old and new are never held at once.
            self.map = None;
            *self = Arena::new(bytes);
        }
    }
    /// Gives the pages of a range of bytes back to the system, which has them be zero if they are read again. The range begins
    /// and ends with a page.
    pub fn give_back(&mut self, from: usize, to: usize) {
        let Some(map) = &mut self.map else { return };
        let to = to.min(map.len());
        if from < to {
            // SAFETY: the map is private memory without a file, borrowed mutably, so nobody holds a reference into it whose
            // target would change.
            let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, from, to - from) };
        }
    }
    /// What was given back stays so: the system does not make large pages out of what is left.
    pub fn stay_small(&mut self) {
        if let Some(map) = &self.map {
            let _ = map.advise(Advice::NoHugePage);
        }
    }
    /// Of the first byte; of an empty arena none that may be read or written.
    pub fn address(&mut self) -> *mut u8 {
        match &mut self.map {
            Some(map) => map.as_mut_ptr(),
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
