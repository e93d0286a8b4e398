//! Files to samples: any format, rate and channel count to mono 16 kHz.

mod normalize;
mod other;
mod resample;
mod wav;

pub use normalize::normalize;

use crate::error::Error;
use resample::Resampler;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Samples per second of everything after this module.
pub const RATE: u32 = 16_000;

/// Rates a recording can have; beyond them a header lies.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;

/// Extensions a folder is searched for.
pub const EXTENSIONS: &[&str] = &[
    "wav", "flac", "mp3", "ogg", "oga", "opus", "m4a", "mp4", "aac", "aiff", "aif", "caf", "mkv", "webm", "mp2",
];

/// Mono samples at the file's own rate.
struct Raw {
    rate: u32,
    samples: Vec<f32>,
}

/// Reads files; keeps its resamplers between files, so each thread has its own.
#[derive(Default)]
pub struct Reader {
    resampler: Resampler,
}

impl Reader {
    /// The whole file as mono samples at [`RATE`], channels averaged.
    pub fn read(&mut self, path: &Path) -> Result<Vec<f32>, Error> {
        let raw = if is_wav(path)? {
            match wav::read(path)? {
                Some(raw) => raw,
                None => other::read(path)?,
            }
        } else {
            other::read(path)?
        };
        check_rate(path, raw.rate)?;
        if raw.samples.is_empty() {
            return Err(bad(path, "it holds no samples", "remove it or record it again"));
        }
        if let Some(at) = raw.samples.iter().position(|s| !s.is_finite()) {
            return Err(bad(
                path,
                format!("sample {at} is not a finite number"),
                "export the recording again, as 16-bit WAV or FLAC",
            ));
        }
        self.resampler.resample(path, raw)
    }
}

/// Samples the file will have at [`RATE`], from its header where that can be believed.
pub fn probe(path: &Path) -> Result<usize, Error> {
    let header = if is_wav(path)? { wav::probe(path)? } else { None };
    let header = match header {
        Some(found) => Some(found),
        None => other::probe(path)?,
    };
    match header {
        Some((rate, frames)) => {
            check_rate(path, rate)?;
            Ok(resampled_len(frames, rate))
        }
        // Some streams tell their length nowhere.
        None => Ok(Reader::default().read(path)?.len()),
    }
}

fn resampled_len(frames: u64, rate: u32) -> usize {
    (frames * RATE as u64).div_ceil(rate as u64) as usize
}

fn check_rate(path: &Path, rate: u32) -> Result<(), Error> {
    if RATES.contains(&rate) {
        return Ok(());
    }
    Err(bad(
        path,
        format!("its header gives a rate of {rate} Hz"),
        "convert it with a tool that writes a correct header, such as `ffmpeg -i FILE -ar 16000 OUT.wav`",
    ))
}

fn bad(path: &Path, what: impl Into<String>, remedy: &'static str) -> Error {
    Error::Audio {
        path: path.into(),
        what: what.into(),
        remedy,
    }
}

