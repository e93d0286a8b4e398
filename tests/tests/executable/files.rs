//! Folders and files that may not be written or read, pipes and devices as outputs, disks that fail: an error that names the file,
//! and nothing is lost.

use crate::commands::{assert_ok, built, compile, open_to_all, recordings, unprivileged};
use crate::kills::{Bench, traces};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[track_caller]
fn ends(out: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{said}");
    for what in words {
        assert!(said.contains(what), "without `{what}`: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// A compiled model, data and a short run, in a folder that everybody may use.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().expect("the temporary folder is writable"));
        open_to_all(place.0.path(), 0o777);
        let (exe, data) = (place.at("model"), place.at("data"));
        fs::create_dir(&data).expect("the temporary folder is writable");
        assert_ok(compile("cpu", &exe));
        open_to_all(&exe, 0o755);
        recordings(&data);
        ends(&place.run(&place.training("run", "2")), 0, &[]);
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// As a user for whom permissions hold.
    fn run(&self, words: &[String]) -> Output {
        let mut command = Command::new(self.at("model"));
        command.args(words).current_dir(self.0.path());
        unprivileged(&mut command, None)
            .output()
            .expect("the executable starts")
    }

    fn training(&self, out: &str, updates: &str) -> Vec<String> {
        let mut words: Vec<String> = ["pretrain", "--threads", "1", "--data", "data", "--out", out]
            .map(String::from)
            .into();
        let updates = format!("updates={updates}");
        for set in [updates.as_str(), "save_every=1", "max_tokens=70000", "loaders=1"] {
            words.extend(["--set".to_string(), set.to_string()]);
        }
        words
    }
}

#[test]
fn what_may_not_be_written_is_named_and_stays_as_it_was() {
    let place = Place::new();
    let closed = place.at("closed");
    fs::create_dir(&closed).expect("the temporary folder is writable");
    open_to_all(&closed, 0o555);
    ends(
        &place.run(&place.training("closed/run", "2")),
        1,
        &["closed/run", "denied"],
    );
    ends(&place.run(&place.training("closed", "2")), 1, &["closed", "denied"]);

    // A run folder that was closed meanwhile.
    let mut resume = place.training("run", "4");
    resume.push("--resume".into());
    let checkpoints = place.at("run/checkpoints");
    let names = || {
        let list = fs::read_dir(&checkpoints).expect("it can be listed");
        let mut names: Vec<_> = list.map(|e| e.expect("it can be listed").file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    open_to_all(&checkpoints, 0o555);
    ends(&place.run(&resume), 1, &["run/checkpoints", "denied"]);
    assert_eq!(names(), before);
    open_to_all(&checkpoints, 0o777);
    ends(&place.run(&resume), 0, &[]);
    assert_ne!(names(), before);
}

#[test]
fn what_may_not_be_read_is_named_and_is_no_bad_clip() {
    let place = Place::new();
    let clip = place.at("data/3.wav");
    open_to_all(&clip, 0o000);
    // Other data would be other weights.
    ends(&place.run(&place.training("other", "2")), 1, &["data/3.wav", "denied"]);
    assert!(!place.at("other/model.safetensors").exists());

    let words = |list: &[&str]| list.iter().map(|w| w.to_string()).collect::<Vec<_>>();
    let tune = [
        "finetune",
        "--data",
        "data/texts.tsv",
        "--init",
        "run",
        "--out",
        "tuned",
        "--set",
        "updates=1",
        "--set",
        "freeze_updates=0",
    ];
    open_to_all(&clip, 0o644);
    ends(&place.run(&words(&tune)), 0, &[]);
    open_to_all(&clip, 0o000);
    // The others are heard all the same.
    let out = place.run(&words(&[
        "transcribe",
        "--weights",
        "tuned",
        "data/3.wav",
        "data/4.wav",
    ]));
    assert_ne!(out.status.code(), Some(0));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("data/3.wav") && said.contains("denied"), "{said}");
    assert!(String::from_utf8_lossy(&out.stdout).contains("data/4.wav"), "{said}");

    open_to_all(&place.at("tuned/model.safetensors"), 0o000);
    let out = place.run(&words(&["transcribe", "--weights", "tuned", "data/4.wav"]));
    ends(&out, 1, &["tuned/model.safetensors", "denied"]);
}

#[test]
fn the_compiler_says_what_it_may_not_write_before_it_works() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    open_to_all(folder.path(), 0o555);
    for name in ["w2vc", "w2vc-runner"] {
        fs::copy(built(name), folder.path().join(name)).expect("the temporary folder has room");
    }
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    for name in ["tiny.ron", "base.ron"] {
        fs::copy(models.join(name), folder.path().join(name)).expect("the temporary folder has room");
    }
    let w2vc = |words: &[&str]| {
        let mut command = Command::new(folder.path().join("w2vc"));
        command.args(words).current_dir(folder.path());
        unprivileged(&mut command, None).output().expect("w2vc starts")
    };
    ends(&w2vc(&["compile", "tiny.ron", "-o", "model"]), 1, &["model", "denied"]);
    open_to_all(&folder.path().join("base.ron"), 0o000);
    ends(&w2vc(&["check", "tiny.ron"]), 9, &["base.ron", "denied"]);
    open_to_all(folder.path(), 0o755);
}

#[test]
fn pipes_and_devices_are_written_to_as_they_are() {
    let place = Place::new();
    let words = |list: &[&str]| list.iter().map(|w| w.to_string()).collect::<Vec<_>>();
    let tune = [
        "finetune",
        "--data",
        "data/texts.tsv",
        "--init",
        "run",
        "--out",
        "tuned",
        "--set",
        "updates=1",
        "--set",
        "freeze_updates=0",
    ];
    ends(&place.run(&words(&tune)), 0, &[]);
    let logits = |to: &str| {
        place.run(&words(&[
            "transcribe",
            "--threads",
            "1",
            "--weights",
            "tuned",
            "--logits",
            to,
            "data/4.wav",
        ]))
    };
    ends(&logits("plain"), 0, &[]);
    let plain = fs::read(place.at("plain")).expect("it was written");
    assert!(plain.len() > 1000);

    let pipe = place.at("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .expect("mkfifo is there")
            .success()
    );
    open_to_all(&pipe, 0o666);
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read(pipe)
    });
    ends(&logits("pipe"), 0, &[]);
    let through = reader.join().expect("the reader reads").expect("a pipe can be read");
    assert!(
        through == plain,
        "{} bytes came through, {} were to",
        through.len(),
        plain.len()
    );
    let kind = fs::symlink_metadata(&pipe).expect("it is still there").file_type();
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&kind));

    ends(&logits("/dev/full"), 1, &["/dev/full", "space"]);
    ends(&logits("/dev/null"), 0, &[]);
}

