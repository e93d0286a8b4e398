//! Band-limited resampling through rubato, chunk by chunk.

use super::{RATE, bad, resampled_len};
use crate::error::Error;
use rubato::audioadapter_buffers::owned::InterleavedOwned;
use rubato::{Fft, FixedSync, Indexing, Resampler as _};
use std::collections::BTreeMap;
use std::ops::DerefMut;
use std::path::Path;

/// Resamplers by input rate; making one costs more than a short clip.
#[derive(Default)]
pub(super) struct Resamplers {
    by_rate: BTreeMap<u32, Fft<f32>>,
}

/// With a resampler of its own.
pub(super) type Owned = Resampling<Box<Fft<f32>>>;
/// With one of [`Resamplers`].
pub(super) type Lent<'a> = Resampling<&'a mut Fft<f32>>;

/// One recording on its way to [`RATE`].
pub(super) struct Resampling<F> {
    fft: F,
    rate: u32,
    /// Samples that do not fill a chunk yet.
    pending: Vec<f32>,
    taken: u64,
    given: u64,
    /// The filter's delay that is still to be cut off.
    trim: usize,
}

impl Resamplers {
    /// Begins a recording of another rate than [`RATE`].
    pub fn begin(&mut self, path: &Path, rate: u32) -> Result<Lent<'_>, Error> {
        if let std::collections::btree_map::Entry::Vacant(place) = self.by_rate.entry(rate) {
            place.insert(make(path, rate)?);
        }
        let fft = self.by_rate.get_mut(&rate).expect("inserted above");
        fft.reset();
        Ok(Resampling::new(fft, rate))
    }
}

/// Begins a recording of another rate than [`RATE`], with a resampler of its own.
pub(super) fn begin(path: &Path, rate: u32) -> Result<Owned, Error> {
    Ok(Resampling::new(Box::new(make(path, rate)?), rate))
}

fn make(path: &Path, rate: u32) -> Result<Fft<f32>, Error> {
    // Whole periods of the two rates, and an even number of them: half a block is the filter's delay, which is cut off in
    // whole samples.
    let period = rate as usize / gcd(rate, RATE) as usize;
    let block = period * 1024usize.div_ceil(period).next_multiple_of(2);
    let made = Fft::new(rate as usize, RATE as usize, block, 1, FixedSync::Both);
    made.map_err(|e| {
        let remedy = "convert it to 16 kHz first, for example by `ffmpeg -i FILE -ar 16000 OUT.wav`";
        bad(path, format!("it cannot be resampled ({e})"), remedy)
    })
}

impl<F: DerefMut<Target = Fft<f32>>> Resampling<F> {
    fn new(fft: F, rate: u32) -> Resampling<F> {
        Resampling {
            rate,
            pending: vec![],
            taken: 0,
            given: 0,
            trim: fft.output_delay(),
            fft,
        }
    }

    /// Appends what the samples so far make certain.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.pending.extend_from_slice(samples);
        self.taken += samples.len() as u64;
        // The last chunk waits for the end, which treats it differently.
        loop {
            let chunk = self.fft.input_frames_next();
            if self.pending.len() <= chunk {
                break;
            }
            let whole: Vec<f32> = self.pending.drain(..chunk).collect();
            self.process(whole, None, out);
        }
    }

    /// Appends the rest: `ceil(samples * RATE / rate)` are given in all.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        let expected = (self.fft.resample_ratio() * self.taken as f64).ceil() as u64;
        if !self.pending.is_empty() {
            let rest = std::mem::take(&mut self.pending);
            let partial = Some(rest.len());
            self.process(rest, partial, out);
        }
        while self.given < expected {
            self.process(vec![0.0], Some(0), out);
        }
        let mut cut = |want: u64| {
            let surplus = self.given as i64 - want as i64;
            out.resize((out.len() as i64 - surplus) as usize, 0.0);
            self.given = want;
        };
        cut(expected);
        cut(resampled_len(self.taken, self.rate) as u64);
    }

    fn process(&mut self, chunk: Vec<f32>, partial_len: Option<usize>, out: &mut Vec<f32>) {
        let frames = chunk.len();
        // Sizes are made to fit, and rubato's errors are about sizes alone.
        let input = InterleavedOwned::new_from(chunk, 1, frames).expect("one channel of so many frames");
        let room = self.fft.output_frames_max();
        let mut output = InterleavedOwned::new(0.0, 1, room);
        let indexing = Indexing {
            input_offset: 0,
            output_offset: 0,
            active_channels_mask: None,
            partial_len,
        };
        let done = self.fft.process_into_buffer(&input, &mut output, Some(&indexing));
        let (_, made) = done.expect("the buffers are as large as the resampler asks");
        let trim = self.trim.min(made);
        self.trim -= trim;
        out.extend_from_slice(&output.take_data()[trim..made]);
        self.given += (made - trim) as u64;
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// In whatever pieces a recording comes, it is resampled to the bits that it gives whole.
        #[test]
        fn pieces_do_not_change_what_is_heard(
            rate in prop::sample::select(vec![8_000u32, 11_025, 22_050, 44_100, 48_000]),
            frames in 1usize..9_000, piece in 1usize..5_000,
        ) {
            let wave: Vec<f32> = (0..frames).map(|i| ((i * i % 977) as f32 / 977.0) - 0.5).collect();
            let mut all = Resamplers::default();
            let mut made = vec![];
            let mut one = all.begin(Path::new("x"), rate).unwrap();
            wave.chunks(piece).for_each(|c| one.push(c, &mut made));
            one.finish(&mut made);
            let fft = all.by_rate.get_mut(&rate).unwrap();
            let input = InterleavedOwned::new_from(wave, 1, frames).unwrap();
            let mut want = fft.process_all(&input, frames, None).unwrap().take_data();
            want.resize(resampled_len(frames as u64, rate), 0.0);
            prop_assert_eq!(made, want);
        }
    }
}
