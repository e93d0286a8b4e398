//! WAV files through hound.

use super::{Raw, bad};
use crate::error::Error;
use hound::{SampleFormat, WavReader};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

const CONVERT: &str = "convert it with `ffmpeg -i FILE -ar 16000 -ac 1 OUT.wav`";

/// `None` where hound does not know the encoding (A-law, ADPCM...): another decoder may.
fn open(path: &Path) -> Result<Option<WavReader<BufReader<File>>>, Error> {
    match WavReader::open(path) {
        Ok(reader) if reader.spec().channels > 0 => Ok(Some(reader)),
        Ok(_) => Err(bad(path, "its header gives no channels", CONVERT)),
        Err(hound::Error::Unsupported) => Ok(None),
        Err(e) => Err(bad(path, format!("it is not a readable WAV file ({e})"), CONVERT)),
    }
}

/// Rate and frames by the header, but no more frames than the file has bytes for.
pub(super) fn probe(path: &Path) -> Result<Option<(u32, u64)>, Error> {
    let Some(reader) = open(path)? else { return Ok(None) };
    let spec = reader.spec();
    let bytes = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
    let frame = spec.channels as u64 * (spec.bits_per_sample as u64).div_ceil(8).max(1);
    Ok(Some((spec.sample_rate, (reader.duration() as u64).min(bytes / frame))))
}

pub(super) fn read(path: &Path) -> Result<Option<Raw>, Error> {
    let Some(mut reader) = open(path)? else { return Ok(None) };
    let spec = reader.spec();
    let channels = spec.channels as usize;
    let promised = reader.duration() as usize;
    // The header's promise is not trusted with memory.
    let mut samples = Vec::with_capacity(promised.min(1 << 22));
    let mut mix = Mix {
        channels,
        sum: 0.0,
        seen: 0,
        out: &mut samples,
    };
    let outcome = match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().try_for_each(|s| s.map(|s| mix.push(s))),
        SampleFormat::Int => {
            let unit = 1.0 / (1u64 << (spec.bits_per_sample.max(1) - 1)) as f32;
            reader
                .samples::<i32>()
                .try_for_each(|s| s.map(|s| mix.push(s as f32 * unit)))
        }
    };
    match outcome {
        Ok(()) => Ok(Some(Raw {
            rate: spec.sample_rate,
            samples,
        })),
        Err(hound::Error::IoError(_) | hound::Error::FormatError(_)) => Err(bad(
            path,
            format!(
                "its header promises {promised} samples and the file ends after {}",
                samples.len()
            ),
            "copy it again, or repair the header with `ffmpeg -i FILE OUT.wav`",
        )),
        Err(e) => Err(bad(path, format!("it is not a readable WAV file ({e})"), CONVERT)),
    }
}

/// Averages interleaved channels.
struct Mix<'a> {
    channels: usize,
    sum: f32,
    seen: usize,
    out: &'a mut Vec<f32>,
}

impl Mix<'_> {
    fn push(&mut self, sample: f32) {
        self.sum += sample;
        self.seen += 1;
        if self.seen == self.channels {
            self.out.push(self.sum / self.channels as f32);
            (self.sum, self.seen) = (0.0, 0);
        }
    }
}
