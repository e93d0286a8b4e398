//! MPEG audio and AAC in ADTS: frame must follow frame to the end of the file.

use super::{Fault, Input, Walk};

/// Tags that may stand behind the last frame.
const TAGS: [&[u8]; 5] = [b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3", b"3DI"];

/// Bytes that may stand before the first frame, and behind the last.
const JUNK: (u64, u64) = (1 << 16, 256);

/// A frame's size, and what all frames of a stream share.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Frame {
    size: u64,
    kind: (u8, u8),
    /// Where a table of contents would stand in the first frame.
    side: usize,
}

fn frame(h: &[u8]) -> Option<Frame> {
    let [0xff, second, third, fourth, rest @ ..] = h else {
        return None;
    };
    let (second, third, fourth) = (*second, *third, *fourth);
    if second & 0xf6 == 0xf0 {
        // ADTS.
        let (fifth, sixth) = (*rest.first()?, *rest.get(1)?);
        let size = ((fourth & 3) as u64) << 11 | (fifth as u64) << 3 | (sixth as u64) >> 5;
        return (size >= 7 && third >> 2 & 15 < 13).then_some(Frame {
            size,
            kind: (second & 0xfe, third & 0xfc),
            side: 0,
        });
    }
    let (version, layer) = (second >> 3 & 3, second >> 1 & 3);
    let (rate, frequency, padding) = (third >> 4, third >> 2 & 3, (third >> 1 & 1) as u64);
    // Free format, of rate 0, has no size to go by.
    if second & 0xe0 != 0xe0 || version == 1 || layer == 0 || rate == 0 || rate == 15 || frequency == 3 {
        return None;
    }
    const RATES: [[u64; 14]; 5] = [
        [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
        [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
        [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
        [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ];
    let first = version == 3;
    let table = match (first, layer) {
        (true, 3) => 0,
        (true, 2) => 1,
        (true, _) => 2,
        (false, 3) => 3,
        (false, _) => 4,
    };
    let bits = RATES[table][rate as usize - 1] * 1000;
    let hertz = [44_100, 48_000, 32_000][frequency as usize] / [4, 1, 2, 1][version as usize];
    let size = match layer {
        3 => (12 * bits / hertz + padding) * 4,
        1 if !first => 72 * bits / hertz + padding,
        _ => 144 * bits / hertz + padding,
    };
    let mono = fourth >> 6 == 3;
    let side = match (first, mono) {
        (true, false) => 32,
        (true, true) | (false, false) => 17,
        (false, true) => 9,
    };
    Some(Frame {
        size,
        kind: (second & 0xfe, third & 0x0c),
        side: 4 + side,
    })
}

pub(super) fn check(input: &mut Input, start: u64) -> Result<(), Fault> {
    let len = input.len();
    let Some((mut at, first)) = begin(input, start)? else {
        // Not of this kind, or free format: for the decoder to judge.
        return Ok(());
    };
    let mut walk = Walk::new(input, at)?;
    let mut head = [0; 12];
    let promised = promised_frames(&mut walk, first)?;
    let mut count = 0u64;
    while at < len {
        walk.go(at)?;
        let got = walk.fill(&mut head)?;
        match frame(&head[..got]).filter(|f| f.kind == first.kind) {
            Some(f) if at + f.size > len => {
                let what = format!("its last frame, from byte {at} on, ends early at {len}");
                return Err(Fault::Cut(what));
            }
            Some(f) => (at, count) = (at + f.size, count + 1),
            None if got < 4 && head[0] == 0xff => {
                return Err(Fault::Cut(format!(
                    "its last frame, from byte {at} on, ends early at {len}"
                )));
            }
            None if TAGS.iter().any(|t| head[..got].starts_with(t)) => break,
            None if len - at <= JUNK.1 || only_zeros(&mut walk, at)? => break,
            None => return Err(Fault::Damaged(at)),
        }
    }
    // The table's own frame is not counted.
    match promised {
        Some(promised) if count.saturating_sub(1) < promised => Err(Fault::Cut(format!(
            "it has {} of the {promised} frames that its header promises",
            count.saturating_sub(1)
        ))),
        _ => Ok(()),
    }
}

/// The first frame: one that another like it follows.
fn begin(input: &mut Input, start: u64) -> Result<Option<(u64, Frame)>, Fault> {
    let mut walk = Walk::new(input, start)?;
    let mut bytes = vec![0; (JUNK.0 + 8192).min(walk.left()) as usize];
    let got = walk.fill(&mut bytes)?;
    bytes.truncate(got);
    let most = bytes.len().min(JUNK.0 as usize);
    Ok((0..most).find_map(|at| {
        let one = frame(&bytes[at..])?;
        let next = at + one.size as usize;
        let followed = match bytes.get(next..) {
            Some(rest) if !rest.is_empty() => {
                frame(rest).is_some_and(|two| two.kind == one.kind) || TAGS.iter().any(|t| rest.starts_with(t))
            }
            // A single frame, whole or cut.
            _ => at == 0,
        };
        followed.then_some((start + at as u64, one))
    }))
}

/// Frames by the Xing, Info or VBRI table in the first frame.
fn promised_frames(walk: &mut Walk, first: Frame) -> Result<Option<u64>, Fault> {
    if first.side == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; first.size.min(walk.left()) as usize];
    let got = walk.fill(&mut bytes)?;
    let word = |at: usize| {
        let bytes = bytes[..got].get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().expect("four bytes")) as u64)
    };
    let mark = |at: usize| bytes[..got].get(at..at + 4).unwrap_or(b"");
    Ok(match () {
        _ if [&b"Xing"[..], b"Info"].contains(&mark(first.side))
            && word(first.side + 4).is_some_and(|w| w & 1 == 1) =>
        {
            word(first.side + 8)
        }
        _ if mark(36) == b"VBRI" => word(50),
        _ => None,
    })
}

fn only_zeros(walk: &mut Walk, at: u64) -> Result<bool, Fault> {
    walk.go(at)?;
    let mut bytes = vec![0; 1 << 16];
    loop {
        match walk.fill(&mut bytes)? {
            0 => return Ok(true),
            got if bytes[..got].iter().any(|b| *b != 0) => return Ok(false),
            _ => {}
        }
    }
}
