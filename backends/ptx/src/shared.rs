//! Shared memory of a block.

use crate::fault::FaultKind;
use crate::race::{History, Place, Touch};
use crate::syntax::Space;

/// The bytes of a block's shared memory and their history.
pub struct Shared {
    words: Vec<u32>,
    /// Size in bytes.
    bytes: u64,
    pub history: History,
}

impl Shared {
    /// Memory for blocks of `warps` warps; `granule`, the narrowest access, is 1, 2 or 4 bytes; `fine` if the kernel has
    /// mbarriers or `wgmma`.
    pub fn new(bytes: u64, warps: usize, granule: u32, fine: bool) -> Self {
        Self {
            words: vec![0; bytes.div_ceil(4) as usize],
            bytes,
            history: History::new(bytes, warps, granule, fine),
        }
    }

    /// Checks bounds and alignment of an access.
    #[inline(always)]
    pub fn check(&self, address: u64, bytes: u64, write: bool) -> Result<(), FaultKind> {
        if address & (bytes - 1) != 0 {
            return Err(FaultKind::Misaligned {
                space: Space::Shared,
                address,
                bytes,
            });
        }
        if address >= self.bytes || self.bytes - address < bytes {
            return Err(FaultKind::OutOfBounds {
                space: Space::Shared,
                address,
                bytes,
                write,
            });
        }
        Ok(())
    }

    /// `count` words that `who` reads; their address is a multiple of their size.
    #[inline(always)]
    pub fn read_words(&mut self, address: u64, count: usize, who: Place) -> Result<&[u32], FaultKind> {
        let bytes = 4 * count as u64;
        self.check(address, bytes, false)?;
        self.history.read(address, bytes, who, Touch::Plain)?;
        let at = (address / 4) as usize;
        Ok(&self.words[at..at + count])
    }

    /// The words that `lanes` lanes from `first` on read, `count` each, one lane's after the last one's; `None` if the access
    /// needs a closer look.
    #[inline(always)]
    pub fn read_streak(&mut self, address: u64, count: usize, first: Place, lanes: usize) -> Option<&[u32]> {
        let (bytes, at) = (4 * count as u64, (address / 4) as usize);
        let fits = self.check(address, bytes, false).is_ok() && self.bytes - address >= bytes * lanes as u64;
        (fits && self.history.read_streak(address, bytes, first, lanes)).then(|| &self.words[at..at + count * lanes])
    }

    /// The words that `lanes` lanes from `first` on write, `count` each, one lane's after the last one's; `None` if the access
    /// needs a closer look.
    #[inline(always)]
    pub fn write_streak(&mut self, address: u64, count: usize, first: Place, lanes: usize) -> Option<&mut [u32]> {
        let (bytes, at) = (4 * count as u64, (address / 4) as usize);
        let fits = self.check(address, bytes, true).is_ok() && self.bytes - address >= bytes * lanes as u64;
        (fits && self.history.write_streak(address, bytes, first, lanes))
            .then(|| &mut self.words[at..at + count * lanes])
    }

    /// Writes words for `who`; their address is a multiple of their size.
    #[inline(always)]
    pub fn write_words(&mut self, address: u64, values: &[u32], who: Place) -> Result<(), FaultKind> {
        let bytes = 4 * values.len() as u64;
        self.check(address, bytes, true)?;
        let at = (address / 4) as usize;
        let changes = self.words[at..at + values.len()] != *values;
        self.history.write(address, bytes, who, Touch::Plain, changes)?;
        self.words[at..at + values.len()].copy_from_slice(values);
        Ok(())
    }

    /// Reads one element for `who`, at an address that was checked.
    pub fn read(&mut self, address: u64, bytes: u32, who: Place, touch: Touch) -> Result<u64, FaultKind> {
        self.history.read(address, u64::from(bytes), who, touch)?;
        Ok(self.load(address, bytes))
    }

    /// Writes one element for `who`, at an address that was checked.
    pub fn write(&mut self, address: u64, bytes: u32, value: u64, who: Place, touch: Touch) -> Result<(), FaultKind> {
        let ones = if bytes == 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 };
        let changes = touch == Touch::Atomic || self.load(address, bytes) != value & ones;
        self.history.write(address, u64::from(bytes), who, touch, changes)?;
        self.store(address, bytes, value);
        Ok(())
    }

    /// Lands an asynchronous copy, whose bytes are whole words.
    pub fn land(&mut self, address: u64, data: &[u32], who: Place) {
        self.history.landed(address, 4 * data.len() as u64, who);
        let at = (address / 4) as usize;
        self.words[at..at + data.len()].copy_from_slice(data);
    }

    /// Checks that a bulk copy fits.
    pub fn check_bulk(&self, address: u64, bytes: u64) -> Result<(), FaultKind> {
        // The swizzle fills whole lines.
        match self.bytes.checked_sub(address) {
            Some(left) if left >= bytes.next_multiple_of(128) => Ok(()),
            _ => Err(FaultKind::OutOfBounds {
                space: Space::Shared,
                address,
                bytes,
                write: true,
            }),
        }
    }

    /// `count` words at a checked address.
    #[inline(always)]
    pub fn words_at(&self, address: u64, count: usize) -> &[u32] {
        let at = (address / 4) as usize;
        &self.words[at..at + count]
    }

    /// Sets words at a checked address.
    pub fn set_words(&mut self, address: u64, words: &[u32]) {
        let at = (address / 4) as usize;
        self.words[at..at + words.len()].copy_from_slice(words);
    }

    /// The `bytes` (1, 2, 4 or 8) bytes at a checked address.
    pub fn load(&self, address: u64, bytes: u32) -> u64 {
        let at = (address / 4) as usize;
        let word = self.words[at];
        match bytes {
            4 => u64::from(word),
            8 => u64::from(word) | u64::from(self.words[at + 1]) << 32,
            2 => u64::from((word >> (8 * (address & 3))) as u16),
            _ => u64::from((word >> (8 * (address & 3))) as u8),
        }
    }

    fn store(&mut self, address: u64, bytes: u32, value: u64) {
        let at = (address / 4) as usize;
        match bytes {
            4 => self.words[at] = value as u32,
            8 => {
                self.words[at] = value as u32;
                self.words[at + 1] = (value >> 32) as u32;
            }
            _ => {
                let ones: u32 = if bytes == 1 { 0xff } else { 0xffff };
                let shift = 8 * (address & 3) as u32;
                self.words[at] = (self.words[at] & !(ones << shift)) | ((value as u32 & ones) << shift);
            }
        }
    }
}
