//! A recording as a stream of mono samples at 16 kHz: memory does not grow with its length.

use super::decode::{self, Decoder};
use super::input::{Input, is_stdin};
use super::resample::{Lent, Resamplers};
use super::{MOST_HOURS, RATE, Segment, bad, resampled_len, seconds};
use crate::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Samples that [`Reader::read`] holds at most: an hour.
const MOST_WHOLE: usize = 3600 * RATE as usize;

/// No sample is louder: floating-point files hold values to 1, or to 32,768 where a program forgot to scale.
pub(super) const LOUDEST: f32 = 65_536.0;

/// Seconds by which a segment may reach beyond its recording: tables round.
const SLACK: f64 = 0.05;

/// Reads files; keeps its resamplers between files, so each thread has its own.
#[derive(Default)]
pub struct Reader {
    resamplers: Resamplers,
    given_up: Option<GivenUp>,
}

/// Whether nobody waits any more for what is read.
pub type GivenUp = Arc<dyn Fn() -> bool + Send + Sync>;

/// A recording that is being read.
pub struct Stream<'a> {
    path: PathBuf,
    decoder: Box<dyn Decoder>,
    channels: usize,
    rate: u32,
    resampling: Option<Lent<'a>>,
    /// Frames to pass over, and to keep after that.
    skip: u64,
    left: Option<u64>,
    /// Frames kept.
    done: u64,
    len: Option<usize>,
    ended: bool,
    /// Energy of all channels, and of their mean.
    energy: (f64, f64),
    block: Vec<f32>,
    mono: Vec<f32>,
    given_up: Option<GivenUp>,
}

impl Reader {
    /// A reader that ends with an error as soon as nobody waits any more.
    pub fn until(given_up: GivenUp) -> Reader {
        Reader {
            given_up: Some(given_up),
            ..Reader::default()
        }
    }

    /// The whole file, which may last an hour at most, as mono samples at [`RATE`], channels averaged.
    pub fn read(&mut self, path: &Path) -> Result<Vec<f32>, Error> {
        self.part(path, None)
    }

    /// The same of a segment.
    pub fn part(&mut self, path: &Path, segment: Option<Segment>) -> Result<Vec<f32>, Error> {
        let mut stream = self.open(path, segment)?;
        let mut samples = Vec::with_capacity(stream.len().unwrap_or(0).min(MOST_WHOLE));
        while stream.more(&mut samples)? {
            if samples.len() > MOST_WHOLE {
                let what = "it lasts longer than an hour";
                return Err(bad(
                    path,
                    what,
                    "cut it, or read it in windows by --set window_seconds=30",
                ));
            }
        }
        Ok(samples)
    }

    /// Opens a recording, or `-` for standard input; a segment of it where one is given.
    ///
    /// # Errors
    /// [`Error::Io`] where the system fails to read: then nothing is known of the recording. [`Error::Audio`] where it is no
    /// recording that can be read, is cut off or damaged, or has an absurd header.
    pub fn open(&mut self, path: &Path, segment: Option<Segment>) -> Result<Stream<'_>, Error> {
        let input = if is_stdin(path) {
            Input::stdin()?
        } else {
            Input::open(path)?
        };
        let trouble = input.trouble();
        let outcome = decode::open(path, input);
        if let Some(failure) = trouble.take(path) {
            return Err(failure);
        }
        let mut decoder = outcome?;
        let format = decoder.format();
        let rate = format.rate;
        if format.frames.is_some_and(|n| n > most_frames(rate)) {
            return Err(too_long(path, &seconds(format.frames.unwrap_or(0), rate)));
        }
        let mut frames = format.frames;
        let (mut skip, mut left) = (0, None);
        if let Some(segment) = segment {
            let start = segment.start.frames(rate);
            let length = segment.length.map(|n| n.frames(rate));
            if length == Some(0) {
                return Err(bad(
                    path,
                    format!("its segment {segment} is empty"),
                    "correct the table",
                ));
            }
            if let Some(all) = frames {
                let rest = all.saturating_sub(start);
                let want = length.unwrap_or(rest).min(u64::MAX - start);
                if rest == 0 || want as f64 > rest as f64 + SLACK * rate as f64 {
                    return Err(beyond(path, segment, all, rate));
                }
                frames = Some(want.min(rest));
            } else {
                frames = None;
            }
            left = frames.or(length);
            skip = if start > 0 && decoder.seek(start)? { 0 } else { start };
        }
        let resampling = match rate {
            RATE => None,
            other => Some(self.resamplers.begin(path, other)?),
        };
        Ok(Stream {
            path: path.into(),
            decoder,
            channels: format.channels,
            rate,
            resampling,
            skip,
            left,
            done: 0,
            len: frames.map(|n| resampled_len(n, rate)),
            ended: false,
            energy: (0.0, 0.0),
            block: vec![],
            mono: vec![],
            given_up: self.given_up.clone(),
        })
    }
}

