//! Containers of nested boxes: none at the outermost level may reach beyond the end of the file.

use super::{Fault, Input, Walk};

/// Boxes looked at before a file is taken for something else.
const MOST: usize = 1 << 16;

fn beyond(what: &str, at: u64, size: u64, len: u64) -> Fault {
    let there = len.saturating_sub(at);
    Fault::Cut(format!("its part `{what}` has {there} of its {size} bytes"))
}

/// MP4, M4A and 3GP.
pub(super) fn mp4(input: &mut Input) -> Result<(), Fault> {
    let mut walk = Walk::new(input, 0)?;
    for _ in 0..MOST {
        let at = walk.at;
        let mut head = [0; 16];
        if walk.fill(&mut head)? < 8 {
            break;
        }
        let name = String::from_utf8_lossy(&head[4..8]).into_owned();
        let size = match u32::from_be_bytes(head[..4].try_into().expect("four bytes")) as u64 {
            0 => break,
            1 => u64::from_be_bytes(head[8..].try_into().expect("eight bytes")),
            n => n,
        };
        if size < 8 {
            return Err(Fault::Damaged(at));
        }
        if size > walk.len - at {
            return Err(beyond(&name, at, size, walk.len));
        }
        walk.go(at + size)?;
    }
    Ok(())
}

/// Matroska and WebM.
pub(super) fn ebml(input: &mut Input) -> Result<(), Fault> {
    let mut walk = Walk::new(input, 0)?;
    for _ in 0..MOST {
        let at = walk.at;
        let mut head = [0; 12];
        let got = walk.fill(&mut head)?;
        if got < 2 {
            break;
        }
        let mark = head[0].leading_zeros() as usize + 1;
        let Some(first) = head.get(mark).copied().filter(|_| mark <= 4) else {
            return Err(Fault::Damaged(at));
        };
        let width = first.leading_zeros() as usize + 1;
        if width > 8 || mark + width > got {
            return Err(Fault::Damaged(at));
        }
        let low = if width == 8 { 0 } else { first & (0xff >> width) };
        let bytes = &head[mark + 1..mark + width];
        let size = bytes.iter().fold(low as u64, |n, b| n << 8 | *b as u64);
        // All ones: of unknown size, as a live recording writes it.
        if size == (1 << (7 * width)) - 1 {
            break;
        }
        let body = at + (mark + width) as u64;
        if size > walk.len.saturating_sub(body) {
            return Err(beyond("segment", body, size, walk.len));
        }
        walk.go(body + size)?;
    }
    Ok(())
}

/// AIFF, CAF and the WAV files that are not plain samples.
pub(super) fn chunks(input: &mut Input, head: &[u8]) -> Result<(), Fault> {
    let caf = head.starts_with(b"caff");
    let little = head.starts_with(b"RIFF");
    let wide = caf as usize * 4;
    let mut walk = Walk::new(input, if caf { 8 } else { 12 })?;
    for _ in 0..MOST {
        let at = walk.at;
        let mut head = vec![0; 8 + wide];
        if walk.fill(&mut head)? < head.len() {
            break;
        }
        let mut size = [0; 8];
        size[4 - wide..].copy_from_slice(&head[4..]);
        let size = match little {
            true => u32::from_le_bytes(head[4..8].try_into().expect("four bytes")) as u64,
            false => u64::from_be_bytes(size),
        };
        // Sizes that are not known yet: of a stream.
        if size == u64::MAX || little && (size == 0 || size >= 0x7fff_f000) {
            break;
        }
        let body = at + 8 + wide as u64;
        if size > walk.len.saturating_sub(body) {
            return Err(beyond(&String::from_utf8_lossy(&head[..4]), body, size, walk.len));
        }
        walk.go(body + if caf { size } else { size + size % 2 })?;
    }
    Ok(())
}
