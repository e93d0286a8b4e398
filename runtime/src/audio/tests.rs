//! Whole files through the whole reading path.

use super::*;
use hound::{SampleFormat, WavSpec, WavWriter};
use std::f64::consts::TAU;
use std::path::PathBuf;

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
        assert_eq!(probe(&path, None).unwrap(), 16_000);
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
        assert_eq!(probe(path, None).unwrap(), 16_000);
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
        assert_eq!(heard.len(), probe(&path, None).unwrap(), "{sample_rate}");
    }
}

/// The sound that all files of `runtime/fixtures/audio` hold.
fn reference() -> Vec<f32> {
    (0..12_000)
        .map(|i| {
            let i = i as f64;
            let low = 0.3 * (TAU * (300.0 + 40.0 * (i / 900.0).sin()) * i / 16_000.0).sin();
            let both = low + 0.15 * (TAU * 1234.0 * i / 16_000.0).sin();
            (32_767.0 * both).trunc() as f32 / 32_768.0
        })
        .collect()
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/audio")
        .join(name)
}

fn has_ffmpeg() -> bool {
    std::process::Command::new("ffmpeg").arg("-version").output().is_ok()
}

/// The best correlation with the reference over delays of up to `most` samples.
fn likeness(heard: &[f32], most: usize) -> f64 {
    let want = reference();
    let at = |lag: usize| {
        let pairs = || want.iter().zip(heard.get(lag..).unwrap_or(&[])).skip(1_000).take(9_000);
        let sum = |f: fn(f64, f64) -> f64| pairs().map(|(a, b)| f(*a as f64, *b as f64)).sum::<f64>();
        sum(|a, b| a * b) / (sum(|a, _| a * a) * sum(|_, b| b * b)).sqrt()
    };
    (0..=most).map(at).fold(f64::MIN, f64::max)
}

#[test]
fn every_format_gives_the_same_sound() {
    // Name, likeness, delay in samples, whether the length is exact.
    let mut files = vec![
        ("tone.flac", 0.999_999, 0, true),
        ("nomd5.flac", 0.999_999, 0, true),
        ("tone.aiff", 0.999_999, 0, true),
        ("tone.w64", 0.999_999, 0, true),
        ("rf64.wav", 0.999_999, 0, true),
        ("f64.wav", 0.999_999, 0, true),
        ("piped.wav", 0.999_999, 0, true),
        ("soxpiped.wav", 0.999_999, 0, true),
        ("tone.sph", 0.999_999, 0, true),
        ("mulaw.sph", 0.999, 0, true),
        ("mulaw.au", 0.999, 0, true),
        ("alaw.au", 0.999, 0, true),
        ("alaw.wav", 0.999, 0, true),
        ("alaw.sph", 0.999, 0, true),
        ("adpcm_ima.wav", 0.99, 0, false),
        ("adpcm_ms.wav", 0.99, 0, false),
        ("tone.mp3", 0.99, 0, true),
        ("plain.mp3", 0.99, 1_300, false),
        ("tone.ogg", 0.99, 0, true),
        ("tone.opus", 0.97, 0, true),
        ("tone.webm", 0.97, 0, false),
        ("tone.m4a", 0.97, 1_100, false),
    ];
    if has_ffmpeg() {
        files.extend([("tone.wv", 0.999_999, 0, true), ("gsm.wav", 0.98, 0, false)]);
    }
    for (name, least, delay, exact) in files {
        let heard = Reader::default().read(&fixture(name)).unwrap_or_else(|e| panic!("{e}"));
        let found = likeness(&heard, delay);
        assert!(found > least, "{name}: {found}");
        let off = heard.len().abs_diff(12_000);
        assert!(off == 0 || !exact && off < 2_500, "{name}: {} samples", heard.len());
        if exact {
            assert_eq!(probe(&fixture(name), None).unwrap(), 12_000, "{name}");
        }
    }
}

#[test]
fn without_a_decoder_the_message_names_the_program_that_has_one() {
    let why = external::missing(Path::new("x.wma"), "its format is not known").to_string();
    assert!(why.contains("x.wma") && why.contains("install ffmpeg"), "{why}");
}

/// What is done to a file that leaves less of it than there was.
#[test]
fn a_cut_file_is_an_error_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let names = [
        "tone.flac",
        "nomd5.flac",
        "tone.aiff",
        "tone.w64",
        "rf64.wav",
        "f64.wav",
        "tone.sph",
        "mulaw.au",
        "alaw.wav",
        "adpcm_ima.wav",
        "adpcm_ms.wav",
        "tone.mp3",
        "plain.mp3",
        "tone.ogg",
        "tone.opus",
        "tone.webm",
        "tone.m4a",
    ];
    for name in names {
        let whole = std::fs::read(fixture(name)).unwrap();
        let path = dir.path().join(name);
        for part in [1, 100, 250, 333, 500, 800, 950] {
            std::fs::write(&path, &whole[..whole.len() * part / 1000]).unwrap();
            let said = match Reader::default().read(&path) {
                Err(e) => e.to_string(),
                Ok(heard) => panic!("{name}: {} samples are left of it at {part} / 1000", heard.len()),
            };
            assert!(said.contains(name), "{said}");
        }
        // A byte less; a padding byte that nobody reads may be missed.
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(Reader::default().read(&path).is_err(), "{name} without its last byte");
    }
}

