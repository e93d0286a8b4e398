//! A code generator or a runner that is not of this w2vc, beside it.

use crate::commands::{built, compiler};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("the temporary folder is writable");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("what the test made is its own");
}

#[test]
fn a_code_generator_of_another_version_is_told_at_once() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let generator = folder.path().join("w2vc-codegen");
    for (behaves, said) in [
        // As the first ones did: it waits for jobs, and ends where there are none.
        ("cat >/dev/null", "without a greeting"),
        ("printf W2VC-GEN-002; cat >/dev/null", "W2VC-GEN-002"),
        ("printf 'W2VC-GEN-003 0.0.9\\n'; cat >/dev/null", "0.0.9"),
        ("echo usage: something else; exit 2", "usage: somet"),
        ("exit 3", "without a greeting"),
    ] {
        script(&generator, behaves);
        let begun = Instant::now();
        let out = compiler("cuda", &folder.path().join("out"))
            .env("W2VC_CODEGEN", &generator)
            .output()
            .expect("w2vc starts");
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{behaves}: {text}");
        assert!(text.contains(said) && text.contains("make build"), "{behaves}: {text}");
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{behaves}: {:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn a_runner_of_another_version_is_not_appended_to() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let w2vc = folder.path().join("w2vc");
    fs::copy(built("w2vc"), &w2vc).expect("the temporary folder has room");
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let compile = || {
        Command::new(&w2vc)
            .current_dir(&models)
            .args(["compile", "tiny.ron", "--set", "layers=1", "--set", "hidden=64", "-o"])
            .arg(folder.path().join("model"))
            .output()
            .expect("w2vc starts")
    };
    for (runner, said) in [
        ("exit 0", "not a runner of w2vc"),
        (
            "# w2vc-runner reads W2VC-001 of version 0.0.1;",
            "W2VC-001 of version 0.0.1",
        ),
    ] {
        script(&folder.path().join("w2vc-runner"), runner);
        let out = compile();
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{text}");
        assert!(text.contains(said) && text.contains("make build"), "{text}");
        assert!(!folder.path().join("model").exists());
    }
    fs::copy(built("w2vc-runner"), folder.path().join("w2vc-runner")).expect("the temporary folder has room");
    let out = compile();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}
