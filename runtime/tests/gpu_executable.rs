//! The executable of a program for the GPU as a process: what it says and ends with where no GPU can be had.

use ir::artifact::{Artifact, Precision};
use std::path::Path;
use std::process::{Command, Output};

fn executable(path: &Path, gpu: Option<Precision>) {
    use std::os::unix::fs::PermissionsExt;
    let artifact = Artifact {
        name: "empty".into(),
        cpu_features: vec![],
        gpu,
        constants: Default::default(),
        recipes: Default::default(),
        export: Default::default(),
        params: vec![],
        param_elements: 0,
        symbols: vec![],
        dims: vec![],
        kernels: vec![],
        programs: vec![],
    };
    let runner = std::fs::read(env!("CARGO_BIN_EXE_w2vc-runner")).unwrap();
    let code = runtime::exec::pack_ptx(&[]).unwrap();
    std::fs::write(path, runtime::exec::append(&runner, &artifact, &code).unwrap()).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn call(path: &Path, line: &str) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = Command::new(path)
        .args(line.split(' '))
        .env("CUDA_VISIBLE_DEVICES", "")
        .output()
        .unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn without_a_gpu_an_executable_says_so_and_ends_with_its_code() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model");
    executable(&path, Some(Precision::Bf16));
    for line in ["bench", "bench --device auto", "bench --device cuda:1"] {
        let (code, said) = call(&path, line);
        // With a driver but no visible device the message is another.
        let known = match code {
            Some(3) => "no NVIDIA driver was found",
            Some(4) => "update the driver",
            _ => "no suitable GPU",
        };
        assert!(
            matches!(code, Some(3..=5)) && said.contains(known),
            "{line}: {code:?} {said}"
        );
        assert!(!said.contains("panicked"), "{said}");
    }
    let (code, said) = call(&path, "bench --device cpu");
    assert!(code == Some(1) && said.contains("auto, cuda:N"), "{code:?} {said}");
}

#[test]
fn an_executable_for_the_processor_refuses_a_device() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model");
    executable(&path, None);
    let (code, said) = call(&path, "--device emulator bench");
    assert!(
        code == Some(1) && said.contains("compiled for the GPU"),
        "{code:?} {said}"
    );
}
