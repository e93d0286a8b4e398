//! Memory of a device with margins around it, which show whether a kernel wrote beside its operands.

use super::Failure;
use crate::error::Error;
use crate::gpu::{Device, Region};

/// Bytes on either side.
const MARGIN: usize = 256;

/// What margins hold: NaN in every float, -1 in integers.
const FILL: u8 = 0xff;

pub struct Guarded {
    block: u64,
    /// Bytes from the beginning of the block.
    start: usize,
    len: usize,
}

impl Guarded {
    /// `shift`: bytes by which the contents miss a multiple of 256.
    pub fn new(device: &mut dyn Device, len: usize, shift: usize) -> Result<Guarded, Error> {
        let start = MARGIN + shift;
        Ok(Guarded {
            block: device.alloc(start + len + MARGIN)?,
            start,
            len,
        })
    }

    pub fn free(self, device: &mut dyn Device) -> Result<(), Error> {
        device.free(self.block)
    }

    pub fn address(&self) -> u64 {
        self.block + self.start as u64
    }

    pub fn region(&self, write: bool) -> Region {
        Region {
            address: self.address(),
            bytes: self.len as u64,
            write,
        }
    }

    /// Writes the contents (as many bytes as there are; the rest is filled) and both margins.
    pub fn upload(&self, device: &mut dyn Device, contents: &[u8]) -> Result<(), Error> {
        let mut all = vec![FILL; self.start + self.len + MARGIN];
        all[self.start..self.start + contents.len()].copy_from_slice(contents);
        device.upload(self.block, &all)
    }

    /// The contents; fails where a margin was written to.
    pub fn download(&self, device: &mut dyn Device, what: &str) -> Result<Vec<u8>, Failure> {
        let mut all = vec![0; self.start + self.len + MARGIN];
        device.download(self.block, &mut all)?;
        let end = self.start + self.len;
        let own = |i: &usize| (self.start..end).contains(i);
        if let Some(at) = (0..all.len()).filter(|i| !own(i)).find(|i| all[*i] != FILL) {
            let from = at as i64 - self.start as i64;
            let text = format!("byte {from} of {what}, which has {} bytes, was written to", self.len);
            return Err(Failure::Wrong(text));
        }
        Ok(all[self.start..end].to_vec())
    }
}
