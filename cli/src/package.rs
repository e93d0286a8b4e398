//! A compiled model as a library for C, and as a package for Python.

use crate::failure::Failure;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use runtime::exec::{append, check_runner};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use w2vc_compiler::compile::Output;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

type Result<T> = std::result::Result<T, Failure>;

/// Names of the library that models are appended to, and of its header.
const LIBRARY: &str = "libw2vc_library.so";
const HEADER: &str = "w2vc.h";

const HEADER_TEXT: &str = include_str!("../../library/w2vc.h");
const PYTHON: &str = include_str!("../../library/python/__init__.py");
const EXAMPLE: &str = include_str!("../../library/python/example.py");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Something beside this command.
pub fn beside(name: &str) -> Result<(PathBuf, Vec<u8>)> {
    let path = std::env::current_exe().map_err(Failure::other)?.with_file_name(name);
    let missing = |e| {
        Failure::other(format!(
            "cannot read `{}`: {e}; it is installed beside w2vc: build both with `make build`",
            path.display()
        ))
    };
    let bytes = fs::read(&path).map_err(missing)?;
    check_runner(&bytes, &path).map_err(Failure::of_runtime)?;
    Ok((path, bytes))
}

/// The library with a model appended.
fn library(out: &Output) -> Result<Vec<u8>> {
    let (_, bytes) = beside(LIBRARY)?;
    append(&bytes, &out.artifact, &out.code).map_err(Failure::of_runtime)
}

/// Writes a library, and its header beside it; says what was written.
pub fn write_library(path: &Path, out: &Output) -> Result<String> {
    let bytes = library(out)?;
    // Renamed into place, so that a running program that has it loaded keeps what it has.
    runtime::atomic::replace_with_mode(path, 0o755, |file| {
        file.write_all(&bytes).map_err(runtime::Error::io("write", path))
    })
    .map_err(Failure::of_runtime)?;
    let header = path.with_file_name(HEADER);
    runtime::atomic::write_text(&header, HEADER_TEXT).map_err(Failure::of_runtime)?;
    Ok(format!("wrote {} and {}", path.display(), header.display()))
}

/// Writes a wheel to a folder, under the name that installers ask for; says what was written.
pub fn write_wheel(folder: &Path, out: &Output) -> Result<String> {
    let package = package(&out.artifact.name);
    let bytes = wheel(&package, &out.artifact.name, &library(out)?)?;
    let path = folder.join(format!("{package}-{VERSION}-py3-none-linux_x86_64.whl"));
    runtime::atomic::create_dir(folder).map_err(Failure::of_runtime)?;
    runtime::atomic::write_bytes(&path, &bytes).map_err(Failure::of_runtime)?;
    Ok(format!(
        "wrote {}; install it by `pip install {}`",
        path.display(),
        path.display()
    ))
}

/// The package of a model: `w2vc_` and its name as Python can have it.
pub fn package(model: &str) -> String {
    let letter = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    let name: String = model.chars().map(letter).collect();
    // Installers take runs of underscores for one.
    let parts: Vec<&str> = name.split('_').filter(|p| !p.is_empty()).collect();
    format!("w2vc_{}", parts.join("_"))
}

fn wheel(package: &str, model: &str, library: &[u8]) -> Result<Vec<u8>> {
    let failed = |e: &dyn std::fmt::Display| Failure::other(format!("the wheel cannot be packed: {e}"));
    let info = format!("{package}-{VERSION}.dist-info");
    let python = PYTHON.replace("{package}", package).replace("{version}", VERSION);
    let metadata = format!(
        "Metadata-Version: 2.1\nName: {package}\nVersion: {VERSION}\nSummary: Speech to text: the model `{model}`, compiled by \
         w2vc\nLicense: MIT\nRequires-Python: >=3.8\nRequires-Dist: numpy\n"
    );
    let tag = "Wheel-Version: 1.0\nGenerator: w2vc\nRoot-Is-Purelib: false\nTag: py3-none-linux_x86_64\n";
    let files: Vec<(String, &[u8])> = vec![
        (format!("{package}/__init__.py"), python.as_bytes()),
        (format!("{package}/example.py"), EXAMPLE.as_bytes()),
        (format!("{package}/py.typed"), b""),
        (format!("{package}/{HEADER}"), HEADER_TEXT.as_bytes()),
        (format!("{package}/_model.so"), library),
        (format!("{info}/METADATA"), metadata.as_bytes()),
        (format!("{info}/WHEEL"), tag.as_bytes()),
    ];
    let mut record = String::new();
    let mut zip = ZipWriter::new(Cursor::new(vec![]));
    let options = SimpleFileOptions::default().unix_permissions(0o644);
    let mut add = |name: &str, bytes: &[u8]| {
        zip.start_file(name, options).map_err(|e| failed(&e))?;
        zip.write_all(bytes).map_err(|e| failed(&e))
    };
    for (name, bytes) in &files {
        record += &format!(
            "{name},sha256={},{}\n",
            URL_SAFE_NO_PAD.encode(Sha256::digest(bytes)),
            bytes.len()
        );
        add(name, bytes)?;
    }
    record += &format!("{info}/RECORD,,\n");
    add(&format!("{info}/RECORD"), record.as_bytes())?;
    Ok(zip.finish().map_err(|e| failed(&e))?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_have_names_that_python_takes() {
        assert_eq!(package("tiny"), "w2vc_tiny");
        assert_eq!(package("XLS-R (300m)"), "w2vc_xls_r_300m");
    }
}
