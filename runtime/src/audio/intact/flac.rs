//! FLAC: the last frame must end where the file does, and with the last sample that the header promises.

use super::{Fault, Input, Walk};
use crate::audio::seconds;
use symphonia::core::checksum::{Crc8Ccitt, Crc16Ansi};
use symphonia::core::io::Monitor;

/// No frame is larger: 65,535 samples of 8 channels in 4 bytes, and a little.
const LARGEST: u64 = 65_535 * 8 * 4 + 4096;

/// An ID3v1 tag behind the last frame.
const TAG: usize = 128;

pub(super) fn check(input: &mut Input, start: u64) -> Result<(), Fault> {
    let mut walk = Walk::new(input, start)?;
    let mut info = [0; 42];
    // `fLaC`, then a block of kind 0 and 34 bytes.
    if walk.fill(&mut info)? < info.len() || info[4] & 0x7f != 0 {
        return Err(Fault::Damaged(start));
    }
    let nominal = u16::from_be_bytes([info[8], info[9]]) as u64;
    let packed = u64::from_be_bytes(info[18..26].try_into().expect("eight bytes"));
    let (rate, total) = ((packed >> 44) as u32, packed & ((1 << 36) - 1));
    let from = walk.len.saturating_sub(LARGEST + TAG as u64).max(start + 42);
    walk.go(from)?;
    let mut tail = vec![0; walk.left() as usize];
    let got = walk.fill(&mut tail)?;
    tail.truncate(got);
    if tail.len() >= TAG && tail[tail.len() - TAG..].starts_with(b"TAG") {
        tail.truncate(tail.len() - TAG);
    }
    let end = last_frame(&tail, nominal);
    let promised = || format!("its header promises {total} samples ({})", seconds(total, rate));
    match end {
        Some(end) if total == 0 || end == total => Ok(()),
        Some(end) => Err(Fault::Cut(format!(
            "{} and it ends after {end} ({})",
            promised(),
            seconds(end, rate)
        ))),
        None if total > 0 => Err(Fault::Cut(format!("{} and its last frame is not whole", promised()))),
        None => Err(Fault::Cut("its last frame is not whole".into())),
    }
}

/// The sample after the last of the frame that ends with these bytes.
fn last_frame(tail: &[u8], nominal: u64) -> Option<u64> {
    (0..tail.len().saturating_sub(1)).rev().find_map(|at| {
        if tail[at] != 0xff || tail[at + 1] & 0xfe != 0xf8 {
            return None;
        }
        let end = frame_end(&tail[at..], nominal)?;
        let (body, crc) = tail[at..].split_at(tail.len() - at - 2);
        let mut found = Crc16Ansi::new(0);
        found.process_buf_bytes(body);
        (found.crc() == u16::from_be_bytes([crc[0], crc[1]])).then_some(end)
    })
}

/// The sample after a frame's last, by its header; `None` where this is no header.
fn frame_end(frame: &[u8], nominal: u64) -> Option<u64> {
    let variable = frame[1] & 1 == 1;
    let (size, rate) = (*frame.get(2)? >> 4, frame[2] & 15);
    // The frame's or sample's number, written as UTF-8 writes characters.
    let first = *frame.get(4)?;
    let more = match first.leading_ones() {
        0 => 0,
        n @ 2..=7 => n as usize - 1,
        _ => return None,
    };
    let mut number = match more {
        0 => first as u64,
        n => (first as u64) & ((1 << (6 - n)) - 1),
    };
    for byte in frame.get(5..5 + more)? {
        if byte & 0xc0 != 0x80 {
            return None;
        }
        number = number << 6 | (byte & 0x3f) as u64;
    }
    let mut at = 5 + more;
    let block = match size {
        0 => return None,
        1 => 192,
        n @ 2..=5 => 576 << (n - 2),
        6 => {
            at += 1;
            *frame.get(at - 1)? as u64 + 1
        }
        7 => {
            at += 2;
            u16::from_be_bytes([*frame.get(at - 2)?, *frame.get(at - 1)?]) as u64 + 1
        }
        n => 256 << (n - 8),
    };
    at += match rate {
        12 => 1,
        13 | 14 => 2,
        _ => 0,
    };
    let mut found = Crc8Ccitt::new(0);
    found.process_buf_bytes(frame.get(..at)?);
    if found.crc() != *frame.get(at)? {
        return None;
    }
    let start = if variable { number } else { number.checked_mul(nominal)? };
    start.checked_add(block)
}