/// By content, since extensions lie.
fn is_wav(path: &Path) -> Result<bool, Error> {
    let mut head = [0u8; 12];
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    if file.metadata().map_err(Error::io("read", path))?.is_dir() {
        return Err(bad(path, "it is a folder", "name a file"));
    }
    let mut got = 0;
    while got < head.len() {
        match file.read(&mut head[got..]).map_err(Error::io("read", path))? {
            0 => break,
            n => got += n,
        }
    }
    if got == 0 {
        return Err(bad(path, "the file is empty", "remove it or record it again"));
    }
    Ok(&head[..4] == b"RIFF" && &head[8..] == b"WAVE")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hound::{SampleFormat, WavSpec, WavWriter};
    use std::f64::consts::TAU;

    /// A 440 Hz tone of one second in the given format, each channel with the amplitude 0.5.
    fn tone(path: &Path, spec: WavSpec) {
        let mut w = WavWriter::create(path, spec).unwrap();
        for i in 0..spec.sample_rate {
            let v = 0.5 * (TAU * 440.0 * i as f64 / spec.sample_rate as f64).sin();
            for _ in 0..spec.channels {
                match spec.sample_format {
                    SampleFormat::Float => w.write_sample(v as f32).unwrap(),
                    SampleFormat::Int => w
                        .write_sample((v * ((1i64 << (spec.bits_per_sample - 1)) - 1) as f64) as i32)
                        .unwrap(),
                }
            }
        }
        w.finalize().unwrap();
    }

    #[test]
    fn every_wav_becomes_the_same_tone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.wav");
        let forms = [
            (8_000, 1, 16, SampleFormat::Int),
            (16_000, 1, 8, SampleFormat::Int),
            (44_100, 2, 24, SampleFormat::Int),
            (48_000, 3, 32, SampleFormat::Int),
            (22_050, 1, 32, SampleFormat::Float),
        ];
        for (sample_rate, channels, bits_per_sample, sample_format) in forms {
            tone(
                &path,
                WavSpec {
                    channels,
                    sample_rate,
                    bits_per_sample,
                    sample_format,
                },
            );
            assert_eq!(probe(&path).unwrap(), 16_000);
            let samples = Reader::default().read(&path).unwrap();
            assert_eq!(samples.len(), 16_000, "{sample_rate} Hz");
            // The edges ring; within, the tone is what was written.
            for (i, s) in samples.iter().enumerate().skip(1_000).take(14_000) {
                let want = 0.5 * (TAU * 440.0 * i as f64 / 16_000.0).sin();
                assert!(
                    (*s as f64 - want).abs() < 0.001 + 4.0 / 2f64.powi(bits_per_sample as i32),
                    "{sample_rate} Hz, sample {i}: {s} for {want}"
                );
            }
        }
    }

    #[test]
    fn bad_files_get_a_message_that_names_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.wav");
        let message = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let e = Reader::default().read(&path).unwrap_err().to_string();
            assert!(e.contains("x.wav"), "{e}");
            e
        };
        assert!(message(b"").contains("empty"));
        message(b"RIFF");
        message(b"hello, this is text and no recording at all");
        message(b"RIFF\x10\0\0\0WAVEfmt \xff\xff\xff\xff");
        let spec = WavSpec {
            channels: 1,
            sample_rate: 8_000,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        tone(&path, spec);
        let whole = std::fs::read(&path).unwrap();
        assert!(message(&whole[..whole.len() / 2]).contains("ends after"));
        tone(
            &path,
            WavSpec {
                bits_per_sample: 32,
                sample_format: SampleFormat::Float,
                ..spec
            },
        );
        let mut nan = std::fs::read(&path).unwrap();
        let at = nan.len() - 40;
        nan[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(message(&nan).contains("not a finite number"));
        let mut lying = whole.clone();
        lying[24..28].copy_from_slice(&4_000_000_000u32.to_le_bytes());
        message(&lying);
        let gone = Reader::default()
            .read(&dir.path().join("gone.wav"))
            .unwrap_err()
            .to_string();
        assert!(gone.contains("gone.wav") && gone.contains("check the path"), "{gone}");
    }

    #[test]
    fn other_formats_go_through_the_other_decoder() {
        let dir = tempfile::tempdir().unwrap();
        let wave: Vec<i16> = (0..8_000)
            .map(|i| (16_000.0 * (TAU * 440.0 * i as f64 / 8_000.0).sin()) as i16)
            .collect();
        let near = |path: &Path, tolerance: f32| {
            assert_eq!(probe(path).unwrap(), 16_000);
            let heard = Reader::default().read(path).unwrap();
            assert_eq!(heard.len(), 16_000);
            for (i, w) in wave.iter().enumerate().skip(500).take(7_000) {
                let want = *w as f32 / 32_768.0;
                assert!(
                    (heard[2 * i] - want).abs() < tolerance,
                    "{}: {i}: {} {want}",
                    path.display(),
                    heard[2 * i]
                );
            }
        };
        // AIFF: big-endian, the rate 8000 as an 80-bit float.
        let mut aiff = b"FORM\0\0\0\0AIFFCOMM\0\0\0\x12\0\x01".to_vec();
        aiff.extend((wave.len() as u32).to_be_bytes());
        aiff.extend([0, 16, 0x40, 0x0b, 0xfa, 0, 0, 0, 0, 0, 0, 0]);
        aiff.extend(b"SSND");
        aiff.extend((2 * wave.len() as u32 + 8).to_be_bytes());
        aiff.extend([0; 8]);
        wave.iter().for_each(|s| aiff.extend(s.to_be_bytes()));
        let size = (aiff.len() as u32 - 8).to_be_bytes();
        aiff[4..8].copy_from_slice(&size);
        let path = dir.path().join("a.aiff");
        std::fs::write(&path, &aiff).unwrap();
        near(&path, 0.002);
        // WAV with 8-bit mu-law, which hound does not know.
        let mut wav = b"RIFF\0\0\0\0WAVEfmt \x12\0\0\0\x07\0\x01\0".to_vec();
        wav.extend(b"\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0\0\0data");
        wav.extend((wave.len() as u32).to_le_bytes());
        wav.extend(wave.iter().map(|s| mu_law(*s)));
        let size = (wav.len() as u32 - 8).to_le_bytes();
        wav[4..8].copy_from_slice(&size);
        let path = dir.path().join("mu.wav");
        std::fs::write(&path, &wav).unwrap();
        near(&path, 0.03);
    }

    /// G.711.
    fn mu_law(sample: i16) -> u8 {
        let magnitude = (sample as i32).abs().min(32_635) + 132;
        let exponent = 24 - magnitude.leading_zeros() as i32;
        let fraction = (magnitude >> (exponent + 3)) & 15;
        !(((sample < 0) as u8) << 7 | (exponent << 4) as u8 | fraction as u8)
    }

    #[test]
    fn one_sample_is_a_clip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one.wav");
        for sample_rate in [8_000, 16_000, 44_100, 96_000] {
            let spec = WavSpec {
                channels: 1,
                sample_rate,
                bits_per_sample: 16,
                sample_format: SampleFormat::Int,
            };
            let mut w = WavWriter::create(&path, spec).unwrap();
            w.write_sample(1000i16).unwrap();
            w.finalize().unwrap();
            let heard = Reader::default().read(&path).unwrap();
            assert_eq!(heard.len(), probe(&path).unwrap(), "{sample_rate}");
        }
    }
}
