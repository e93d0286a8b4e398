//! `atom` and `red`.

use super::block::Block;
use super::memory::{lanes_of, resolve};
use super::warp::Warp;
use crate::fault::{FaultKind, Run, raise};
use crate::op::{Atomic, AtomicOp};
use crate::race::Touch;
use crate::syntax::Space;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;

/// Atomics on 64 bits of global memory, which are two words here, exclude each other.
static WIDE: Mutex<()> = Mutex::new(());

fn apply32(op: AtomicOp, old: u32, value: u32, swap: u32) -> u32 {
    match op {
        AtomicOp::AddInt => old.wrapping_add(value),
        AtomicOp::AddFloat => (f32::from_bits(old) + f32::from_bits(value)).to_bits(),
        AtomicOp::MinUnsigned => old.min(value),
        AtomicOp::MaxUnsigned => old.max(value),
        AtomicOp::MinSigned => (old as i32).min(value as i32) as u32,
        AtomicOp::MaxSigned => (old as i32).max(value as i32) as u32,
        AtomicOp::And => old & value,
        AtomicOp::Or => old | value,
        AtomicOp::Xor => old ^ value,
        AtomicOp::Exchange => value,
        AtomicOp::CompareSwap => {
            if old == value {
                swap
            } else {
                old
            }
        }
        AtomicOp::Increment => {
            if old >= value {
                0
            } else {
                old + 1
            }
        }
        AtomicOp::Decrement => {
            if old == 0 || old > value {
                value
            } else {
                old - 1
            }
        }
    }
}

fn apply64(op: AtomicOp, old: u64, value: u64, swap: u64) -> u64 {
    match op {
        AtomicOp::AddInt => old.wrapping_add(value),
        AtomicOp::AddFloat => (f64::from_bits(old) + f64::from_bits(value)).to_bits(),
        AtomicOp::MinUnsigned => old.min(value),
        AtomicOp::MaxUnsigned => old.max(value),
        AtomicOp::MinSigned => (old as i64).min(value as i64) as u64,
        AtomicOp::MaxSigned => (old as i64).max(value as i64) as u64,
        AtomicOp::And => old & value,
        AtomicOp::Or => old | value,
        AtomicOp::Xor => old ^ value,
        AtomicOp::Exchange => value,
        AtomicOp::CompareSwap => {
            if old == value {
                swap
            } else {
                old
            }
        }
        AtomicOp::Increment => {
            if old >= value {
                0
            } else {
                old + 1
            }
        }
        AtomicOp::Decrement => {
            if old == 0 || old > value {
                value
            } else {
                old - 1
            }
        }
    }
}

impl Warp {
    /// Executes an atomic in the lanes of `mask`, lowest lane first.
    pub fn atomic(&mut self, atomic: &Atomic, mask: u32, block: &mut Block<'_>) -> Run<()> {
        let addresses = self.addresses(&atomic.address);
        let bytes = if atomic.wide { 8 } else { 4 };
        block.shared.history.at = self.pc;
        for lane in lanes_of(mask) {
            let (space, address) = resolve(atomic.space, addresses[lane]);
            if address & (bytes - 1) != 0 {
                return raise(lane, FaultKind::Misaligned { space, address, bytes });
            }
            let old = match space {
                Space::Global => self.atomic_global(atomic, lane, address, block)?,
                Space::Shared => self.atomic_shared(atomic, lane, address, block)?,
                _ => return raise(lane, FaultKind::UnsupportedSpace("atom")),
            };
            match atomic.to {
                Some(to) if atomic.wide => self.r64[usize::from(to)][lane] = old,
                Some(to) => self.r32[usize::from(to)][lane] = old as u32,
                None => {}
            }
        }
        Ok(())
    }

    fn values(&self, atomic: &Atomic, lane: usize) -> (u64, u64) {
        let (value, swap) = (usize::from(atomic.value), usize::from(atomic.swap));
        if atomic.wide {
            (self.r64[value][lane], self.r64[swap][lane])
        } else {
            (u64::from(self.r32[value][lane]), u64::from(self.r32[swap][lane]))
        }
    }

    fn atomic_global(&mut self, atomic: &Atomic, lane: usize, address: u64, block: &mut Block<'_>) -> Run<u64> {
        let (value, swap) = self.values(atomic, lane);
        let hint = &mut block.hints[self.pc as usize];
        let bytes = if atomic.wide { 8 } else { 4 };
        let span = block
            .view
            .span(hint, address, bytes, true)
            .or_else(|kind| raise(lane, kind))?;
        if atomic.wide {
            let _guard = WIDE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let old = span.load(address, 8);
            span.store(address, 8, apply64(atomic.op, old, value, swap));
            return Ok(old);
        }
        let word = &span.words(address, 1)[0];
        let mut old = word.load(Relaxed);
        loop {
            let new = apply32(atomic.op, old, value as u32, swap as u32);
            match word.compare_exchange_weak(old, new, Relaxed, Relaxed) {
                Ok(_) => return Ok(u64::from(old)),
                Err(now) => old = now,
            }
        }
    }

    fn atomic_shared(&mut self, atomic: &Atomic, lane: usize, address: u64, block: &mut Block<'_>) -> Run<u64> {
        let (value, swap) = self.values(atomic, lane);
        let (bytes, place) = (if atomic.wide { 8 } else { 4 }, self.place(lane));
        let shared = &mut block.shared;
        let note = |result: Result<(), FaultKind>| result.or_else(|kind| raise(lane, kind));
        note(shared.check(address, bytes, true))?;
        let old = shared
            .read(address, bytes as u32, place, Touch::Atomic)
            .or_else(|kind| raise(lane, kind))?;
        let new = if atomic.wide {
            apply64(atomic.op, old, value, swap)
        } else {
            u64::from(apply32(atomic.op, old as u32, value as u32, swap as u32))
        };
        note(shared.write(address, bytes as u32, new, place, Touch::Atomic))?;
        Ok(old)
    }
}
