//! Compiling for the GPU, and an executable for it on the emulator.

use crate::commands::{assert_ok, built, compile, compiler, of_small_model, recordings};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Too little data for good models: a few short clips per update.
const SETTINGS: [&str; 6] = [
    "save_every=1",
    "validate_every=2",
    "warmup=1",
    "max_tokens=40000",
    "dropout=0.1",
    "layerdrop=0.2",
];

fn pretrain(exe: &Path, data: &Path, out: &Path, updates: u32) -> Command {
    let mut command = Command::new(exe);
    command.args(["pretrain", "--device", "emulator", "--data"]).arg(data);
    command
        .arg("--out")
        .arg(out)
        .args(["--set", &format!("updates={updates}")]);
    command.args(SETTINGS.iter().flat_map(|s| ["--set", s]));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn failed(out: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(code), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn has_driver() -> bool {
    Path::new("/proc/driver/nvidia").exists() || Path::new("/dev/dxg").exists()
}

#[test]
fn a_killed_run_on_the_emulator_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let at = |name: &str| folder.path().join(name);
    let (exe, data) = (at("model"), at("data"));
    fs::create_dir(&data).expect("the temporary folder is writable");
    assert_ok(compile("cuda", &exe));
    recordings(&data);
    let start = |command: &mut Command| command.output().expect("the executable starts");

    let info = assert_ok(start(Command::new(&exe).arg("info")));
    assert!(info.contains("bf16"), "{info}");
    if has_driver() {
        println!("skipped: what an executable says without a driver");
    } else {
        let said = failed(
            &start(
                Command::new(&exe)
                    .args(["pretrain", "--data"])
                    .arg(&data)
                    .arg("--out")
                    .arg(at("none")),
            ),
            3,
        );
        assert!(said.contains("driver") && said.contains("--device emulator"), "{said}");
    }

    assert_ok(start(&mut pretrain(&exe, &data, &at("whole"), 3)));
    let mut killed = pretrain(&exe, &data, &at("cut"), 3)
        .spawn()
        .expect("the executable starts");
    while !at("cut/checkpoints/step-00000001").exists() && killed.try_wait().expect("a child can be asked").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    killed.kill().expect("a child can be killed");
    killed.wait().expect("a child can be waited for");
    assert!(
        !at("cut/checkpoints/step-00000003").exists(),
        "the run ended before it could be killed"
    );
    assert_ok(start(pretrain(&exe, &data, &at("cut"), 3).arg("--resume")));
    for file in [
        "model.safetensors",
        "checkpoints/step-00000003/weights.safetensors",
        "checkpoints/step-00000003/moments.safetensors",
    ] {
        let read = |run: &str| fs::read(at(run).join(file)).unwrap_or_else(|e| panic!("{run}/{file}: {e}"));
        assert!(read("whole") == read("cut"), "{file} differs");
    }
}

/// One file per kernel and architecture, whose code calls nothing from outside.
#[test]
fn stages_are_written_as_files() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let emit = |stage: &str, precision: &str| {
        let to = folder.path().join(precision).join(stage);
        let out = compiler("cuda", &to)
            .args(["--emit", stage, "--precision", precision])
            .output();
        assert_ok(out.expect("w2vc starts"));
        let entries = fs::read_dir(&to).expect("the folder was made");
        let file = |entry: std::io::Result<fs::DirEntry>| {
            let path = entry.expect("the folder can be read").path();
            let text = fs::read_to_string(&path).expect("it is text");
            (
                path.file_name()
                    .map(|n| n.to_string_lossy().into_owned())
                    .unwrap_or_default(),
                text,
            )
        };
        entries.map(file).collect::<Vec<(String, String)>>()
    };
    let (mlir, ptx) = (emit("mlir", "fp32"), emit("ptx", "fp32"));
    assert!(mlir.len() > 10, "{} files", mlir.len());
    assert_eq!(ptx.len(), 2 * mlir.len());
    // Products in bf16 are written in other instructions for Hopper.
    let both = emit("mlir", "bf16");
    let hopper = both.iter().filter(|(name, _)| name.ends_with(".sm_90a.mlir"));
    assert!(hopper.count() > 0 && both.iter().any(|(name, _)| !name.contains(".sm_")));
    for (name, text) in &mlir {
        assert!(
            name.ends_with(".mlir") && text.contains("gpu.module"),
            "{name}:\n{text}"
        );
    }
    for (name, text) in &ptx {
        let arch = ["sm_80", "sm_90a"]
            .into_iter()
            .find(|a| name.ends_with(&format!(".{a}.ptx")));
        let arch = arch.unwrap_or_else(|| panic!("{name} names no architecture"));
        assert!(text.contains(&format!(".target {arch}\n")), "{name}");
        assert!(
            text.contains(".visible .entry") && !text.contains(".extern .func"),
            "{name}:\n{text}"
        );
    }
}

/// `w2vc compile` with another program in place of the code generator.
fn compile_with(generator: &Path, to: &Path) -> Output {
    let mut command = compiler("cuda", to);
    command.env("W2VC_CODEGEN", generator).output().expect("w2vc starts")
}

#[test]
fn a_code_generator_that_dies_is_told_with_the_kernel_it_died_of() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let at = |name: &str| folder.path().join(name);
    // Says what it is, and reads the job first, so that it dies of what it was given.
    let script = |name: &str, end: &str| {
        let path = at(name);
        let greeting = concat!("W2VC-GEN-003 ", env!("CARGO_PKG_VERSION"));
        fs::write(
            &path,
            format!("#!/bin/sh\necho '{greeting}'\nhead -c 64 > /dev/null\n{end}\n"),
        )
        .expect("the temporary folder is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the file was just made");
        path
    };
    let exe = at("model");
    let dead = [
        (script("fails", "exit 1"), vec!["exit status: 1"]),
        (
            script("quits", "echo out of luck >&2; exit 3"),
            vec!["exit status: 3", "out of luck"],
        ),
        (script("aborts", "kill -ABRT $$"), vec!["signal: 6"]),
        (script("babbles", "echo nonsense that is no reply at all"), vec![]),
    ];
    for (generator, signs) in dead {
        let said = failed(&compile_with(&generator, &exe), 1);
        assert!(said.contains("kernel `"), "{}: {said}", generator.display());
        for sign in signs {
            assert!(said.contains(sign), "{} without `{sign}`: {said}", generator.display());
        }
        assert!(!exe.exists());
    }
    let said = failed(&compile_with(&at("nowhere"), &exe), 1);
    assert!(said.contains("nowhere") && said.contains("make build"), "{said}");
}

/// Whoever compiles for the CPU, or runs what was compiled, needs no MLIR.
#[test]
fn only_the_code_generator_links_mlir() {
    for (name, links) in [("w2vc", false), ("w2vc-runner", false), ("w2vc-codegen", true)] {
        let out = Command::new("ldd")
            .arg(built(name))
            .output()
            .expect("ldd belongs to libc");
        let libraries = assert_ok(out);
        assert_eq!(libraries.contains("libMLIR"), links, "{name}:\n{libraries}");
    }
}

#[test]
fn explain_plans_every_program() {
    let out = of_small_model("explain", "cuda").output().expect("w2vc starts");
    let text = assert_ok(out);
    let count = |what: &str| text.lines().filter(|l| l.trim_start().starts_with(what)).count();
    assert_eq!(count("memory plan: "), count("program "), "{text}");
    assert!(!text.contains("has no value"), "{text}");
}
