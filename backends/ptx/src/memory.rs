//! Global memory: allocations made by the host, and the part of them one launch may touch.
//!
//! Contents are 32-bit atomics accessed with relaxed order, so blocks running on several threads may race as they may on a
//! GPU, without undefined behaviour here. Parts of a word are written by compare-and-swap.

use crate::fault::{FaultKind, LaunchError, MemoryError};
use crate::syntax::Space;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Addresses start beyond 32 bits, so that a truncated one faults.
const FIRST: u64 = 0x10_0000_0000;
/// Alignment of allocations, that of `cudaMalloc`.
const ALIGN: u64 = 256;

struct Allocation {
    bytes: u64,
    words: Box<[AtomicU32]>,
}

/// Global memory of an emulated device.
///
/// Addresses are not used again after [`Memory::free`], and allocations do not touch each other, so stale and stray
/// accesses fault.
#[derive(Default)]
pub struct Memory {
    allocations: BTreeMap<u64, Allocation>,
    next: u64,
    poison: bool,
}

impl Memory {
    /// Memory whose allocations start as zeros.
    pub fn new() -> Self {
        Self {
            allocations: BTreeMap::new(),
            next: FIRST,
            poison: false,
        }
    }

    /// Memory whose allocations start as 0xFF bytes, a NaN in every float type.
    pub fn poisoned() -> Self {
        Self {
            poison: true,
            ..Self::new()
        }
    }

    /// Allocates `bytes` bytes at a multiple of 256 and returns their address.
    pub fn alloc(&mut self, bytes: u64) -> u64 {
        let address = self.next.max(FIRST);
        let initial = if self.poison { u32::MAX } else { 0 };
        let words = (0..bytes.div_ceil(4)).map(|_| AtomicU32::new(initial)).collect();
        self.allocations.insert(address, Allocation { bytes, words });
        self.next = (address + bytes + ALIGN).next_multiple_of(ALIGN);
        address
    }

    /// Frees the allocation that starts at `address`.
    pub fn free(&mut self, address: u64) -> Result<(), MemoryError> {
        self.allocations
            .remove(&address)
            .map(|_| ())
            .ok_or(MemoryError { address, bytes: 0 })
    }

    fn within(&self, address: u64, bytes: u64) -> Result<(&Allocation, u64), MemoryError> {
        let found = self.allocations.range(..=address).next_back();
        found
            .map(|(start, allocation)| (allocation, address - start))
            .filter(|(allocation, offset)| offset.checked_add(bytes).is_some_and(|end| end <= allocation.bytes))
            .ok_or(MemoryError { address, bytes })
    }

    /// Copies `data` to `address`.
    pub fn write(&self, address: u64, data: &[u8]) -> Result<(), MemoryError> {
        let (allocation, offset) = self.within(address, data.len() as u64)?;
        let head = (offset.wrapping_neg() % 4).min(data.len() as u64) as usize;
        let (first, rest) = data.split_at(head);
        store_bytes(&allocation.words, offset, first);
        let at = (offset + head as u64) as usize / 4;
        let whole = rest.chunks_exact(4);
        store_bytes(
            &allocation.words,
            offset + (data.len() - whole.remainder().len()) as u64,
            whole.remainder(),
        );
        for (word, chunk) in allocation.words[at..].iter().zip(whole) {
            word.store(chunk.iter().rev().fold(0, |bits, &b| bits << 8 | u32::from(b)), Relaxed);
        }
        Ok(())
    }

    /// Copies the bytes at `address` to `out`.
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryError> {
        let (allocation, offset) = self.within(address, out.len() as u64)?;
        let (mut at, mut rest) = (offset, out);
        while !rest.is_empty() {
            let from = at as usize % 4;
            let bytes = allocation.words[at as usize / 4].load(Relaxed).to_le_bytes();
            let count = (4 - from).min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(&bytes[from..from + count]);
            rest = later;
            at += count as u64;
        }
        Ok(())
    }

    /// Sets `bytes` bytes at `address` to `value`.
    pub fn fill(&self, address: u64, bytes: u64, value: u8) -> Result<(), MemoryError> {
        let (allocation, offset) = self.within(address, bytes)?;
        let (mut at, end) = (offset, offset + bytes);
        while at < end {
            if at % 4 == 0 && at + 4 <= end {
                allocation.words[at as usize / 4].store(u32::from_le_bytes([value; 4]), Relaxed);
                at += 4;
            } else {
                store_bytes(&allocation.words, at, &[value]);
                at += 1;
            }
        }
        Ok(())
    }

    /// Bytes allocated now.
    pub fn allocated(&self) -> u64 {
        self.allocations.values().map(|a| a.bytes).sum()
    }
}

fn store_bytes(words: &[AtomicU32], offset: u64, data: &[u8]) {
    for (i, &byte) in data.iter().enumerate() {
        store_part(
            &words[(offset as usize + i) / 4],
            (offset as u32 + i as u32) % 4,
            1,
            u32::from(byte),
        );
    }
}