#[test]
fn a_flipped_bit_is_found_where_there_are_checksums() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["tone.flac", "nomd5.flac", "tone.ogg", "tone.opus"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        let path = dir.path().join(name);
        // Behind the tags, of which FLAC has no checksum.
        let from = if name.ends_with("flac") { 9_000 } else { 30 };
        for k in 0..25 {
            let mut bytes = whole.clone();
            let at = from + (whole.len() - from) * k / 25;
            bytes[at] ^= 1 << (k % 8);
            std::fs::write(&path, &bytes).unwrap();
            assert!(
                Reader::default().read(&path).is_err(),
                "{name}: bit {} of byte {at}",
                k % 8
            );
        }
    }
}

#[test]
fn damage_to_frames_of_mp3_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read(fixture("plain.mp3")).unwrap();
    let path = dir.path().join("x.mp3");
    let start = whole
        .windows(2)
        .position(|w| w[0] == 0xff && w[1] & 0xe0 == 0xe0)
        .unwrap();
    for (name, bytes) in [
        ("a gap", [&whole[..1_500], &whole[1_700..]].concat()),
        (
            "zeros",
            [&whole[..start + 700], &[0; 900], &whole[start + 1_600..]].concat(),
        ),
    ] {
        std::fs::write(&path, bytes).unwrap();
        assert!(Reader::default().read(&path).is_err(), "{name}");
    }
    // Tags behind the sound are no damage.
    let mut tagged = whole.clone();
    tagged.extend(b"TAG");
    tagged.extend([0; 125]);
    std::fs::write(&path, tagged).unwrap();
    Reader::default().read(&path).unwrap();
}

/// A WAV header of 8 kHz, 16 bits, that promises `frames`.
fn header(frames: u64) -> Vec<u8> {
    let mut wav =
        b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data".to_vec();
    wav.extend((2 * frames as u32).to_le_bytes());
    wav
}

#[test]
fn long_recordings_come_in_pieces_and_absurd_ones_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.wav");
    let lasting = |hours: u64| {
        let frames = hours * 3600 * 8_000;
        std::fs::write(&path, header(frames)).unwrap();
        // A sparse file: it takes no room on the disk.
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(44 + 2 * frames).unwrap();
    };
    lasting(10);
    assert_eq!(probe(&path, None).unwrap(), 10 * 3600 * 16_000);
    let mut reader = Reader::default();
    let mut stream = reader.open(&path, None).unwrap();
    let mut piece = vec![];
    for _ in 0..50 {
        piece.clear();
        assert!(stream.more(&mut piece).unwrap());
        assert!(piece.capacity() < 1 << 18, "{}", piece.capacity());
    }
    drop(stream);
    let said = Reader::default().read(&path).unwrap_err().to_string();
    assert!(said.contains("an hour") && said.contains("window_seconds"), "{said}");
    lasting(25);
    let said = probe(&path, None).unwrap_err().to_string();
    assert!(said.contains("25.00 h"), "{said}");
}

#[test]
fn absurd_samples_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.wav");
    for (sample_rate, value, what) in [
        (8_000, 3e38, "beyond full scale"),
        (16_000, -3e38, "beyond full scale"),
        (8_000, f32::INFINITY, "not a finite number"),
        (16_000, f32::NAN, "not a finite number"),
    ] {
        let spec = WavSpec {
            channels: 1,
            sample_rate,
            bits_per_sample: 32,
            sample_format: SampleFormat::Float,
        };
        let mut w = WavWriter::create(&path, spec).unwrap();
        (0..5_000).for_each(|i| w.write_sample(if i == 4_321 { value } else { 0.1 }).unwrap());
        w.finalize().unwrap();
        let said = Reader::default().read(&path).unwrap_err().to_string();
        assert!(said.contains(what) && said.contains("4321"), "{said}");
    }
}

#[test]
fn segments_are_parts_of_their_recording() {
    let collect = |path: &Path, segment| -> Result<Vec<f32>, Error> {
        let mut reader = Reader::default();
        let mut stream = reader.open(path, Some(segment))?;
        let mut out = vec![];
        while stream.more(&mut out)? {}
        Ok(out)
    };
    for name in ["tone.flac", "tone.w64", "tone.ogg", "tone.sph"] {
        let path = fixture(name);
        let whole = Reader::default().read(&path).unwrap();
        for (start, length) in [(0u64, 700u64), (4_097, 1), (5_000, 7_000), (11_999, 1)] {
            let own = Segment {
                start: At::Samples(start),
                length: Some(At::Samples(length)),
            };
            let want = &whole[start as usize..(start + length) as usize];
            assert_eq!(collect(&path, own).unwrap(), want, "{name} {own}");
            assert_eq!(probe(&path, Some(own)).unwrap(), want.len());
        }
        let half = Segment {
            start: At::Seconds(0.5),
            length: None,
        };
        assert_eq!(collect(&path, half).unwrap(), &whole[8_000..], "{name}");
        for (start, length) in [(12_000, Some(5)), (11_000, Some(2_000)), (40_000, None)] {
            let own = Segment {
                start: At::Samples(start),
                length: length.map(At::Samples),
            };
            assert!(
                collect(&path, own).unwrap_err().to_string().contains("beyond its end"),
                "{name} {own}"
            );
        }
    }
}

#[test]
fn channels_that_cancel_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.wav");
    for (sign, cancels) in [(-1i16, true), (1, false)] {
        let spec = WavSpec {
            channels: 2,
            sample_rate: 16_000,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let mut w = WavWriter::create(&path, spec).unwrap();
        for s in reference() {
            let s = (s * 32_000.0) as i16;
            w.write_sample(s).unwrap();
            w.write_sample(sign * s).unwrap();
        }
        w.finalize().unwrap();
        let mut reader = Reader::default();
        let mut stream = reader.open(&path, None).unwrap();
        while stream.more(&mut vec![]).unwrap() {}
        assert_eq!(stream.cancels(), cancels);
    }
}
