//! Samples as bytes that come piece by piece, from a pipe or a socket, to mono samples at [`RATE`].

use super::resample::{Owned, begin};
use super::stream::LOUDEST;
use super::{RATE, bad};
use crate::error::Error;
use std::path::Path;

/// Raw mono samples on their way to [`RATE`].
pub struct Pushed {
    floats: bool,
    channels: usize,
    /// Bytes of a frame that has not come whole.
    rest: Vec<u8>,
    resampling: Option<Owned>,
}

impl Pushed {
    /// `floats`: 32-bit floating-point numbers, else 16-bit integers; both little-endian.
    ///
    /// # Errors
    /// Where the rate is not one that can be resampled.
    pub fn new(rate: u32, floats: bool) -> Result<Pushed, Error> {
        Pushed::of(rate, floats, 1)
    }

    /// Of several channels, which are averaged.
    ///
    /// # Errors
    /// As [`Pushed::new`].
    pub fn of(rate: u32, floats: bool, channels: usize) -> Result<Pushed, Error> {
        let resampling = match rate {
            RATE => None,
            other => Some(begin(Path::new("stream"), other)?),
        };
        Ok(Pushed {
            floats,
            channels: channels.max(1),
            rest: vec![],
            resampling,
        })
    }

    /// Appends the samples that have come.
    ///
    /// # Errors
    /// Where one is no finite number, or far beyond full scale: then the bytes are something else.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<f32>) -> Result<(), Error> {
        self.rest.extend_from_slice(bytes);
        let size = if self.floats { 4 } else { 2 };
        let whole = self.rest.len() / (size * self.channels) * size * self.channels;
        let value = |b: &[u8]| match self.floats {
            true => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            false => i16::from_le_bytes([b[0], b[1]]) as f32 / 32_768.0,
        };
        let all: Vec<f32> = self.rest[..whole].chunks_exact(size).map(value).collect();
        self.rest.drain(..whole);
        if let Some(value) = all.iter().find(|s| !(s.abs() <= LOUDEST)) {
            let what = format!("a sample is {value:e}, and full scale is 1");
            return Err(bad(
                Path::new("stream"),
                what,
                "check the format: s16le or f32le, and no header",
            ));
        }
        let mono: Vec<f32> = match self.channels {
            1 => all,
            n => all.chunks_exact(n).map(|f| f.iter().sum::<f32>() / n as f32).collect(),
        };
        match &mut self.resampling {
            Some(resampling) => resampling.push(&mono, out),
            None => out.extend(mono),
        }
        Ok(())
    }

    /// Appends what is left once no more bytes come; part of a sample is left out.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        if let Some(resampling) = &mut self.resampling {
            resampling.finish(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(rate: u32, floats: bool, bytes: &[u8], cuts: &[usize]) -> Vec<f32> {
        let (mut pushed, mut out, mut from) = (Pushed::new(rate, floats).unwrap(), vec![], 0);
        for cut in cuts {
            let to = (from + cut).min(bytes.len());
            pushed.push(&bytes[from..to], &mut out).unwrap();
            from = to;
        }
        pushed.push(&bytes[from..], &mut out).unwrap();
        pushed.finish(&mut out);
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn pieces_give_what_the_whole_gives(
            count in 1usize..3000, cuts in prop::collection::vec(0usize..700, 0..9), rate in prop::sample::select(vec![16_000u32, 48_000, 44_100, 8_000]),
        ) {
            let bytes: Vec<u8> = (0..count).flat_map(|i| ((i * 37 % 2000) as i16 - 1000).to_le_bytes()).collect();
            let whole = all(rate, false, &bytes, &[]);
            prop_assert_eq!(whole.len(), (count * 16_000).div_ceil(rate as usize));
            prop_assert_eq!(all(rate, false, &bytes, &cuts), whole);
        }
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        let mut pushed = Pushed::new(16_000, true).unwrap();
        let error = pushed.push(&f32::NAN.to_le_bytes(), &mut vec![]).unwrap_err();
        assert!(error.to_string().contains("f32le"), "{error}");
        let mut out = vec![];
        Pushed::of(16_000, false, 2)
            .unwrap()
            .push(&[0, 64, 0, 0, 1], &mut out)
            .unwrap();
        assert_eq!(out, [0.25]);
    }
}
