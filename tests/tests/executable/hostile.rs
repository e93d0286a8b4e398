//! The commands on what is made to break them: each ends with a message and a documented exit code.

use crate::commands::{built, compiler};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[track_caller]
fn ends(out: &Output, code: i32, what: &str) {
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{said}");
    assert!(
        said.contains(what) && !said.contains("panicked"),
        "without `{what}`: {said}"
    );
}

fn w2vc(args: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Command::new(built("w2vc"))
        .current_dir(root)
        .args(args)
        .output()
        .expect("w2vc starts")
}

#[test]
fn hostile_models_and_options_end_by_the_table() {
    let check = |set: &str| w2vc(&["check", "models/tiny.ron", "--set", set]);
    let brackets = format!("hidden={}128{}", "(".repeat(4000), ")".repeat(4000));
    let chain = format!("hidden=1{}", "+1".repeat(60_000));
    for set in [&brackets, &chain] {
        ends(&check(set), 9, "--set:1:");
    }
    for (name, value) in [
        ("heads", "-1"),
        ("heads", "0"),
        ("num_negatives", "1000000000000"),
        ("vocab", "4294967296"),
        ("vocab", "9223372036854775808"),
        ("hidden", "nan"),
        ("hidden", "1e308"),
        ("layers", "0"),
        ("layers", "1000000000000"),
        ("ffn", "0.5"),
    ] {
        ends(&check(&format!("{name}={value}")), 9, "Error: ");
    }
    ends(&w2vc(&["check", "models/gone.ron"]), 9, "gone.ron");
    ends(&w2vc(&["check", "models/tiny.ron", "--set", "hidden"]), 2, "NAME=VALUE");
    ends(&w2vc(&["explain", "models/tiny.ron", "--size", "N=-5"]), 2, "size N");
    ends(
        &w2vc(&["explain", "models/tiny.ron", "--size", "N=1000000000000"]),
        2,
        "size N",
    );
    ends(
        &w2vc(&[
            "compile",
            "models/tiny.ron",
            "--precision",
            "bf16",
            "--cpu",
            "x86-64-v3",
        ]),
        2,
        "no instructions for bf16",
    );
    ends(&w2vc(&["compile", "models/tiny.ron", "--cpu", "z80"]), 2, "z80");
    ends(
        &w2vc(&["compile", "models/tiny.ron", "--no-such-option"]),
        2,
        "--no-such-option",
    );
}

#[test]
fn a_setting_that_nothing_reads_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let base = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../models/tiny.ron")
        .canonicalize()
        .unwrap();
    let write = |recipes: &str| {
        let path = folder.path().join("own.ron");
        fs::write(&path, format!("(extends: {base:?}, recipes: {{ {recipes} }})")).unwrap();
        let path = path.display().to_string();
        w2vc(&["check", &path])
    };
    ends(&write("\"pretrain\": { \"warm_up\": 3 }"), 9, "did you mean `warmup`?");
    ends(&write("\"pretrian\": { \"warmup\": 3 }"), 9, "did you mean `pretrain`?");
    ends(&write("\"pretrain\": { \"mask_prob\": 2 }"), 9, "mask_prob");
    // The place is that in the file which has it.
    for (recipe, place) in [
        ("\n \"pretrain\": {\n  \"warm_up\": 3 }", "own.ron:3:"),
        ("\n\n\"pretrain\": { \"mask_prob\": 2 }", "own.ron:3:"),
        ("\n\"pretrian\": { \"warmup\": 3 }", "own.ron:2:"),
    ] {
        ends(&write(recipe), 9, place);
    }
    assert!(write("\"pretrain\": { \"warmup\": 3 }").status.success());
}

/// A compiled model that runs, once for all tests of this file.
fn model(folder: &Path) -> PathBuf {
    let exe = folder.join("model");
    let out = compiler("cpu", &exe).output().expect("w2vc starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    exe
}

#[test]
fn damaged_executables_and_absurd_requests() {
    let folder = tempfile::tempdir().unwrap();
    let exe = model(folder.path());
    let run = |args: &[&str]| Command::new(&exe).args(args).output().expect("the model starts");
    assert!(run(&["info"]).status.success());

    let bytes = fs::read(&exe).unwrap();
    let damaged = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Command::new(&path).arg("info").output().expect("it is still a program")
    };
    // Of what is appended to the runner: its bytes are the system's to load, and may fail before any check.
    let runner = fs::metadata(built("w2vc-runner")).unwrap().len() as usize;
    for i in 0..5 {
        let mut flipped = bytes.clone();
        flipped[runner + (bytes.len() - runner) * (2 * i + 1) / 10] ^= 0x10;
        ends(&damaged("flipped", &flipped), 11, "compile it again");
    }
    ends(&damaged("cut", &bytes[..bytes.len() - 1]), 11, "compile it again");
    ends(
        &damaged("longer", &[&bytes[..], b"\n"].concat()),
        11,
        "compile it again",
    );

    ends(&run(&["bench", "--threads", "1000000"]), 2, "--threads");
    ends(&run(&["bench", "--batch", "18446744073709551615"]), 10, "GiB");
    ends(&run(&["bench", "--batch", "1000000000", "--seconds", "60"]), 10, "GiB");
    for seconds in ["nan", "inf", "1e99", "0"] {
        ends(&run(&["bench", "--seconds", seconds]), 2, "--seconds");
    }
    let limited = |limit: &str| {
        let line = format!("ulimit -v {limit}; exec \"$0\" bench --batch 200 --seconds 20 --runs 1 --threads 1");
        Command::new("bash")
            .args(["-c", &line])
            .arg(&exe)
            .output()
            .expect("bash starts")
    };
    ends(&limited("600000"), 10, "GiB");
}

#[test]
fn a_model_that_no_machine_holds_is_refused_before_it_is_allocated() {
    let folder = tempfile::tempdir().unwrap();
    let exe = folder.path().join("large");
    let out = compiler("cpu", &exe)
        .args(["--set", "codes=500000000", "--set", "code_dim=512"])
        .output();
    let out = out.expect("w2vc starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let out = Command::new(&exe)
        .args(["bench", "--seconds", "1"])
        .output()
        .expect("it starts");
    ends(&out, 10, "the model's parameters");
}

#[test]
fn gathers_beyond_their_rows_stay_inside() {
    let folder = tempfile::tempdir().unwrap();
    let base = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../models/tiny.ron")
        .canonicalize()
        .unwrap();
    let file = folder.path().join("oob.ron");
    let text = format!(
        r#"(
            extends: {base:?},
            constants: {{ "hidden": 64, "layers": 1 }},
            blocks: {{ "head": (
                args: ["x"],
                params: {{ "weight": (shape: ["vocab", "hidden"], init: Normal(0.02)), "bias": (shape: ["vocab"], init: Zeros) }},
                body: "
                    t = take(bias, iota(size: vocab) * 100000000, batch: 0)
                    y = linear(x, weight, t)
                ",
                returns: ["y"],
            ) }},
        )"#
    );
    fs::write(&file, text).unwrap();
    let exe = folder.path().join("oob");
    let (from, to) = (file.display().to_string(), exe.display().to_string());
    let out = w2vc(&["compile", &from, "-o", &to]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    for program in ["transcribe", "finetune"] {
        let out = Command::new(&exe)
            .args(["bench", "--seconds", "1", "--runs", "1", "--program", program])
            .output();
        let out = out.expect("it starts");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}
