//! Ogg: every page has a checksum and a number, and the last page of a stream says that it is the last.

use super::{Fault, Input, Walk};
use std::collections::BTreeMap;
use symphonia::core::checksum::Crc32;
use symphonia::core::io::Monitor;

/// A page's header without its table of segments.
const HEADER: usize = 27;

struct Stream {
    next: u32,
    over: bool,
}

pub(super) fn check(input: &mut Input, start: u64) -> Result<(), Fault> {
    let mut walk = Walk::new(input, start)?;
    let mut streams: BTreeMap<u32, Stream> = BTreeMap::new();
    let mut page = vec![];
    while walk.left() > 0 {
        let begun = walk.at;
        let cut = |walk: &Walk| {
            Fault::Cut(format!(
                "its last page, from byte {begun} on, ends early at {}",
                walk.len
            ))
        };
        page.resize(HEADER, 0);
        let got = walk.fill(&mut page)?;
        if !b"OggS".starts_with(&page[..got.min(4)]) {
            return Err(Fault::Damaged(begun));
        }
        if got < HEADER {
            return Err(cut(&walk));
        }
        let word = |page: &[u8], at: usize| u32::from_le_bytes(page[at..at + 4].try_into().expect("four bytes"));
        let (flags, serial, number, crc) = (page[5], word(&page, 14), word(&page, 18), word(&page, 22));
        let table = page[26] as usize;
        page.resize(HEADER + table, 0);
        if walk.fill(&mut page[HEADER..])? < table {
            return Err(cut(&walk));
        }
        let body: usize = page[HEADER..].iter().map(|n| *n as usize).sum();
        page.resize(HEADER + table + body, 0);
        if walk.fill(&mut page[HEADER + table..])? < body {
            return Err(cut(&walk));
        }
        // The checksum is over the page with its own place zeroed.
        page[22..26].fill(0);
        let mut found = Crc32::new(0);
        found.process_buf_bytes(&page);
        if found.crc() != crc {
            return Err(Fault::Damaged(begun));
        }
        let stream = streams.entry(serial).or_insert(Stream {
            next: number,
            over: false,
        });
        if stream.next != number {
            return Err(Fault::Cut(format!(
                "page {number} comes at byte {begun} where page {} should",
                stream.next
            )));
        }
        stream.next = number.wrapping_add(1);
        stream.over |= flags & 4 != 0;
    }
    match streams.values().all(|s| s.over) {
        true => Ok(()),
        false => Err(Fault::Cut(format!("its last page is missing after byte {}", walk.len))),
    }
}