/// Replaces `bytes` (1 or 2) bytes of a word, from byte `from`.
fn store_part(word: &AtomicU32, from: u32, bytes: u32, value: u32) {
    let ones = if bytes == 1 { 0xff } else { 0xffff };
    let (shift, field) = (8 * from, ones << (8 * from));
    let mut old = word.load(Relaxed);
    loop {
        let new = (old & !field) | ((value & ones) << shift);
        match word.compare_exchange_weak(old, new, Relaxed, Relaxed) {
            Ok(_) => return,
            Err(now) => old = now,
        }
    }
}

/// A part of global memory that a launch may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    pub address: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// Whether the kernel may write there.
    pub write: bool,
}

/// A contiguous range a launch may touch.
pub(crate) struct Span<'a> {
    start: u64,
    end: u64,
    write: bool,
    /// Address of `words[0]`.
    origin: u64,
    words: &'a [AtomicU32],
}

/// Global memory as one launch sees it.
pub(crate) struct View<'a> {
    /// By start.
    spans: Vec<Span<'a>>,
}

/// Data of a module (`.global` and `.const` variables).
pub(crate) struct Image {
    pub address: u64,
    pub words: Box<[AtomicU32]>,
}

impl<'a> View<'a> {
    pub fn new(
        memory: &'a Memory,
        regions: Option<&[Region]>,
        images: &'a [Image],
        kernel: &str,
    ) -> Result<Self, LaunchError> {
        let mut spans = Vec::new();
        match regions {
            Some(regions) => {
                for r in regions.iter().filter(|r| r.bytes > 0) {
                    let (allocation, offset) = memory.within(r.address, r.bytes).map_err(|_| LaunchError::Region {
                        kernel: kernel.to_string(),
                        address: r.address,
                        bytes: r.bytes,
                    })?;
                    let origin = r.address - offset;
                    let end = r.address + r.bytes;
                    spans.push(Span {
                        start: r.address,
                        end,
                        write: r.write,
                        origin,
                        words: &allocation.words,
                    });
                }
            }
            None => spans.extend(memory.allocations.iter().map(|(&start, a)| Span {
                start,
                end: start + a.bytes,
                write: true,
                origin: start,
                words: &a.words,
            })),
        }
        spans.extend(images.iter().map(|image| Span {
            start: image.address,
            end: image.address + 4 * image.words.len() as u64,
            write: true,
            origin: image.address,
            words: &image.words,
        }));
        spans.sort_by_key(|s| s.start);
        Ok(Self { spans })
    }

    /// The span holding `bytes` bytes at `address`; `hint` is where the last look-up of this place ended.
    #[inline(always)]
    pub fn span(&self, hint: &mut u32, address: u64, bytes: u64, write: bool) -> Result<&Span<'a>, FaultKind> {
        if let Some(span) = self.spans.get(*hint as usize)
            && span.holds(address, bytes)
            && (span.write || !write)
        {
            return Ok(span);
        }
        self.search(hint, address, bytes, write)
    }

    #[cold]
    fn search(&self, hint: &mut u32, address: u64, bytes: u64, write: bool) -> Result<&Span<'a>, FaultKind> {
        let mut seen = false;
        for (i, span) in self.spans.iter().enumerate() {
            if span.holds(address, bytes) {
                if span.write || !write {
                    *hint = i as u32;
                    return Ok(span);
                }
                seen = true;
            }
        }
        Err(if seen {
            FaultKind::ReadOnly { address, bytes }
        } else {
            FaultKind::OutOfBounds {
                space: Space::Global,
                address,
                bytes,
                write,
            }
        })
    }
}

impl Span<'_> {
    #[inline(always)]
    fn holds(&self, address: u64, bytes: u64) -> bool {
        address >= self.start && address < self.end && self.end - address >= bytes
    }

    /// The words from an address (a multiple of 4) on.
    #[inline(always)]
    pub fn words(&self, address: u64, count: usize) -> &[AtomicU32] {
        let at = ((address - self.origin) / 4) as usize;
        &self.words[at..at + count]
    }

    /// The `bytes` (1, 2, 4 or 8) bytes at an aligned address within the span.
    #[inline(always)]
    pub fn load(&self, address: u64, bytes: u32) -> u64 {
        let offset = address - self.origin;
        let at = (offset / 4) as usize;
        let word = self.words[at].load(Relaxed);
        match bytes {
            4 => u64::from(word),
            8 => u64::from(word) | u64::from(self.words[at + 1].load(Relaxed)) << 32,
            2 => u64::from((word >> (8 * (offset & 3))) as u16),
            _ => u64::from((word >> (8 * (offset & 3))) as u8),
        }
    }

    /// Stores the low `bytes` (1, 2, 4 or 8) bytes at an aligned address within the span.
    #[inline(always)]
    pub fn store(&self, address: u64, bytes: u32, value: u64) {
        let offset = address - self.origin;
        let at = (offset / 4) as usize;
        match bytes {
            4 => self.words[at].store(value as u32, Relaxed),
            8 => {
                self.words[at].store(value as u32, Relaxed);
                self.words[at + 1].store((value >> 32) as u32, Relaxed);
            }
            _ => store_part(&self.words[at], (offset & 3) as u32, bytes, value as u32),
        }
    }
}
