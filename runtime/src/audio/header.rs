//! The header of a WAV file that comes through a pipe, where nobody can go back and sizes are not known yet.

use super::wav::is_unwritten;
use super::{RATES, bad};
use crate::error::Error;
use std::path::Path;

const CONVERT: &str = "pipe plain samples, for example by `ffmpeg -i FILE -f s16le -ar 16000 -ac 1 -`";

/// What the first bytes of a pipe are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// More bytes are needed to tell.
    Unfinished,
    /// Samples begin at once.
    None,
    Wav {
        rate: u32,
        channels: usize,
        floats: bool,
        /// Where the samples begin.
        samples_at: usize,
        /// Bytes of samples, where the header knows: what follows is something else.
        bytes: Option<u64>,
    },
}

/// Reads the header of a WAV file, if the bytes begin with one.
///
/// # Errors
/// Where it describes samples that are neither 16-bit integers nor 32-bit floating-point numbers.
pub fn wav_header(path: &Path, bytes: &[u8]) -> Result<Header, Error> {
    let mark = &bytes[..bytes.len().min(4)];
    if mark.is_empty() || !b"RIFF".starts_with(mark) {
        return Ok(Header::None);
    }
    if bytes.len() < 12 {
        return Ok(Header::Unfinished);
    }
    if &bytes[8..12] != b"WAVE" {
        return Ok(Header::None);
    }
    let word = |at: usize| {
        bytes
            .get(at..at + 4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    };
    let half = |at: usize| bytes.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let (mut at, mut found) = (12, None);
    loop {
        let (Some(name), Some(size)) = (bytes.get(at..at + 4), word(at + 4)) else {
            return Ok(Header::Unfinished);
        };
        let body = at + 8;
        match name {
            b"fmt " => {
                let (Some(tag), Some(channels), Some(rate), Some(bits)) =
                    (half(body), half(body + 2), word(body + 4), half(body + 14))
                else {
                    return Ok(Header::Unfinished);
                };
                let tag = match tag {
                    0xfffe if size >= 26 => match half(body + 24) {
                        Some(tag) => tag,
                        None => return Ok(Header::Unfinished),
                    },
                    tag => tag,
                };
                found = Some((tag, channels as usize, rate, bits));
            }
            b"data" => {
                let Some((tag, channels, rate, bits)) = found else {
                    return Err(bad(path, "its samples come before their description", CONVERT));
                };
                if !RATES.contains(&rate) || !(1..=64).contains(&channels) {
                    return Err(bad(
                        path,
                        format!("its header gives {channels} channels at {rate} Hz"),
                        CONVERT,
                    ));
                }
                let floats = match (tag, bits) {
                    (1, 16) => false,
                    (3, 32) => true,
                    _ => {
                        let what = format!(
                            "its samples have {bits} bits in encoding {tag}; 16-bit integers and 32-bit floats can be streamed"
                        );
                        return Err(bad(path, what, CONVERT));
                    }
                };
                return Ok(Header::Wav {
                    rate,
                    channels,
                    floats,
                    samples_at: body,
                    bytes: Some(size as u64).filter(|size| !is_unwritten(*size)),
                });
            }
            _ => {}
        }
        at = body.saturating_add(size as usize).saturating_add(size as usize % 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(tag: u16, bits: u16) -> Vec<u8> {
        let mut out = b"RIFF\xff\xff\xff\xffWAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
        out.extend(tag.to_le_bytes());
        out.extend(2u16.to_le_bytes());
        out.extend(48_000u32.to_le_bytes());
        out.extend([0; 6]);
        out.extend(bits.to_le_bytes());
        out.extend(b"data\xff\xff\xff\xff");
        out
    }

    #[test]
    fn a_header_is_known_as_soon_as_it_is_whole_and_never_before() {
        let of = |bytes: &[u8]| wav_header(Path::new("x"), bytes).unwrap();
        let all = wav(1, 16);
        for end in 1..all.len() {
            assert_eq!(of(&all[..end]), Header::Unfinished, "{end}");
        }
        let samples_at = all.len();
        let want = Header::Wav {
            rate: 48_000,
            channels: 2,
            floats: false,
            samples_at,
            bytes: None,
        };
        assert_eq!(of(&all), want);
        // A size that is known is told.
        let mut sized = all.clone();
        sized[samples_at - 4..].copy_from_slice(&1234u32.to_le_bytes());
        assert!(matches!(of(&sized), Header::Wav { bytes: Some(1234), .. }));
        assert_eq!(of(b"RIFX"), Header::None);
        assert_eq!(of(&[0, 1, 2]), Header::None);
        assert_eq!(of(&[]), Header::None);
        let error = wav_header(Path::new("x"), &wav(2, 4)).unwrap_err().to_string();
        assert!(error.contains("encoding 2") && error.contains("ffmpeg"), "{error}");
    }
}
