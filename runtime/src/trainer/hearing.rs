//! How a model hears recordings, apart from who computes: reading, windows, and joining what windows give.

use crate::audio::{Gains, Levels, RATE, Reader, Stream, normalize};
use crate::data::Utterance;
use crate::error::Error;
use crate::geometry::Geometry;
use crate::settings::Settings;
use crate::vocab::{Vocab, best_path};
use std::ops::Range;
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
    Endless { samples: usize, gains: Gains },
}

impl Sound {
    /// How many samples it has.
    pub fn samples(&self) -> usize {
        match self {
            Sound::Short(wave) | Sound::Long(wave) => wave.len(),
            Sound::Endless { samples, .. } => *samples,
        }
    }

    /// Whether it fits one window.
    pub fn is_short(&self) -> bool {
        matches!(self, Sound::Short(_))
    }
}

/// What was heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    pub text: String,
    /// [frames, classes]; none where they are not kept.
    pub logits: Vec<f32>,
    pub frames: usize,
    pub classes: usize,
    /// Length of the recording.
    pub seconds: f64,
}

/// Logits of a stretch of samples, [frames, classes].
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    pub values: Vec<f32>,
    pub classes: usize,
}

/// Logits that count, or what became of them.
#[derive(Default)]
pub struct Heard {
    pub(super) classes: usize,
    pub(super) path: Vec<usize>,
    pub(super) logits: Vec<f32>,
}

/// A stretch of a clip, and which of its frames count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub start: usize,
    pub end: usize,
    pub first: usize,
    pub last: usize,
}

/// How far a long recording has been heard.
pub struct Part<'a> {
    /// Seconds heard, and in all.
    pub done: f64,
    pub total: f64,
    heard: &'a Heard,
    vocab: &'a Vocab,
}

impl Part<'_> {
    /// The text so far, each frame's best letter taken.
    pub fn text(&self) -> String {
        self.vocab.decode(&self.heard.path)
    }
}

/// What a recording is heard with: who computes logits, and who is told how far it is.
pub struct With<'a> {
    pub reader: &'a mut Reader,
    /// Whether the transcript has logits.
    pub keep: bool,
    pub logits: &'a mut dyn FnMut(&[f32]) -> Result<Logits, Error>,
    /// Asked after each window; an error ends the recording.
    pub after: &'a mut dyn FnMut(&Part) -> Result<(), Error>,
}

/// How a model hears recordings.
#[derive(Clone, Debug)]
pub struct Hearing {
    pub(super) geometry: Geometry,
    pub(super) vocab: Vocab,
    pub(super) normalize: bool,
    /// Samples of a window (0: recordings are heard whole), and of its neighbours that it sees on each side.
    window: usize,
    context: usize,
    /// The longest recording, in samples.
    most: usize,
    held: usize,
}

impl Hearing {
    pub(super) fn new(
        settings: &Settings,
        geometry: Geometry,
        vocab: Vocab,
        normalize: bool,
    ) -> Result<Hearing, Error> {
        let samples = |name: &str| Ok::<_, Error>((settings.number(name)? * RATE as f64) as usize);
        let window = samples("window_seconds")?;
        let most = match window {
            0 => MOST_HELD,
            _ => (settings.number("max_hours")? * 3600.0 * RATE as f64) as usize,
        };
        Ok(Hearing {
            geometry,
            vocab,
            normalize,
            window,
            context: samples("context_seconds")?,
            most,
            held: if window > 0 { MOST_WINDOWED } else { most },
        })
    }

    /// The same, holding no more of a recording that is heard in windows than so many seconds.
    pub fn holding(mut self, seconds: usize) -> Hearing {
        if self.window > 0 {
            self.held = self.window.max(seconds * RATE as usize);
        }
        self
    }

    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// Whether recordings are brought to zero mean and unit variance.
    pub fn normalizes(&self) -> bool {
        self.normalize
    }

    pub(super) fn windows(&self, samples: usize) -> Vec<Window> {
        windows(&self.geometry, samples, self.window, self.context)
    }

