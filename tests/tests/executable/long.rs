//! A recording of more than an hour, which is read again window by window instead of being held.

use crate::commands::{assert_ok, compile, recordings};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

const RATE: usize = 16_000;
const SECONDS: usize = 61 * 60;

/// Tones in the first two minutes and the last; between them silence, which takes no room on the disk.
fn write(path: &Path) {
    let bytes = (2 * RATE * SECONDS) as u32;
    let rate = RATE as u32;
    let mut header = b"RIFF".to_vec();
    header.extend((bytes + 36).to_le_bytes());
    header.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    header.extend(rate.to_le_bytes());
    header.extend((2 * rate).to_le_bytes());
    header.extend(b"\x02\0\x10\0data");
    header.extend(bytes.to_le_bytes());
    let file = File::create(path).expect("the temporary folder is writable");
    file.write_all_at(&header, 0).expect("the disk has room");
    file.set_len(u64::from(bytes) + 44).expect("the disk has room");
    for (from, to) in [(0, 120), (SECONDS - 60, SECONDS)] {
        let sample = |i: usize| {
            let t = i as f32 / RATE as f32;
            let pitch = 200.0 + 150.0 * (t * 3.0).sin();
            ((t * pitch).sin() * 8000.0) as i16
        };
        let tones: Vec<u8> = (from * RATE..to * RATE).flat_map(|i| sample(i).to_le_bytes()).collect();
        file.write_all_at(&tones, 44 + 2 * (from * RATE) as u64)
            .expect("the disk has room");
    }
}

fn logits(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).expect("it was written");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    bytes[8 + header..].to_vec()
}

#[test]
fn more_than_an_hour_comes_to_its_end_in_windows() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("data")).expect("the temporary folder is writable");
    assert_ok(compile("cpu", &at("model")));
    recordings(&at("data"));
    let exe = |words: &[&str]| {
        let mut command = Command::new(at("model"));
        command.args(words).current_dir(folder.path());
        assert_ok(command.output().expect("the executable starts"))
    };
    exe(&[
        "finetune",
        "--data",
        "data/texts.tsv",
        "--out",
        "run",
        "--set",
        "updates=1",
        "--set",
        "freeze_updates=0",
    ]);
    write(&at("long.wav"));
    // Not made zero-mean by the whole, so that windows do not depend on what comes an hour later.
    let set = [
        "--set",
        "window_seconds=30",
        "--set",
        "normalize=false",
        "--weights",
        "run",
    ];
    exe(&[&["transcribe", "--logits", "whole"], &set[..], &["long.wav"]].concat());
    let begin = format!("long.wav:0:{}", 120 * RATE);
    fs::write(at("begin.txt"), format!("{begin}\n")).expect("the temporary folder is writable");
    exe(&[&["transcribe", "--logits", "begin"], &set[..], &["begin.txt"]].concat());
    let (whole, begin) = (logits(&at("whole")), logits(&at("begin")));
    // 49.9 frames a second.
    let frames = (RATE * SECONDS - 400) / 320 + 1;
    assert_eq!(whole.len() % frames, 0, "{} bytes for {frames} frames", whole.len());
    let row = whole.len() / frames;
    // Three windows of the two minutes see the same on either side.
    let same = 85 * 50 * row;
    assert!(begin.len() > same && whole[..same] == begin[..same]);
    // The last minute is heard: its frames are not those of silence.
    let (silence, last) = (&whole[frames / 2 * row..][..row], &whole[(frames - 500) * row..][..row]);
    assert!(silence != last);
}
