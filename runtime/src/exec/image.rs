//! Generated machine code, mapped from the file that carries it: readable and executable, at no time writable.

use super::bundle::Bundle;
use crate::error::Error;
use memmap2::{Mmap, MmapOptions};

/// The signature of every entry: operand addresses, run-time sizes, the items to do, memory shared by the launch, memory
/// of this thread.
pub type EntryFn = unsafe extern "C" fn(*const *mut u8, *const i64, i64, i64, *mut u8, *mut u8);

pub struct Image {
    map: Mmap,
}

impl Image {
    pub fn load(bundle: &Bundle) -> Result<Image, Error> {
        let mut options = MmapOptions::new();
        options.offset(bundle.code_offset).len(bundle.code_len.max(1));
        // SAFETY: the map is private and of the running program's own file, which the system keeps from being written
        // while it runs; its bytes are only ever called, through `entry`.
        let map = unsafe { options.map_exec(&bundle.file) }.map_err(Error::io("map", &bundle.path))?;
        Ok(Image { map })
    }

    /// The function at a byte offset of the image.
    pub fn entry(&self, offset: usize) -> EntryFn {
        assert!(offset < self.map.len(), "entry {offset} lies outside the code");
        // SAFETY: the compiler that wrote the image put a function of this signature at every entry offset, and the image
        // is mapped executable as long as `self` lives, which outlives all launches.
        unsafe { std::mem::transmute::<*const u8, EntryFn>(self.map.as_ptr().add(offset)) }
    }
}
