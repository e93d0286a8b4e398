//! The executable that `w2vc compile` appends a compiled model to.

use std::process::ExitCode;
use w2vc_runtime::Error;

/// `w2vc` looks for it before it appends a model.
#[used]
static MARK: &str = w2vc_runtime::exec::MARK;

fn main() -> ExitCode {
    let opened = std::env::current_exe()
        .map_err(|e| Error::Usage(e.to_string()))
        .and_then(|p| w2vc_runtime::exec::open(&p));
    match opened {
        Ok(runner) => w2vc_runtime::cli::main_with(&*runner),
        Err(e) => w2vc_runtime::cli::fail(&e),
    }
}
