//! The bytes of a model, mapped or held, and reading numbers at any place: what lies outside reads as nothing.

use memmap2::Mmap;
use std::ops::Deref;

pub enum Bytes {
    Mapped(Mmap),
    Held(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Held(bytes) => bytes,
        }
    }
}

pub fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

pub fn f32_at(bytes: &[u8], at: usize) -> Option<f32> {
    array(bytes, at).map(f32::from_le_bytes)
}

/// At most 57 bits from a place counted in bits; 0 outside.
pub fn bits_at(bytes: &[u8], base: usize, bit: u64, count: u32) -> u64 {
    let at = base.wrapping_add((bit >> 3) as usize);
    let word = u64_at(bytes, at).unwrap_or(0);
    (word >> (bit & 7)) & ((1u64 << count) - 1)
}

/// Bits to hold a number.
pub fn bits_for(number: u64) -> u32 {
    64 - number.leading_zeros()
}
