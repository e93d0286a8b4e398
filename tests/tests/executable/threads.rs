//! No thread to be had: the commands do their work on those that there are, say so in a line, and compute the same bits.

use crate::commands::{assert_ok, built, compile, open_to_all, recordings, unprivileged};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runs a command as a user that may have so many processes and threads in all. Where this test is not root, which such a limit
/// does not hold for, as its own user, which may have that many already.
fn limited(command: &mut Command, most: u64) -> Output {
    unprivileged(command, Some(most)).output().expect("the command starts")
}

/// Said once, and nothing panicked.
#[track_caller]
fn went_on_without(out: &Output) {
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    assert_eq!(said.matches("the system gives no").count(), 1, "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn everything_works_on_one_thread_where_no_other_is_given() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let at = |name: &str| folder.path().join(name);
    let (exe, data) = (at("model"), at("data"));
    fs::create_dir(&data).expect("the temporary folder is writable");
    assert_ok(compile("cpu", &exe));
    recordings(&data);
    open_to_all(folder.path(), 0o777);
    open_to_all(&exe, 0o755);
    let settings = [
        "updates=3",
        "save_every=3",
        "validate_every=3",
        "max_tokens=70000",
        "loaders=2",
    ];
    let training = |command: &str, out: &Path| {
        let mut all = Command::new(&exe);
        let table = if command == "finetune" {
            data.join("texts.tsv")
        } else {
            data.clone()
        };
        all.args([command, "--threads", "2", "--data"]).arg(table);
        all.arg("--out").arg(out);
        all.args(settings.iter().flat_map(|s| ["--set", s]));
        all
    };
    let whole = training("pretrain", &at("whole"))
        .output()
        .expect("the executable starts");
    assert_ok(whole);
    let read = |run: &str| {
        let path = at(run).join("checkpoints/step-00000003/weights.safetensors");
        fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    for most in [1, 2] {
        let out = limited(&mut training("pretrain", &at(&format!("limited{most}"))), most);
        went_on_without(&out);
        assert!(
            read(&format!("limited{most}")) == read("whole"),
            "{most}: other weights"
        );
    }
    let mut tuning = training("finetune", &at("tuned"));
    tuning
        .arg("--init")
        .arg(at("whole"))
        .args(["--set", "freeze_updates=0"]);
    went_on_without(&limited(&mut tuning, 1));
    let exe = |words: &[&str]| {
        let mut command = Command::new(&exe);
        command.args(words).current_dir(folder.path());
        limited(&mut command, 1)
    };
    for words in [
        &[
            "transcribe",
            "--threads",
            "2",
            "--weights",
            "tuned",
            "data/0.wav",
            "data/1.wav",
        ][..],
        &[
            "evaluate",
            "--threads",
            "2",
            "--weights",
            "tuned",
            "--data",
            "data/texts.tsv",
        ],
        &["data", "check", "data"],
        &["bench", "--threads", "2", "--seconds", "1", "--runs", "1"],
    ] {
        let out = exe(words);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && !said.contains("panicked"), "{words:?}: {said}");
    }
}

#[test]
fn compiling_needs_no_further_thread() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    open_to_all(folder.path(), 0o777);
    // The folder of the build may be closed to other users.
    for name in ["w2vc", "w2vc-runner"] {
        fs::copy(built(name), folder.path().join(name)).expect("the temporary folder has room");
    }
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    for name in ["tiny.ron", "base.ron"] {
        fs::copy(models.join(name), folder.path().join(name)).expect("the temporary folder has room");
    }
    let deep = format!("hidden={}128{}", "(".repeat(4000), ")".repeat(4000));
    let w2vc = |words: &[&str]| {
        let mut command = Command::new(folder.path().join("w2vc"));
        command.args(words).current_dir(folder.path());
        limited(&mut command, 1)
    };
    let small = [
        "compile",
        "tiny.ron",
        "--set",
        "layers=1",
        "--set",
        "hidden=64",
        "-o",
        "model",
    ];
    assert_ok(w2vc(&small));
    // As deep as the limits allow, without a thread that has the stack for it.
    let nested = format!("hidden={}128{}", "(".repeat(60), ")".repeat(60));
    assert_ok(w2vc(&["check", "tiny.ron", "--set", &nested]));
    let out = w2vc(&["check", "tiny.ron", "--set", &deep]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(9), "{said}");
    // The code generator is a process of its own.
    let out = w2vc(&["compile", "tiny.ron", "--target", "cuda", "-o", "gpu"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && !said.contains("panicked"), "{said}");
}
