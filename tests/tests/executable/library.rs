//! The library as C, C++ and Python see it: the same texts as the command's.

use crate::commands::{assert_ok, compiler};
use crate::tuned::Case;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = include_str!("library/program.c");
const SCRIPT: &str = include_str!("library/script.py");

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

fn emit(kind: &str, to: &Path) -> String {
    let mut w2vc = compiler("cpu", to);
    assert_ok(output(w2vc.args(["--emit", kind])))
}

/// What the command gives as JSON, without the name of the recording.
fn of_command(case: &Case, file: &str) -> Value {
    let text = assert_ok(case.run(&["--timestamps", "word", "--format", "jsonl", file]));
    let mut all: Value = serde_json::from_str(&text).expect("JSON");
    all.as_object_mut().expect("an object").remove("recording");
    all
}

fn plain(text: &str) -> Value {
    let mut all: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    all.as_object_mut().expect("an object").remove("recording");
    all
}

#[test]
fn a_program_in_c_gets_what_the_command_gives() {
    let case = Case::shared();
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let at = |name: &str| folder.path().join(name);
    emit("library", &at("libmodel.so"));
    // It asks for glibc alone.
    let needed = assert_ok(output(Command::new("readelf").arg("-d").arg(at("libmodel.so"))));
    let needed: Vec<&str> = needed.lines().filter(|l| l.contains("(NEEDED)")).collect();
    let own = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"];
    assert!(needed.iter().all(|l| own.iter().any(|o| l.contains(o))), "{needed:?}");
    std::fs::write(at("program.c"), PROGRAM).expect("the temporary folder is writable");
    let strict = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-pthread"];
    for (compiler, language, name) in [("cc", "c", "c"), ("c++", "c++", "cpp")] {
        let mut build = Command::new(compiler);
        build
            .current_dir(folder.path())
            .args(strict)
            .args(["-x", language, "program.c", "-x", "none", "-o", name]);
        assert_ok(output(build.args(["-L.", "-lmodel"])));
        let run = output(
            Command::new(at(name))
                .current_dir(folder.path())
                .env("LD_LIBRARY_PATH", ".")
                .arg(&case.dir)
                .args(["run", "data/5.wav"]),
        );
        let out = assert_ok(run);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(plain(lines[0]), of_command(case, "data/5.wav"));
        // Errors are texts; threads agree; a closed model's stream goes on.
        assert!(lines[1].contains("nowhere"), "{out}");
        assert!(lines[2].contains("--beem"), "{out}");
        assert!(lines[3].contains("NULL"), "{out}");
        assert_eq!(lines[4], "8 threads agree", "{out}");
        assert!(lines[5].contains("\"final\""), "{out}");
    }
}

/// A folder of Python programs with numpy, without a network: what this machine's own Python has.
fn python(folder: &Path) -> PathBuf {
    let has = |python: &&str| {
        let asked = Command::new(python).args(["-c", "import numpy, venv, pip"]).output();
        asked.is_ok_and(|out| out.status.success())
    };
    // What apt installs is not always the first of the path.
    let python = ["python3", "/usr/bin/python3"].into_iter().find(has);
    let python = python.expect("Python with numpy, pip and venv is not installed: scripts/setup.sh installs it");
    assert_ok(output(
        Command::new(python)
            .args(["-m", "venv", "--system-site-packages"])
            .arg(folder),
    ));
    folder.join("bin/python")
}

#[test]
fn a_wheel_is_installed_and_gives_what_the_command_gives() {
    let case = Case::shared();
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let python = python(&folder.path().join("venv"));
    let said = emit("wheel", &folder.path().join("dist"));
    let wheel = folder.path().join("dist/w2vc_tiny-0.1.0-py3-none-linux_x86_64.whl");
    assert!(said.contains("pip install") && wheel.exists(), "{said}");
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--disable-pip-version-check",
    ];
    assert_ok(output(Command::new(&python).args(install).arg(&wheel)));
    let features = folder.path().join("state.npy");
    let own = case
        .command("features")
        .args(["--layer", "1", "data/5.wav", "-o"])
        .arg(&features)
        .output();
    assert_ok(own.expect("the executable starts"));
    let script = folder.path().join("script.py");
    std::fs::write(&script, SCRIPT).expect("the temporary folder is writable");
    let run = output(Command::new(&python).current_dir(&case.dir).arg(&script).arg(&features));
    let out = assert_ok(run);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], case.texts()[5]);
    let words: Value = serde_json::from_str(lines[1]).expect("JSON");
    let wanted = of_command(case, "data/5.wav");
    let wanted: Vec<&Value> = wanted["segments"]
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(|s| s["words"].as_array().expect("words"))
        .collect();
    assert_eq!(words.as_array().expect("a list").iter().collect::<Vec<_>>(), wanted);
    assert_eq!(lines[2], "all well");
    let example =
        output(
            Command::new(&python)
                .current_dir(&case.dir)
                .args(["-m", "w2vc_tiny.example", "run", "data/5.wav"]),
        );
    assert!(assert_ok(example).contains(&case.texts()[5]));
}
