//! Files to samples: any format, rate and channel count to mono 16 kHz.
//!
//! `input` opens, `decode` chooses a decoder (`wav` and `lpcm` read headers for `pcm`; `other`, `opus` and `external` decode
//! what is compressed), `intact` finds what is cut or damaged, `stream` mixes, checks and resamples.

mod decode;
mod external;
mod header;
mod input;
mod intact;
mod levels;
mod lpcm;
mod normalize;
mod opus;
mod other;
mod pcm;
mod pushed;
mod resample;
mod segment;
mod stream;
mod wav;

pub use header::{Header, wav_header};
pub(crate) use input::special;
pub use input::{STDIN, is_missing, is_of_the_system};
pub use levels::{Gains, Levels};
pub use normalize::normalize;
pub use pushed::Pushed;
pub use segment::{At, Segment};
pub use stream::{GivenUp, Reader, Stream, is_silent};

use crate::error::Error;
use std::path::Path;

/// Samples per second of everything after this module.
pub const RATE: u32 = 16_000;

/// Rates a recording can have; beyond them a header lies.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;

/// Hours a recording can last. A few bytes can claim days of silence.
pub const MOST_HOURS: u64 = 24;

/// Extensions a folder is searched for.
pub const EXTENSIONS: &[&str] = &[
    "wav", "flac", "mp3", "ogg", "oga", "opus", "m4a", "mp4", "aac", "aiff", "aif", "aifc", "caf", "mkv", "mka",
    "webm", "mp2", "mp1", "w64", "rf64", "sph", "au", "snd", "wma", "amr", "3gp", "gsm", "ac3", "ape", "wv", "spx",
    "tta",
];

const CONVERT: &str = "convert it, for example by `ffmpeg -i FILE -ar 16000 -ac 1 OUT.wav`";

/// Samples at [`RATE`] that a recording, or a segment of it, will have: from its header where that can be believed, else by
/// decoding it.
///
/// # Errors
/// As [`Reader::open`]; a file that is cut or whose container is damaged is found here where that shows without decoding.
pub fn probe(path: &Path, segment: Option<Segment>) -> Result<usize, Error> {
    let mut reader = Reader::default();
    let mut stream = reader.open(path, segment)?;
    if let Some(known) = stream.len() {
        return Ok(known);
    }
    // Some streams tell their length nowhere.
    let (mut count, mut samples) = (0, vec![]);
    while stream.more(&mut samples)? {
        count += samples.len();
        samples.clear();
    }
    Ok(count + samples.len())
}

fn resampled_len(frames: u64, rate: u32) -> usize {
    (frames as u128 * RATE as u128).div_ceil(rate.max(1) as u128) as usize
}

/// A length as people say it.
fn seconds(samples: u64, rate: u32) -> String {
    let s = samples as f64 / rate.max(1) as f64;
    if s < 600.0 {
        format!("{s:.2} s")
    } else {
        format!("{:.2} h", s / 3600.0)
    }
}

fn bad(path: &Path, what: impl Into<String>, remedy: &'static str) -> Error {
    Error::Audio {
        path: path.into(),
        what: what.into(),
        remedy,
    }
}

#[cfg(test)]
mod tests;
