//! Memory for what is kept of long recordings: logits of all frames, where times are asked for or a language model searches.

use super::fault::Fault;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a search holds for each byte of logits: their logarithms beside them.
const TIMES: usize = 2;

/// Bytes that all requests together may keep.
pub(super) struct Room {
    most: usize,
    taken: AtomicUsize,
}

/// Bytes that one of them keeps, as long as it lives.
pub(super) struct Kept {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    pub fn new(most: usize) -> Arc<Room> {
        let taken = AtomicUsize::new(0);
        Arc::new(Room { most, taken })
    }

    /// Room for the logits of so many frames.
    ///
    /// # Errors
    /// Where others keep too much at this time, or it is more than there will ever be.
    pub fn keep(self: &Arc<Room>, frames: usize, classes: usize) -> Result<Kept, Fault> {
        let row = classes * size_of::<f32>() * TIMES;
        let bytes = frames.saturating_mul(row);
        let add = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= self.most);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        match taken {
            Ok(_) => Ok(Kept {
                room: self.clone(),
                bytes,
            }),
            Err(_) => Err(Fault::room(bytes, bytes <= self.most)),
        }
    }

    /// All that there is.
    #[cfg(test)]
    pub fn fill(self: &Arc<Room>) -> Kept {
        let bytes = self.most - self.taken.swap(self.most, Ordering::Relaxed);
        Kept {
            room: self.clone(),
            bytes,
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_given_back() {
        let room = Room::new(1000 * 8 * 32);
        let first = room.keep(600, 32).unwrap_or_else(|_| panic!("there is room"));
        assert!(room.keep(401, 32).is_err());
        let second = room.keep(400, 32).unwrap_or_else(|_| panic!("there is room"));
        assert!(room.keep(1, 32).is_err());
        drop((first, second));
        assert!(room.keep(1000, 32).is_ok());
        let never = room.keep(usize::MAX, 32).err().map(|f| f.body().to_string());
        assert!(never.is_some_and(|body| body.contains("cut it")));
    }
}
