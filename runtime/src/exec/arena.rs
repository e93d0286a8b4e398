//! Memory aligned to cache lines.

/// Bytes at a 64-byte boundary, zero at first.
#[derive(Default)]
pub struct Arena {
    words: Vec<Line>,
}

#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Line([u64; 8]);

impl Arena {
    pub fn new(bytes: usize) -> Arena {
        Arena {
            words: vec![Line::default(); bytes.div_ceil(64)],
        }
    }
    pub fn len(&self) -> usize {
        self.words.len() * 64
    }
    /// Makes room for `bytes`; what was there is lost.
    pub fn grow(&mut self, bytes: usize) {
        if self.len() < bytes {
            // Freed first, so that old and new are never held at once.
            self.words = vec![];
            *self = Arena::new(bytes);
        }
    }
    pub fn address(&mut self) -> *mut u8 {
        self.words.as_mut_ptr().cast()
    }
    pub fn floats(&mut self, n: usize) -> &mut [f32] {
        assert!(n * 4 <= self.len());
        // SAFETY: the allocation holds at least n f32, aligned more strictly than f32; every bit pattern is an f32; the
        // borrow of self keeps it alive and unaliased.
        unsafe { std::slice::from_raw_parts_mut(self.address().cast(), n) }
    }
}