fn most_frames(rate: u32) -> u64 {
    MOST_HOURS * 3600 * rate as u64
}

fn too_long(path: &Path, long: &str) -> Error {
    let what = format!("it lasts {long} and a recording may last {MOST_HOURS} h");
    bad(path, what, "cut it into parts")
}

fn beyond(path: &Path, segment: Segment, frames: u64, rate: u32) -> Error {
    let what = format!(
        "its segment {segment} reaches beyond its end at {}",
        seconds(frames, rate)
    );
    bad(
        path,
        what,
        "correct the table; `path:start:samples` counts at the recording's own rate",
    )
}

impl Stream<'_> {
    /// Samples at [`RATE`] there will be, where the header says.
    #[allow(clippy::len_without_is_empty)] // A recording is never empty.
    pub fn len(&self) -> Option<usize> {
        self.len
    }

    /// Whether channels cancel each other: what is heard is far quieter than what is there.
    pub fn cancels(&self) -> bool {
        let (all, mean) = self.energy;
        self.channels > 1 && all > 1e-6 && mean < 1e-3 * all
    }

    /// Appends more samples, about a second's worth or less; false once the recording is over. Samples may come with the
    /// last call too.
    pub fn more(&mut self, out: &mut Vec<f32>) -> Result<bool, Error> {
        if self.ended {
            return Ok(false);
        }
        if self.given_up.as_ref().is_some_and(|given_up| given_up()) {
            return Err(Error::Usage(format!(
                "nobody waits for {} any more",
                self.path.display()
            )));
        }
        self.block.clear();
        let going = self.decoder.next(&mut self.block)?;
        self.mix()?;
        match &mut self.resampling {
            Some(resampling) => resampling.push(&self.mono, out),
            None => out.extend_from_slice(&self.mono),
        }
        if going && self.left != Some(0) {
            return Ok(true);
        }
        self.ended = true;
        self.check_end()?;
        if let Some(resampling) = &mut self.resampling {
            resampling.finish(out);
        }
        Ok(false)
    }

    /// Averages the channels of the block into `mono`, without what lies outside the segment.
    fn mix(&mut self) -> Result<(), Error> {
        let frames = (self.block.len() / self.channels) as u64;
        let skip = self.skip.min(frames);
        self.skip -= skip;
        let keep = (frames - skip).min(self.left.unwrap_or(u64::MAX));
        if let Some(left) = &mut self.left {
            *left -= keep;
        }
        let kept = &self.block[skip as usize * self.channels..(skip + keep) as usize * self.channels];
        if let Some(at) = kept.iter().position(|s| !(s.abs() <= LOUDEST)) {
            let (value, at) = (kept[at], self.done + (at / self.channels) as u64);
            let what = match value.is_finite() {
                false => format!("sample {at} is not a finite number"),
                true => format!("sample {at} is {value:e}, far beyond full scale, which is 1"),
            };
            return Err(bad(
                &self.path,
                what,
                "export the recording again, as 16-bit WAV or FLAC",
            ));
        }
        self.done += keep;
        if self.done > most_frames(self.rate) {
            return Err(too_long(&self.path, &format!("more than {MOST_HOURS} h")));
        }
        self.mono.clear();
        match self.channels {
            1 => self.mono.extend_from_slice(kept),
            n => self
                .mono
                .extend(kept.chunks_exact(n).map(|f| f.iter().sum::<f32>() / n as f32)),
        }
        if self.channels > 1 {
            let energy = |s: &[f32]| s.iter().map(|x| (*x as f64).powi(2)).sum::<f64>();
            self.energy.0 += energy(kept) / self.channels as f64;
            self.energy.1 += energy(&self.mono);
        }
        Ok(())
    }

    fn check_end(&self) -> Result<(), Error> {
        if self.done == 0 && self.skip == 0 {
            return Err(bad(&self.path, "it holds no samples", "remove it or record it again"));
        }
        let missing = self.skip + self.left.unwrap_or(0);
        if self.skip > 0 || missing as f64 > SLACK * self.rate as f64 {
            let what = format!("its segment reaches {} beyond its end", seconds(missing, self.rate));
            return Err(bad(&self.path, what, "correct the table"));
        }
        Ok(())
    }
}

/// Whether a clip is digital silence: constant to within three steps of 16 bits, so that nothing can be learnt or judged.
pub fn is_silent(wave: &[f32]) -> bool {
    let (low, high) = wave
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), s| (l.min(*s), h.max(*s)));
    high - low <= 1e-4
}
