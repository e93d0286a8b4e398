//! What a decoder of any format is: a description and blocks of samples.

use super::input::Input;
use super::pcm::Pcm;
use super::{CONVERT, RATES, bad, external, intact, lpcm, other, wav};
use crate::error::Error;
use std::path::Path;

/// Channels a recording can have; beyond them a header lies.
const MOST_CHANNELS: usize = 64;

/// What a recording is before its samples are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub rate: u32,
    pub channels: usize,
    /// Samples per channel where that is known.
    pub frames: Option<u64>,
}

pub(super) trait Decoder {
    fn format(&self) -> Format;

    /// Appends interleaved samples in [-1, 1] of the next block; false where the recording ends.
    ///
    /// # Errors
    /// [`Error::Audio`] where the stream is cut or damaged; [`Error::Io`] where the system fails.
    fn next(&mut self, block: &mut Vec<f32>) -> Result<bool, Error>;

    /// Goes on at a frame, where that is possible and exact; otherwise nothing changes and the answer is false.
    fn seek(&mut self, _frame: u64) -> Result<bool, Error> {
        Ok(false)
    }
}

/// The decoder for a recording, chosen by its content, since extensions lie.
///
/// # Errors
/// Where the file is cut or its container damaged as far as that shows without decoding, or nothing here can read it.
pub(super) fn open(path: &Path, mut input: Input) -> Result<Box<dyn Decoder>, Error> {
    let head = input.bytes_at(path, 0, 4096)?;
    let layout = match &head[..] {
        h if wav::is(h) => wav::layout(path, &mut input)?,
        h if h.starts_with(b".snd") => lpcm::au(path, h)?,
        h if h.starts_with(b"NIST_1A") => lpcm::sphere(path, h)?,
        _ => None,
    };
    let decoder: Box<dyn Decoder> = match layout {
        Some(layout) => Box::new(Pcm::new(path.into(), input, layout)?),
        None => {
            intact::check(path, &head, &mut input)?;
            match other::open(path, input.again(path)?)? {
                Ok(decoder) => Box::new(decoder),
                Err(why) => Box::new(external::open(path, input, &why)?),
            }
        }
    };
    check(path, decoder.format())?;
    Ok(decoder)
}

fn check(path: &Path, format: Format) -> Result<(), Error> {
    let refuse = |what: String| Err(bad(path, what, CONVERT));
    if !RATES.contains(&format.rate) {
        return refuse(format!("its header gives a rate of {} Hz", format.rate));
    }
    if !(1..=MOST_CHANNELS).contains(&format.channels) {
        return refuse(format!("its header gives {} channels", format.channels));
    }
    Ok(())
}
