//! WAV in its three sizes: RIFF, RF64 (or BW64) and Sony's Wave64.

use super::input::Input;
use super::pcm::{Layout, Sample};
use super::{CONVERT, bad};
use crate::error::Error;
use std::path::Path;

/// Chunks looked at before a file is given up.
const MOST_CHUNKS: usize = 4096;

/// What follows the first four bytes of every Wave64 identifier but `riff`'s.
const W64_TAIL: [u8; 12] = [0xf3, 0xac, 0xd3, 0x11, 0x8c, 0xd1, 0x00, 0xc0, 0x4f, 0x8e, 0xdb, 0x8a];

pub(super) fn is(head: &[u8]) -> bool {
    let riff = ["RIFF", "RF64", "BW64"].iter().any(|m| head.starts_with(m.as_bytes()));
    riff && head.get(8..12) == Some(b"WAVE") || is_w64(head)
}

fn is_w64(head: &[u8]) -> bool {
    head.starts_with(b"riff\x2e\x91\xcf\x11") && head.get(24..28) == Some(b"wave")
}

/// Where the samples lie and how; `None` for encodings that are not plain samples (ADPCM, GSM...).
pub(super) fn layout(path: &Path, input: &mut Input) -> Result<Option<Layout>, Error> {
    let head = input.bytes_at(path, 0, 40)?;
    let wide = is_w64(&head);
    let mut at = if wide { 40 } else { 12 };
    let (mut kind, mut long) = (None, None);
    for _ in 0..MOST_CHUNKS {
        let (mark, size, body) = if wide {
            let bytes = input.bytes_at(path, at, 24)?;
            if bytes.len() < 24 {
                break;
            }
            let size = u64::from_le_bytes(bytes[16..24].try_into().expect("eight bytes"));
            let known = bytes[4..16] == W64_TAIL;
            let mark = if known { &bytes[..4] } else { b"    " };
            (mark.to_vec(), size.saturating_sub(24), at + 24)
        } else {
            let bytes = input.bytes_at(path, at, 8)?;
            if bytes.len() < 8 {
                break;
            }
            (bytes[..4].to_vec(), word(&bytes, 4) as u64, at + 8)
        };
        match &mark[..] {
            // The sizes that do not fit 32 bits: of the file, of the samples.
            b"ds64" => {
                let bytes = input.bytes_at(path, body, 16)?;
                long = bytes
                    .get(8..16)
                    .map(|b| u64::from_le_bytes(b.try_into().expect("eight bytes")));
            }
            b"fmt " => kind = Some(input.bytes_at(path, body, size.min(64) as usize)?),
            b"data" => {
                let Some(kind) = kind else {
                    return Err(bad(path, "its samples come before their description", CONVERT));
                };
                let there = input.len().saturating_sub(body);
                let bytes = match size {
                    0xffff_ffff if long.is_some() => long,
                    size if unknown(size, there) => None,
                    size => Some(size),
                };
                return described(path, &kind, body, bytes);
            }
            _ => {}
        }
        let padded = if wide {
            size.next_multiple_of(8)
        } else {
            size + size % 2
        };
        at = match body.checked_add(padded) {
            Some(next) if next > at && next <= input.len() => next,
            _ => break,
        };
    }
    let what = match kind {
        Some(_) => "it ends before its samples begin",
        None => "it is not a readable WAV file: it has no description of its samples",
    };
    Err(bad(path, what, CONVERT))
}

/// Sizes that programs write before they know the size, to a pipe: 0, all ones, and the most a signed word holds, less what
/// the header takes.
pub(super) fn is_unwritten(size: u64) -> bool {
    matches!(size, 0 | 0x7fff_f000..=0x8000_0000 | 0xffff_f000..)
}

/// Whether a size is not that of the bytes that are there.
fn unknown(size: u64, there: u64) -> bool {
    is_unwritten(size) && if size == 0 { there > 0 } else { size > there }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .map_or(0, |b| u32::from_le_bytes(b.try_into().expect("four bytes")))
}

fn half(bytes: &[u8], at: usize) -> u16 {
    word(&[bytes.get(at..at + 2).unwrap_or(&[0, 0]), &[0, 0]].concat(), 0) as u16
}

fn described(path: &Path, kind: &[u8], start: u64, bytes: Option<u64>) -> Result<Option<Layout>, Error> {
    let fault = |what: String| bad(path, format!("it is not a readable WAV file: {what}"), CONVERT);
    if kind.len() < 16 {
        return Err(fault("the description of its samples is cut off".into()));
    }
    let (mut tag, channels, rate) = (half(kind, 0), half(kind, 2), word(kind, 4));
    let (align, bits) = (half(kind, 12), half(kind, 14));
    if tag == 0xfffe && kind.len() >= 26 {
        tag = half(kind, 24);
    }
    if channels == 0 {
        return Err(fault("its header gives no channels".into()));
    }
    // Samples lie left-justified in whole bytes; the frame says how many.
    let size = align / channels;
    let sample = match (tag, size) {
        (1, 1) => Sample::U8,
        (1, 2..=4) => Sample::Int(size as usize),
        (3, 4) => Sample::F32,
        (3, 8) => Sample::F64,
        (6, 1) => Sample::ALaw,
        (7, 1) => Sample::MuLaw,
        (1 | 3, _) => {
            return Err(fault(format!(
                "its header gives {bits} bits per sample and {align} bytes per frame of {channels} channels"
            )));
        }
        _ => return Ok(None),
    };
    if align % channels != 0 || bits as usize > 8 * sample.bytes() || tag == 1 && bits == 0 {
        return Err(fault(format!(
            "its header gives {bits} bits per sample and {align} bytes per frame of {channels} channels"
        )));
    }
    Ok(Some(Layout {
        rate,
        channels: channels as u32,
        sample,
        big_endian: false,
        start,
        bytes,
    }))
}
