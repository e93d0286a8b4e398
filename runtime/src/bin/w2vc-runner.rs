//! The executable that `w2vc compile` appends a compiled model to.

use runtime::Error;
use std::process::ExitCode;

/// `w2vc` looks for it before it appends a model.
#[used]
static MARK: &str = runtime::exec::MARK;

fn main() -> ExitCode {
    let opened = std::env::current_exe()
        .map_err(|e| Error::Usage(e.to_string()))
        .and_then(|p| runtime::exec::open(&p));
    match opened {
        Ok(runner) => runtime::cli::main_with(&*runner),
        Err(e) => runtime::cli::fail(&e),
    }
}
