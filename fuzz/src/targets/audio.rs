//! Recordings through the whole reading path: container, decoder, mono, resampling.

use super::Target;
use crate::input::{Input, each};
use runtime::audio::{Reader, probe};
use std::path::Path;

pub const TARGET: Target = Target {
    name: "audio",
    seeds,
    words: &[
        "RIFF",
        "RF64",
        "WAVE",
        "fmt ",
        "data",
        "LIST",
        "fLaC",
        "OggS",
        "OpusHead",
        "ftyp",
        "moov",
        "FORM",
        "AIFF",
        "ID3",
        "NIST_1A\n",
    ],
    run,
};

fn seeds() -> Vec<Input> {
    let endings = [
        ".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".m4a", ".mka", ".caf", ".wv", ".au", ".sph", ".w64",
        ".webm",
    ];
    // Those of the corpus last 40 ms.
    let mut all = each("fuzz/corpus/audio", &endings);
    all.extend(each("runtime/fixtures/audio", &endings));
    all.extend(each("tests/fixtures/clips", &[".wav"]));
    all
}

/// Decodes in blocks, as training does, so that what is held does not grow with a file that claims days.
fn run(input: &Input, folder: &Path) -> bool {
    let Ok(path) = input.write(folder) else { return false };
    let _ = probe(&path, None);
    let mut reader = Reader::default();
    let Ok(mut stream) = reader.open(&path, None) else {
        return false;
    };
    let mut block = vec![];
    // An hour is enough of a file of a few thousand bytes.
    for _ in 0..3600 {
        block.clear();
        match stream.more(&mut block) {
            Ok(true) => {}
            Ok(false) => return true,
            Err(_) => return false,
        }
    }
    true
}
