//! Detects truncated and damaged containers without decoding: decoders skip damage and take a truncated file for a
//! short one.

mod boxes;
mod flac;
mod mpeg;
mod ogg;

use super::bad;
use super::input::Input;
use crate::error::Error;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

const REMEDY: &str = "copy or record it again; `ffmpeg -i FILE OUT.wav` keeps what can be saved";

/// Why a container is not whole.
enum Fault {
    /// It ends too early: what is missing.
    Cut(String),
    /// A byte from which on it is not what it should be.
    Damaged(u64),
    System(io::Error),
}

impl From<io::Error> for Fault {
    fn from(e: io::Error) -> Fault {
        Fault::System(e)
    }
}

/// Bytes in order, with their place.
struct Walk<'a> {
    reader: BufReader<&'a mut Input>,
    at: u64,
    len: u64,
}

impl<'a> Walk<'a> {
    fn new(input: &'a mut Input, at: u64) -> io::Result<Walk<'a>> {
        input.seek(SeekFrom::Start(at))?;
        let len = input.len();
        Ok(Walk {
            reader: BufReader::with_capacity(1 << 16, input),
            at,
            len,
        })
    }

    /// Bytes from here to the end.
    fn left(&self) -> u64 {
        self.len.saturating_sub(self.at)
    }

    /// Fills as much of the buffer as there is.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut got = 0;
        while got < buffer.len() {
            match self.reader.read(&mut buffer[got..])? {
                0 => break,
                n => got += n,
            }
        }
        self.at += got as u64;
        Ok(got)
    }

    fn go(&mut self, to: u64) -> io::Result<()> {
        self.reader.seek_relative(to as i64 - self.at as i64)?;
        self.at = to;
        Ok(())
    }
}

/// # Errors
/// [`Error::Audio`] that says how much is there of how much.
pub(super) fn check(path: &Path, head: &[u8], input: &mut Input) -> Result<(), Error> {
    let start = after_tags(input).map_err(Error::io("read", path))?;
    let mark = input.bytes_at(path, start, 12)?;
    let len = input.len();
    let outcome = match &mark[..] {
        m if m.starts_with(b"OggS") => ogg::check(input, start),
        m if m.starts_with(b"fLaC") => flac::check(input, start),
        [0xff, second, ..] if second & 0xe0 == 0xe0 => mpeg::check(input, start),
        m if start > 0 && !m.is_empty() => mpeg::check(input, start),
        m if m.get(4..8) == Some(b"ftyp") => boxes::mp4(input),
        m if m.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]) => boxes::ebml(input),
        m if m.starts_with(b"FORM") || m.starts_with(b"caff") || super::wav::is(head) => boxes::chunks(input, head),
        _ => Ok(()),
    };
    outcome.map_err(|fault| match fault {
        Fault::System(e) => Error::io("read", path)(e),
        Fault::Cut(what) => bad(path, format!("it is cut off: {what}"), REMEDY),
        Fault::Damaged(at) => bad(
            path,
            format!("it is damaged: {at} of its {len} bytes are sound, then it is not what it should be"),
            REMEDY,
        ),
    })
}

/// Where the sound begins behind ID3v2 tags.
fn after_tags(input: &mut Input) -> io::Result<u64> {
    let mut at = 0;
    // Tags may follow each other; a file has a few at most.
    for _ in 0..16 {
        let mut walk = Walk::new(input, at)?;
        let mut head = [0; 10];
        if walk.fill(&mut head)? < 10 || !head.starts_with(b"ID3") || head[6..].iter().any(|b| *b > 127) {
            break;
        }
        let size = head[6..].iter().fold(0, |n, b| n << 7 | *b as u64);
        let footer = if head[5] & 0x10 != 0 { 10 } else { 0 };
        at += 10 + size + footer;
    }
    Ok(at)
}
