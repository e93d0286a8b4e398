//! Band-limited resampling through rubato.

use super::{RATE, Raw, bad, resampled_len};
use crate::error::Error;
use rubato::audioadapter_buffers::owned::InterleavedOwned;
use rubato::{Fft, FixedSync, Resampler as _};
use std::collections::BTreeMap;
use std::path::Path;

/// Resamplers by input rate; making one costs more than a short clip.
#[derive(Default)]
pub(super) struct Resampler {
    by_rate: BTreeMap<u32, Fft<f32>>,
}

impl Resampler {
    /// The samples at [`RATE`]: `ceil(len * RATE / rate)` of them.
    pub(super) fn resample(&mut self, path: &Path, raw: Raw) -> Result<Vec<f32>, Error> {
        if raw.rate == RATE {
            return Ok(raw.samples);
        }
        const REMEDY: &str = "convert it to 16 kHz first, for example by `ffmpeg -i FILE -ar 16000 OUT.wav`";
        let failed = |e: &dyn std::fmt::Display| bad(path, format!("it cannot be resampled ({e})"), REMEDY);
        if let std::collections::btree_map::Entry::Vacant(place) = self.by_rate.entry(raw.rate) {
            // Whole periods of the two rates, and an even number of them: half a block is the filter's delay, which is
            // cut off in whole samples.
            let period = raw.rate as usize / gcd(raw.rate, RATE) as usize;
            let block = period * 1024usize.div_ceil(period).next_multiple_of(2);
            let made = Fft::new(raw.rate as usize, RATE as usize, block, 1, FixedSync::Both);
            let made = made.map_err(|e| failed(&e))?;
            place.insert(made);
        }
        let frames = raw.samples.len();
        let want = resampled_len(frames as u64, raw.rate);
        let input = InterleavedOwned::new_from(raw.samples, 1, frames).map_err(|e| failed(&e))?;
        let resampler = self.by_rate.get_mut(&raw.rate).expect("inserted above");
        let mut out = resampler
            .process_all(&input, frames, None)
            .map_err(|e| failed(&e))?
            .take_data();
        out.resize(want, 0.0);
        Ok(out)
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
