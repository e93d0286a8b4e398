//! Transcribing: recordings alone, together, or in windows while they are read.

use super::transcribe::{Transcriber, Transcript};
use crate::audio::{RATE, Stream, normalize};
use crate::data::Utterance;
use crate::error::Error;
use crate::feeds::{Clips, Occasion};
use crate::vocab::best_path;
use std::path::Path;

/// Samples of a recording that are held at once, where it is heard whole: an hour.
const MOST_HELD: usize = 3600 * RATE as usize;
/// The same where it is heard in windows: longer ones are read twice, so that memory does not grow with them.
const MOST_WINDOWED: usize = 300 * RATE as usize;

/// A recording that was read, or opened.
pub enum Sound {
    /// Of one window: it may be transcribed together with others.
    Short(Vec<f32>),
    /// Of several windows.
    Long(Vec<f32>),
    /// Too long to be held: it is read again, window by window.
    Endless { samples: usize, mean: f64, scale: f64 },
}

/// Logits of a stretch that count, or what became of them.
#[derive(Default)]
struct Heard {
    classes: usize,
    path: Vec<usize>,
    logits: Vec<f32>,
}

impl Transcriber<'_> {
    /// Transcripts are to have logits or not; they do by default.
    pub fn keep_logits(&mut self, keep: bool) {
        self.logits = keep;
    }

    /// Transcribes a file. A clip shorter than one frame has no text.
    pub fn file(&mut self, path: &Path) -> Result<Transcript, Error> {
        self.utterance(&Utterance {
            path: path.into(),
            ..Utterance::default()
        })
    }

    /// As [`Transcriber::file`], for a recording or a part of one.
    pub fn utterance(&mut self, utterance: &Utterance) -> Result<Transcript, Error> {
        let sound = self.read(utterance)?;
        self.hear(utterance, sound)
    }

    /// Reads a recording: samples where it is of moderate length.
    ///
    /// # Errors
    /// Where it cannot be read whole and sound, or is too long.
    pub fn read(&mut self, utterance: &Utterance) -> Result<Sound, Error> {
        let windowed = self.settings.number("window_seconds")? > 0.0;
        let hours = self.settings.number("max_hours")?;
        let limit = match windowed {
            true => (hours * 3600.0 * RATE as f64) as usize,
            false => MOST_HELD,
        };
        let held = if windowed { MOST_WINDOWED } else { limit };
        let too_long = |samples: usize| Error::Audio {
            path: utterance.name(),
            what: format!(
                "it lasts more than {:.1} h",
                samples.min(limit) as f64 / RATE as f64 / 3600.0
            ),
            remedy: match windowed {
                true => "cut it, or raise --set max_hours=N",
                false => "have it cut into windows by --set window_seconds=30",
            },
        };
        let mut stream = self.reader.open(&utterance.path, utterance.segment)?;
        if let Some(samples) = stream.len().filter(|n| *n > limit) {
            return Err(too_long(samples));
        }
        let (mut wave, mut samples) = (vec![], 0);
        let (mut sum, mut squares) = (0.0, 0.0);
        let mut going = true;
        while going {
            let before = wave.len();
            going = stream.more(&mut wave)?;
            let new = &wave[before..];
            samples += new.len();
            sum += new.iter().map(|s| *s as f64).sum::<f64>();
            squares += new.iter().map(|s| (*s as f64).powi(2)).sum::<f64>();
            if samples > limit {
                return Err(too_long(samples));
            }
            if samples > held {
                // From here on only sums are kept.
                wave = Vec::new();
            }
        }
        if samples > held {
            let (mean, count) = (sum / samples as f64, samples as f64);
            let variance = (squares / count - mean * mean).max(0.0);
            return Ok(Sound::Endless {
                samples,
                mean,
                scale: 1.0 / (variance + 1e-7).sqrt(),
            });
        }
        if self.normalize {
            normalize(&mut wave);
        }
        Ok(match self.windows(samples)?.len() {
            0 | 1 => Sound::Short(wave),
            _ => Sound::Long(wave),
        })
    }

    /// Transcribes what was read.
    pub fn hear(&mut self, utterance: &Utterance, sound: Sound) -> Result<Transcript, Error> {
        let mut heard = Heard::default();
        let samples = match sound {
            Sound::Short(wave) => {
                let name = utterance.name();
                let mut all = self.together(&[(&name, &wave)])?;
                return all.pop().expect("one recording gives one outcome");
            }
            Sound::Long(wave) => {
                for window in self.windows(wave.len())? {
                    let part = &wave[window.start..window.end];
                    self.stretch(&utterance.name(), part, window.first..window.last, &mut heard)?;
                }
                wave.len()
            }
            Sound::Endless { samples, mean, scale } => {
                let mut reader = std::mem::take(&mut self.reader);
                let mut stream = reader.open(&utterance.path, utterance.segment)?;
                let (mut held, mut from) = (vec![], 0);
                for window in self.windows(samples)? {
                    held.drain(..window.start - from);
                    from = window.start;
                    fill(&mut stream, &mut held, window.end - from)?;
                    let mut part = held.get(..window.end - from).unwrap_or(&held).to_vec();
                    if self.normalize {
                        part.iter_mut().for_each(|s| *s = ((*s as f64 - mean) * scale) as f32);
                    }
                    self.stretch(&utterance.name(), &part, window.first..window.last, &mut heard)?;
                }
                drop(stream);
                self.reader = reader;
                samples
            }
        };
        Ok(self.transcript(heard, samples))
    }

    /// Transcribes recordings of one window together, padded to the longest; what one of them gives does not depend on the
    /// others. Outcomes are in their order.
    ///
    /// # Errors
    /// Those that concern all.
    pub fn together(&mut self, clips: &[(&Path, &[f32])]) -> Result<Vec<Result<Transcript, Error>>, Error> {
        let frames = |wave: &[f32]| self.feeds.geometry().frames(wave.len());
        let waves: Vec<&[f32]> = clips.iter().map(|(_, w)| *w).filter(|w| frames(w) > 0).collect();
        let (values, classes, row) = match waves.is_empty() {
            true => (vec![], 0, 0),
            false => self.run(&waves)?,
        };
        let mut rows = values.chunks_exact(row.max(1));
        let outcomes = clips.iter().map(|(name, wave)| {
            let mut heard = Heard::default();
            let count = self.feeds.geometry().frames(wave.len());
            if count > 0 {
                let own = rows.next().expect("one row per clip with frames");
                self.note(name, &own[..count * classes], classes, &mut heard)?;
            }
            Ok(self.transcript(heard, wave.len()))
        });
        Ok(outcomes.collect())
    }

    /// Adds what is heard in some frames of a stretch.
    fn stretch(
        &mut self,
        name: &Path,
        wave: &[f32],
        frames: std::ops::Range<usize>,
        heard: &mut Heard,
    ) -> Result<(), Error> {
        let (values, classes, _) = self.run(&[wave])?;
        self.note(
            name,
            &values[frames.start * classes..frames.end * classes],
            classes,
            heard,
        )
    }

    /// # Errors
    /// Where logits are no numbers: then there is no text that they would mean.
    fn note(&self, name: &Path, logits: &[f32], classes: usize, heard: &mut Heard) -> Result<(), Error> {
        let lost =
            |row: &[f32]| row.iter().any(|v| v.is_nan() || *v == f32::INFINITY) || row.iter().all(|v| v.is_infinite());
        if let Some(frame) = logits.chunks_exact(classes.max(1)).position(lost) {
            let frame = heard.path.len() + frame;
            return Err(Error::data(
                name.display(),
                format!("the model's output is not a number in frame {frame}"),
                "check the weights: some are not finite or far too large",
            ));
        }
        heard.classes = classes;
        heard.path.extend(best_path(logits, classes));
        if self.logits {
            heard.logits.extend_from_slice(logits);
        }
        Ok(())
    }

    fn transcript(&self, heard: Heard, samples: usize) -> Transcript {
        Transcript {
            text: self.vocab.decode(&heard.path),
            frames: heard.path.len(),
            logits: heard.logits,
            classes: heard.classes,
            seconds: samples as f64 / RATE as f64,
        }
    }

    /// Logits of clips: values [clips, frames, classes], the classes, and values per clip.
    fn run(&mut self, waves: &[&[f32]]) -> Result<(Vec<f32>, usize, usize), Error> {
        let clips = Clips { waves, labels: &[] };
        let batch = self.feeds.draw(&self.program, clips, &Occasion::STILL)?;
        let inputs = batch.inputs.refs();
        let remedy = "cut long recordings into windows by --set window_seconds=30";
        self.guard.check(self.session, &self.program.name, &inputs, remedy)?;
        let outputs = self.session.run(&self.program.name, &inputs)?;
        let logits = outputs.into_iter().find(|(n, _)| *n == self.scores).map(|(_, t)| t);
        match logits.as_ref().and_then(|t| Some((t.as_f32()?, *t.shape.last()?))) {
            Some((values, classes)) => Ok((values.to_vec(), classes, values.len() / waves.len())),
            None => Err(Error::program(
                &self.program.name,
                format!("it has no output `{}`", self.scores),
            )),
        }
    }
}

/// Reads on until so many samples are held, or the recording ends.
fn fill(stream: &mut Stream, held: &mut Vec<f32>, want: usize) -> Result<(), Error> {
    while held.len() < want {
        if !stream.more(held)? {
            break;
        }
    }
    Ok(())
}
