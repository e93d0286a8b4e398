//! Makes `-lMLIR-C` mean MLIR's C interface as static archives over the shared libMLIR: Debian ships no libMLIR-C.so.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=MLIR_SYS_220_PREFIX");
    let prefix = env::var("MLIR_SYS_220_PREFIX").unwrap_or_else(|_| "/usr/lib/llvm-22".into());
    let lib = Path::new(&prefix).join("lib");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    // A linker script: the archives need each other and the shared library behind them.
    let mut group = String::from("GROUP (");
    let listed = fs::read_dir(&lib).unwrap_or_else(|e| panic!("cannot read {}: {e}; run `make setup`", lib.display()));
    let mut archives: Vec<PathBuf> = listed
        .filter_map(|f| Some(f.ok()?.path()))
        .filter(|p| {
            let name = p
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            name.starts_with("libMLIRCAPI") && name.ends_with(".a")
        })
        .collect();
    archives.sort();
    assert!(
        !archives.is_empty(),
        "there is no libMLIRCAPI*.a in {}; run `make setup`",
        lib.display()
    );
    for a in archives {
        write!(group, " {}", a.display()).expect("strings take all text");
    }
    let shared = lib.join("libMLIR.so");
    let llvm = lib.join("libLLVM.so");
    writeln!(group, " ) INPUT ( {} {} )", shared.display(), llvm.display()).expect("strings take all text");
    fs::write(out.join("libMLIR-C.so"), group).expect("OUT_DIR is writable");
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