    /// Samples as if they had been read.
    pub fn sound(&self, mut wave: Vec<f32>) -> Sound {
        if self.windows(wave.len()).len() <= 1 {
            if self.normalize {
                normalize(&mut wave);
            }
            return Sound::Short(wave);
        }
        if self.normalize {
            let mut levels = Levels::default();
            levels.push(&wave);
            levels.gains().apply(&mut wave, 0);
        }
        Sound::Long(wave)
    }

    /// Reads a recording: samples where it is of moderate length.
    ///
    /// # Errors
    /// Where it cannot be read whole and sound, or is too long.
    pub fn read(&self, reader: &mut Reader, utterance: &Utterance) -> Result<Sound, Error> {
        let too_long = |samples: usize| Error::Audio {
            path: utterance.name(),
            what: format!(
                "it lasts more than {:.1} h",
                samples.min(self.most) as f64 / RATE as f64 / 3600.0
            ),
            remedy: match self.window {
                0 => "have it cut into windows by --set window_seconds=30",
                _ => "cut it, or raise --set max_hours=N",
            },
        };
        let mut stream = reader.open(&utterance.path, utterance.segment)?;
        if let Some(samples) = stream.len().filter(|n| *n > self.most) {
            return Err(too_long(samples));
        }
        let (mut wave, mut samples) = (vec![], 0);
        let mut levels = Levels::default();
        let mut going = true;
        while going {
            let before = wave.len();
            going = stream.more(&mut wave)?;
            let new = &wave[before..];
            samples += new.len();
            levels.push(new);
            if samples > self.most {
                return Err(too_long(samples));
            }
            if samples > self.held {
                // From here on only levels are kept.
                wave = Vec::new();
            }
        }
        if samples > self.held {
            return Ok(Sound::Endless {
                samples,
                gains: levels.gains(),
            });
        }
        Ok(self.sound(wave))
    }

    /// Transcribes what was read.
    ///
    /// # Errors
    /// What reading on, computing, or who is told how far it is gives.
    pub fn hear(&self, utterance: &Utterance, sound: Sound, with: With) -> Result<Transcript, Error> {
        let name = utterance.name();
        let mut heard = Heard::default();
        let With {
            reader,
            keep,
            logits,
            after,
        } = with;
        let mut stretch = |wave: &[f32], window: &Window, samples: usize| {
            let found = logits(wave)?;
            self.note(&name, &found, window.first..window.last, keep, &mut heard)?;
            after(&Part {
                done: (heard.path.len() * self.geometry.hop()).min(samples) as f64 / RATE as f64,
                total: samples as f64 / RATE as f64,
                heard: &heard,
                vocab: &self.vocab,
            })
        };
        let samples = match sound {
            Sound::Short(wave) | Sound::Long(wave) => {
                for window in self.windows(wave.len()) {
                    stretch(&wave[window.start..window.end], &window, wave.len())?;
                }
                wave.len()
            }
            Sound::Endless { samples, gains } => {
                let mut stream = reader.open(&utterance.path, utterance.segment)?;
                let (mut held, mut from) = (vec![], 0);
                for window in self.windows(samples) {
                    held.drain(..window.start - from);
                    from = window.start;
                    fill(&mut stream, &mut held, window.end - from)?;
                    let mut part = held.get(..window.end - from).unwrap_or(&held).to_vec();
                    if self.normalize {
                        gains.apply(&mut part, from);
                    }
                    stretch(&part, &window, samples)?;
                }
                samples
            }
        };
        Ok(self.transcript(heard, samples))
    }

    /// Adds what some frames of a stretch say.
    ///
    /// # Errors
    /// Where logits are no numbers: then there is no text that they would mean; where there are too few of them.
    pub(super) fn note(
        &self,
        name: &Path,
        found: &Logits,
        frames: Range<usize>,
        keep: bool,
        heard: &mut Heard,
    ) -> Result<(), Error> {
        let classes = found.classes;
        let Some(logits) = found.values.get(frames.start * classes..frames.end * classes) else {
            return Err(Error::data(
                name.display(),
                "it became shorter while it was read",
                "try again when nobody writes to it",
            ));
        };
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
        if keep {
            heard.logits.extend_from_slice(logits);
        }
        Ok(())
    }

