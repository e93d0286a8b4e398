//! `listen`: samples go in, texts come out.

use crate::commands::assert_ok;
use crate::tuned::Case;
use serde_json::Value;
use std::io::Write;
use std::process::Stdio;

/// Samples of a recording at 8 kHz, without its header.
fn samples(case: &Case, name: &str) -> Vec<u8> {
    let wav = std::fs::read(case.dir.join(name)).expect("it is there");
    wav[44..].to_vec()
}

fn listen(case: &Case, arguments: &[&str], input: &[u8]) -> std::process::Output {
    let mut child = case
        .command("listen")
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .expect("the executable starts");
    let mut pipe = child.stdin.take().expect("it is a pipe");
    // In pieces of no particular size; who stops reading says why.
    for piece in input.chunks(1777) {
        if pipe.write_all(piece).is_err() {
            break;
        }
    }
    drop(pipe);
    child.wait_with_output().expect("it ends")
}

#[test]
fn texts_of_a_stream_come_in_events() {
    let case = Case::shared();
    let raw = samples(case, "data/5.wav");
    let format = ["--rate", "8000", "--json"];
    let out = assert_ok(listen(case, &format, &raw));
    let events: Vec<Value> = out
        .lines()
        .map(|l| serde_json::from_str(l).expect("a JSON object a line"))
        .collect();
    let last = events.last().expect("something is heard");
    assert_eq!(last["type"], "final");
    assert!(last["words"].as_array().is_some_and(|w| !w.is_empty()), "{last}");
    assert!(last["end"].as_f64().expect("a number") < 1.9);
    // The plain text is that of the final events; a header says what samples are.
    let wav = std::fs::read(case.dir.join("data/5.wav")).expect("it is there");
    let plain = assert_ok(listen(case, &[], &wav));
    let finals: Vec<&str> = events
        .iter()
        .filter(|e| e["type"] == "final")
        .filter_map(|e| e["text"].as_str())
        .collect();
    assert_eq!(plain.lines().collect::<Vec<_>>(), finals);
    // One chunk that sees all is the recording as a whole.
    let whole = assert_ok(listen(
        case,
        &["--chunk", "30", "--right", "0", "--set", "normalize=true"],
        &wav,
    ));
    assert_eq!(whole.trim(), case.texts()[5]);
}

#[test]
fn what_is_no_sound_is_told() {
    let case = Case::shared();
    let out = listen(case, &["--input", "f32le"], &[0xff; 400]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains("f32le"), "{said}");
    assert_eq!(assert_ok(listen(case, &[], &[])), "");
    // Without a program to record with.
    let out = case
        .command("listen")
        .arg("--mic")
        .env("PATH", "/nowhere")
        .output()
        .expect("the executable starts");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(2) && said.contains("arecord"), "{said}");
}
