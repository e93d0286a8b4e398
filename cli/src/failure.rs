//! How the command ends where something is wrong: the text, and the exit code of its kind (docs/reference/exit-codes.md).

use passes::pipeline::CompileError;
use std::any::Any;
use std::cell::RefCell;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use w2vc_compiler::compile;

/// Another failure, wrong usage, a model file that cannot be compiled.
const OTHER: u8 = 1;
const USAGE: u8 = 2;
const MODEL: u8 = 9;

/// What is told, and the exit code.
#[derive(Debug)]
pub struct Failure {
    pub text: String,
    pub code: u8,
}

impl Failure {
    fn new(code: u8, e: impl Display) -> Failure {
        Failure {
            text: format!("error: {e}"),
            code,
        }
    }
    pub fn other(e: impl Display) -> Failure {
        Failure::new(OTHER, e)
    }
    pub fn usage(e: impl Display) -> Failure {
        Failure::new(USAGE, e)
    }
    /// Mistakes in a model file, which are shown with their places.
    pub fn diagnostics(text: String) -> Failure {
        Failure { text, code: MODEL }
    }
    /// A model that is well formed and cannot be compiled.
    pub fn model(e: impl Display) -> Failure {
        Failure::new(MODEL, e)
    }
    pub fn of_runtime(e: runtime::Error) -> Failure {
        Failure::new(e.exit_code(), e)
    }
    pub fn of_passes(e: CompileError) -> Failure {
        match e {
            CompileError::Program { .. } => Failure::model(e),
            CompileError::Form { .. } => Failure::usage(e),
            CompileError::Broken { .. } => Failure::other(format!(
                "{e}; this is a fault of w2vc and not of the command line: please report it with the model file and its --set"
            )),
        }
    }
    pub fn of_compiler(e: compile::Error) -> Failure {
        match e {
            compile::Error::Runtime(e) => Failure::of_runtime(e),
            compile::Error::Passes(e) => Failure::of_passes(e),
            compile::Error::Backend(cpu::Error::UnknownTarget(_) | cpu::Error::MissingFeature(..)) => Failure::usage(e),
            compile::Error::Backend(_) | compile::Error::Generate(_) => Failure::other(e),
        }
    }
}

thread_local! {
    /// Where the last panic of this thread was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs the command; where the compiler itself fails on a model, that is told as every other error is.
pub fn guarded(work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    std::panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map_or(String::new(), |l| format!(" ({}:{})", l.file(), l.line()));
        PLACE.with(|p| p.replace(place));
    }));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let place = PLACE.with(|p| p.take());
        Err(Failure::other(format!(
            "the compiler failed: {}{place}; this is a fault of w2vc and not of the command line: please report it with the \
             model file and its --set",
            said(&*panic)
        )))
    })
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_as_an_error_with_its_place() {
        let e = guarded(|| panic!("a size of {} is odd", 3)).unwrap_err();
        let _ = std::panic::take_hook();
        assert_eq!(e.code, 1);
        assert!(e.text.contains("a size of 3 is odd (cli/src/failure.rs:"), "{}", e.text);
    }
}
