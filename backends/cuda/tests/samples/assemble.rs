//! What the assembler of the CUDA toolkit says of the PTX, where there is one: the emulator does not know all of its rules.

use crate::harness::{ARCHS, compile};
use crate::hopper::products;
use ir::kernel_sample::{self, Sample};
use std::path::PathBuf;
use std::process::Command;

/// That of `$PTXAS`, or the one on the path.
fn assembler() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("PTXAS").unwrap_or_else(|| "ptxas".into()));
    let starts = Command::new(&path)
        .arg("--version")
        .output()
        .is_ok_and(|o| o.status.success());
    starts.then_some(path)
}

/// Two of each kind, one of them in bf16.
fn samples() -> Vec<Sample> {
    use kernel_sample::*;
    let kinds = [
        row,
        column,
        contract,
        attention,
        attention_grad,
        scatter,
        ctc,
        row_large,
        contract_large,
        attention_large,
        attention_grad_large,
    ];
    let of = |(i, kind): (u32, fn(u32) -> Sample)| [kind(i), narrowed(kind(100 + i), i)];
    (0..).zip(kinds).flat_map(of).collect()
}

/// What the assembler says of a kernel, with its figures; `None` where there is no assembler.
fn assembled(sample: &Sample, aligned: bool, arch: &str) -> Option<String> {
    let ptxas = assembler()?;
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let [ptx, cubin] = ["k.ptx", "k.cubin"].map(|name| folder.path().join(name));
    let code = compile(sample, aligned, arch).unwrap_or_else(|e| panic!("{e}"));
    std::fs::write(&ptx, &code.text).expect("the temporary folder is writable");
    let mut command = Command::new(&ptxas);
    command
        .arg("-v")
        .arg(format!("-arch={arch}"))
        .arg(&ptx)
        .arg("-o")
        .arg(&cubin);
    let out = command.output().expect("it started before");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{said}\n{}\n{}", sample.kernel, code.text);
    Some(said)
}

#[test]
fn ptx_is_assembled() {
    for (i, sample) in samples().into_iter().enumerate() {
        if assembled(&sample, i % 3 > 0, ARCHS[i / 2 % 2]).is_none() {
            println!("skipped: no ptxas");
            return;
        }
    }
}

/// Sums stay in registers, and products are not made to wait for each other (which is told as a warning).
#[test]
fn products_of_hopper_go_on_together() {
    for (sample, tile) in products() {
        let Some(said) = assembled(&sample, true, "sm_90a") else {
            println!("skipped: no ptxas");
            return;
        };
        let quiet = said.contains(" 0 bytes spill stores") && !said.contains("C75") && !said.contains("warning");
        assert!(quiet, "{tile}: {said}\n{}", sample.kernel);
    }
}