/// System calls that fail as on a broken disk: by name, and from which one on.
#[test]
fn a_disk_that_fails_ends_a_training_with_words_and_costs_nothing() {
    if !traces() {
        return;
    }
    let bench = Bench::new();
    for (call, from) in [
        ("fsync", "1"),
        ("fsync", "9+"),
        ("fsync", "20"),
        ("write", "60"),
        ("write", "75"),
        ("write", "90"),
        ("renameat", "1"),
        ("rename", "2"),
        ("mkdir", "3"),
        ("openat", "300+"),
        ("unlinkat", "2+"),
    ] {
        let out = bench.at("broken");
        let inject = format!("inject={call}:error=EIO:when={from}");
        let trace = format!("trace={call}");
        let under = ["strace", "-f", "-qq", "-e", &trace, "-e", &inject, "-o", "/dev/null"];
        let broken = bench.training(&under, &out).output().expect("strace starts");
        let said = String::from_utf8_lossy(&broken.stderr).into_owned();
        match broken.status.code() {
            // It came to nothing that mattered: a line of the report, or a file that nobody needs.
            Some(0) => {}
            Some(1) => assert!(said.contains("os error 5"), "{call} {from}: {said}"),
            other => panic!("{call} {from}: {other:?} {said}"),
        }
        assert!(!said.contains("panicked"), "{call} {from}: {said}");
        bench.goes_on(&out, &format!("{call} fails from {from} on"));
        fs::remove_dir_all(&out).expect("it is ours");
    }
}

#[test]
fn recordings_and_checkpoints_that_a_disk_cannot_read_are_no_other_data() {
    if !traces() {
        return;
    }
    let bench = Bench::new();
    let clip = bench.at("data/5.wav");
    let clip = clip.to_str().expect("it is text");
    for call in ["read", "openat"] {
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:error=EIO"));
        let under = [
            "strace",
            "-f",
            "-qq",
            "-P",
            clip,
            "-e",
            &trace,
            "-e",
            &inject,
            "-o",
            "/dev/null",
        ];
        let out = bench.at("unread");
        let broken = bench.training(&under, &out).output().expect("strace starts");
        ends(&broken, 1, &["5.wav", "os error 5"]);
        assert!(!out.join("model.safetensors").exists());
        let _ = fs::remove_dir_all(&out);
    }
    // The newest checkpoint cannot be read: it is named, and the one before it gone on from, to the same bits.
    let run = bench.at("resumed");
    bench.goes_on(&run, "a whole run");
    for file in ["state", "weights.safetensors", "moments.safetensors"] {
        let path = run.join("checkpoints/step-00000006").join(file);
        let path = path.to_str().expect("it is text");
        let calls = "read,pread64";
        let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error=EIO"));
        let under = [
            "strace",
            "-f",
            "-qq",
            "-P",
            path,
            "-e",
            &trace,
            "-e",
            &inject,
            "-o",
            "/dev/null",
        ];
        let mut resumed = bench.training(&under, &run);
        resumed.arg("--resume");
        let out = resumed.output().expect("strace starts");
        ends(&out, 0, &["skipped", file, "os error 5"]);
        bench.goes_on(&run, &format!("{file} could not be read"));
    }
}