    pub(super) fn transcript(&self, heard: Heard, samples: usize) -> Transcript {
        Transcript {
            text: self.vocab.decode(&heard.path),
            frames: heard.path.len(),
            logits: heard.logits,
            classes: heard.classes,
            seconds: samples as f64 / RATE as f64,
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

/// Cuts a clip into windows of `length` samples (0: never) that see `context` more on each side than they answer for.
/// The frames that count make up the clip's frames, each once and in order.
fn windows(geometry: &Geometry, samples: usize, length: usize, context: usize) -> Vec<Window> {
    let frames = geometry.frames(samples);
    if frames == 0 {
        return vec![];
    }
    if length == 0 || samples <= length {
        return vec![Window {
            start: 0,
            end: samples,
            first: 0,
            last: frames,
        }];
    }
    // Windows begin at whole frames, so that theirs are the clip's. Each answers for a frame at least.
    let hop = geometry.hop();
    let length = length.max(geometry.least_samples(1));
    let room = geometry.frames(length);
    let context = (context / hop).min((room - 1) / 2);
    let step = room - 2 * context;
    let mut out = vec![];
    let mut done = 0;
    while done < frames {
        let from = done.saturating_sub(context);
        let start = from * hop;
        let end = (start + length).min(samples);
        let reach = from + geometry.frames(end - start);
        let last = if end == samples {
            frames
        } else {
            (done + step).min(reach)
        };
        out.push(Window {
            start,
            end,
            first: done - from,
            last: last - from,
        });
        done = last;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn windows_answer_for_every_frame_once(samples in 1usize..5000, length in 20usize..900, context in 0usize..400) {
            let geometry = crate::fake::geometry();
            let mut next = 0;
            for w in windows(&geometry, samples, length, context) {
                prop_assert!(w.end - w.start <= length.max(samples.min(length)) && w.end <= samples);
                prop_assert_eq!(w.start / 10 + w.first, next);
                prop_assert!(w.first < w.last && w.last <= geometry.frames(w.end - w.start));
                next = w.start / 10 + w.last;
            }
            prop_assert_eq!(next, geometry.frames(samples));
        }
    }

    /// Logits of a frame that say which samples it was made of.
    fn own(wave: &[f32]) -> Logits {
        let frames = crate::fake::geometry().frames(wave.len());
        let row = |t: usize| [wave[t * 10], wave[t * 10 + 19], 0.0];
        Logits {
            values: (0..frames).flat_map(row).collect(),
            classes: 3,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// Whatever the length, held or read twice, each frame is the recording's own, once and in order.
        #[test]
        fn frames_are_exact_at_every_length(samples in 1usize..9000, window in 1usize..1500, context in 0usize..900, held in prop::bool::ANY) {
            let tmp = tempfile::tempdir().unwrap();
            let path = tmp.path().join("a.wav");
            let spec = hound::WavSpec { channels: 1, sample_rate: 16_000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
            let mut wav = hound::WavWriter::create(&path, spec).unwrap();
            (0..samples).for_each(|i| wav.write_sample((i * 7919 % 65_521) as i16).unwrap());
            wav.finalize().unwrap();
            let hearing = Hearing {
                geometry: crate::fake::geometry(),
                vocab: Vocab::default(),
                normalize: false,
                window,
                context,
                most: usize::MAX,
                held: if held { usize::MAX } else { window.max(20) },
            };
            let utterance = Utterance { path, ..Utterance::default() };
            let mut reader = Reader::default();
            let whole = Reader::default().read(&utterance.path).unwrap();
            let sound = hearing.read(&mut reader, &utterance).unwrap();
            prop_assert_eq!(matches!(sound, Sound::Endless { .. }), !held && samples > window.max(20));
            let mut done = 0.0;
            let with = With {
                reader: &mut reader,
                keep: true,
                logits: &mut |wave| Ok(own(wave)),
                after: &mut |part| {
                    assert!(part.done > done && part.done <= part.total);
                    done = part.done;
                    Ok(())
                },
            };
            let heard = hearing.hear(&utterance, sound, with).unwrap();
            prop_assert_eq!(heard.frames, hearing.geometry.frames(samples));
            prop_assert_eq!(heard.logits, own(&whole).values);
            prop_assert_eq!(heard.seconds, samples as f64 / 16_000.0);
        }
    }
}
