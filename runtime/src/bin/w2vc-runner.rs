//! The executable that `w2vc compile` appends a compiled model to.

use runtime::exec::Native;
use std::process::ExitCode;

fn main() -> ExitCode {
    let native = std::env::current_exe()
        .map_err(|e| e.to_string())
        .and_then(|p| Native::open(&p).map_err(|e| e.to_string()));
    match native {
        Ok(native) => runtime::cli::main_with(&native),
        Err(e) => {
            runtime::log::tell(&format!("error: {e}"));
            ExitCode::FAILURE
        }
    }
}
