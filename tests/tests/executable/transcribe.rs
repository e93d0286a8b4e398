//! `transcribe` as a user calls it: files, folders, lists, the standard input, and what cannot be heard among them.

use crate::commands::assert_ok;
use crate::tuned::{Case, lines};
use std::path::Path;
use std::process::Output;

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// One model for all, since it takes a while to make.
#[test]
fn recordings_are_transcribed_however_they_are_named() {
    let case = Case::shared();
    let named = |i: usize| format!("data/{i}.wav");
    let alone: Vec<(String, String)> = (0..12).flat_map(|i| case.lines(&[&named(i)])).collect();
    assert!(
        alone.iter().any(|(_, text)| !text.is_empty()),
        "nothing is heard in anything"
    );

    // Together they are what they are alone, in the order given.
    let all: Vec<String> = (0..12).rev().map(named).collect();
    let together = case.lines(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let backwards: Vec<_> = alone.iter().rev().cloned().collect();
    assert_eq!(together, backwards);

    // A folder, a table and a list name the same recordings; paths are as their form gives them.
    let mut sorted = alone.clone();
    sorted.sort();
    assert_eq!(case.lines(&["data"]), sorted);
    assert_eq!(case.lines(&["data/texts.tsv"]), alone);
    std::fs::write(case.dir.join("list.txt"), "data/3.wav\ndata/1.wav\n").expect("the folder is writable");
    let picked = [alone[3].clone(), alone[1].clone()];
    assert_eq!(case.lines(&["list.txt"]), picked);
    let mixed = case.lines(&["list.txt", "data/0.wav"]);
    assert_eq!(mixed, [&picked[..], &alone[..1]].concat());

    piped(case, &alone[5].1);
    failing(case, &alone);
    logits(case);
}

/// A recording from the standard input.
fn piped(case: &Case, text: &str) {
    let file = std::fs::File::open(case.dir.join("data/5.wav")).expect("it is there");
    let out = case
        .transcribe(&["-"])
        .stdin(file)
        .output()
        .expect("the executable starts");
    assert_eq!(lines(&assert_ok(out)), [("-".to_string(), text.to_string())]);
    // A name that begins with the mark of options.
    std::fs::copy(case.dir.join("data/5.wav"), case.dir.join("-x.wav")).expect("the folder is writable");
    assert_eq!(case.lines(&["--", "-x.wav"])[0].1, text);
}

/// What cannot be read stops nothing else, and is named at the end.
fn failing(case: &Case, alone: &[(String, String)]) {
    std::fs::write(case.dir.join("broken.wav"), "RIFF").expect("the folder is writable");
    let out = case.run(&["data/0.wav", "broken.wav", "gone.wav", "nowhere/", "data/1.wav"]);
    assert_eq!(out.status.code(), Some(9), "{}", said(&out));
    assert_eq!(lines(&String::from_utf8_lossy(&out.stdout)), alone[..2]);
    let told = said(&out);
    for part in [
        "broken.wav",
        "gone.wav",
        "nowhere",
        "3 of 5",
        "could not be transcribed",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let none = case.run(&["gone.wav"]);
    assert_eq!((none.status.code(), none.stdout.len()), (Some(9), 0));
    // The words of a wrong command line.
    assert_eq!(case.run(&[]).status.code(), Some(2));
    assert_eq!(
        case.run(&["--set", "window_second=3", "data/0.wav"]).status.code(),
        Some(2)
    );
}

/// Logits of each recording, and nothing written over what is read.
fn logits(case: &Case) {
    let out = case.run(&["--logits", "out.safetensors", "data/0.wav", "data/1.wav", "data/0.wav"]);
    assert_eq!(lines(&assert_ok(out)).len(), 3);
    let file = runtime::weights::TensorFile::open(&case.dir.join("out.safetensors")).expect("it was written");
    let mut names = file.names();
    names.sort();
    assert_eq!(names, ["data/0.wav", "data/0.wav#2", "data/1.wav"]);
    let values = |name: &str| file.floats(name).expect("they are read").expect("they are there");
    assert_eq!(values("data/0.wav"), values("data/0.wav#2"));
    let wav = Path::new("data/0.wav");
    let before = std::fs::read(case.dir.join(wav)).expect("it is there");
    assert!(!case.run(&["--logits", "data/0.wav", "data/0.wav"]).status.success());
    assert!(std::fs::read(case.dir.join(wav)).expect("it is there") == before);
}
