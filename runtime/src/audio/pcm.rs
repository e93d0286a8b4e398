//! Samples as they lie in a file: linear, floating point, A-law and mu-law.

use super::decode::{Decoder, Format};
use super::input::Input;
use super::{bad, seconds};
use crate::error::Error;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

/// How one sample is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    /// Offset binary, 8 bits.
    U8,
    /// Two's complement of 1 to 4 bytes.
    Int(usize),
    F32,
    F64,
    ALaw,
    MuLaw,
}

impl Sample {
    pub fn bytes(self) -> usize {
        match self {
            Sample::U8 | Sample::ALaw | Sample::MuLaw => 1,
            Sample::Int(n) => n,
            Sample::F32 => 4,
            Sample::F64 => 8,
        }
    }

    fn value(self, bytes: &[u8], big: bool) -> f32 {
        let mut raw = [0u8; 8];
        let n = bytes.len();
        raw[..n].copy_from_slice(bytes);
        if big {
            raw[..n].reverse();
        }
        let word = u64::from_le_bytes(raw);
        match self {
            Sample::U8 => (word as i32 - 128) as f32 / 128.0,
            Sample::Int(n) => {
                let bits = 8 * n as u32;
                let signed = ((word << (64 - bits)) as i64 >> (64 - bits)) as i32;
                signed as f32 * (1.0 / (1u64 << (bits - 1)) as f32)
            }
            Sample::F32 => f32::from_bits(word as u32),
            Sample::F64 => f64::from_bits(word) as f32,
            Sample::ALaw => a_law(word as u8) as f32 / 32_768.0,
            Sample::MuLaw => mu_law(word as u8) as f32 / 32_768.0,
        }
    }
}

/// G.711, to 16 bits.
fn a_law(code: u8) -> i16 {
    let code = code ^ 0x55;
    let (exponent, fraction) = ((code >> 4) & 7, (code & 15) as i16);
    let magnitude = match exponent {
        0 => (fraction << 4) + 8,
        e => ((fraction << 4) + 0x108) << (e - 1),
    };
    if code & 0x80 != 0 { magnitude } else { -magnitude }
}

/// G.711, to 16 bits.
fn mu_law(code: u8) -> i16 {
    let code = !code;
    let (exponent, fraction) = ((code >> 4) & 7, (code & 15) as i32);
    let magnitude = (((fraction << 3) + 0x84) << exponent) - 0x84;
    (if code & 0x80 != 0 { -magnitude } else { magnitude }) as i16
}

/// What a header says of the samples behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub rate: u32,
    pub channels: u32,
    pub sample: Sample,
    pub big_endian: bool,
    /// Where the samples begin.
    pub start: u64,
    /// Bytes of samples; `None` where the header does not know, as of a recording that was written to a pipe.
    pub bytes: Option<u64>,
}

/// Reads samples by their layout.
pub(super) struct Pcm {
    path: PathBuf,
    input: Input,
    layout: Layout,
    frames: u64,
    done: u64,
    bytes: Vec<u8>,
}

/// Frames per block.
const BLOCK: u64 = 1 << 14;

impl Pcm {
    /// # Errors
    /// Where the header promises more than the file holds.
    pub fn new(path: PathBuf, mut input: Input, layout: Layout) -> Result<Pcm, Error> {
        let frame = layout.channels as u64 * layout.sample.bytes() as u64;
        if frame == 0 {
            return Err(bad(&path, "its header gives no channels", super::CONVERT));
        }
        let there = input.len().saturating_sub(layout.start) / frame;
        let promised = layout.bytes.map_or(there, |b| b / frame);
        if promised > there {
            let what = format!(
                "its header promises {promised} samples ({}) and the file ends after {there} ({})",
                seconds(promised, layout.rate),
                seconds(there, layout.rate)
            );
            return Err(bad(
                &path,
                what,
                "copy it again, or keep what is there by `ffmpeg -i FILE OUT.wav`",
            ));
        }
        input
            .seek(SeekFrom::Start(layout.start))
            .map_err(Error::io("read", &path))?;
        Ok(Pcm {
            path,
            input,
            layout,
            frames: promised,
            done: 0,
            bytes: vec![],
        })
    }
}

impl Decoder for Pcm {
    fn format(&self) -> Format {
        Format {
            rate: self.layout.rate,
            channels: self.layout.channels as usize,
            frames: Some(self.frames),
        }
    }

    fn next(&mut self, block: &mut Vec<f32>) -> Result<bool, Error> {
        let Layout {
            channels,
            sample,
            big_endian,
            ..
        } = self.layout;
        let frames = BLOCK.min(self.frames - self.done);
        let size = frames as usize * channels as usize * sample.bytes();
        self.bytes.clear();
        let got = self.input.by_ref().take(size as u64).read_to_end(&mut self.bytes);
        if got.map_err(Error::io("read", &self.path))? < size {
            return Err(bad(&self.path, "it became shorter while it was read", "copy it again"));
        }
        let values = self.bytes.chunks_exact(sample.bytes());
        block.extend(values.map(|b| sample.value(b, big_endian)));
        self.done += frames;
        Ok(frames > 0)
    }

    fn seek(&mut self, frame: u64) -> Result<bool, Error> {
        let frame = frame.min(self.frames);
        let size = self.layout.channels as u64 * self.layout.sample.bytes() as u64;
        self.input
            .seek(SeekFrom::Start(self.layout.start + frame * size))
            .map_err(Error::io("read", &self.path))?;
        self.done = frame;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_sample_gives_its_value() {
        for (sample, bytes, big, want) in [
            (Sample::U8, &[0][..], false, -1.0),
            (Sample::U8, &[192], false, 0.5),
            (Sample::Int(1), &[0xc0], false, -0.5),
            (Sample::Int(2), &[0, 0x40], false, 0.5),
            (Sample::Int(2), &[0x40, 0], true, 0.5),
            (Sample::Int(3), &[0, 0, 0x80], false, -1.0),
            (Sample::Int(4), &[0xe0, 0, 0, 0], true, -0.25),
            (Sample::F32, &0.3f32.to_le_bytes(), false, 0.3),
            (Sample::F64, &(-0.7f64).to_be_bytes(), true, -0.7),
            // The loudest and the quietest codes of G.711.
            (Sample::MuLaw, &[0x00], false, -32_124.0 / 32_768.0),
            (Sample::MuLaw, &[0xff], false, 0.0),
            (Sample::ALaw, &[0x2a], false, -32_256.0 / 32_768.0),
            (Sample::ALaw, &[0xd5], false, 8.0 / 32_768.0),
        ] {
            assert_eq!(sample.value(bytes, big), want, "{sample:?} {bytes:?}");
        }
    }
}
