//! Errors as C has them: a value that says so, and a text for the thread that called. No panic leaves this library.

use runtime::Error;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

thread_local! {
    static SAID: RefCell<CString> = RefCell::default();
}

/// Why the last call of this thread failed.
pub fn said() -> *const c_char {
    SAID.with(|s| s.borrow().as_ptr())
}

fn say(text: &str) {
    let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
    // A thread that ends has nobody to tell.
    let _ = SAID.try_with(|s| *s.borrow_mut() = text);
}

/// What a call gives, NULL where it fails.
pub fn guarded<T>(call: impl FnOnce() -> Result<*mut T, Error>) -> *mut T {
    guarded_or(null_mut(), call)
}

/// What a call gives, or `failed`.
pub fn guarded_or<T>(failed: T, call: impl FnOnce() -> Result<T, Error>) -> T {
    // What a panic leaves half done is behind locks whose poison is looked past, or freed.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => {
            say("");
            value
        }
        Ok(Err(e)) => {
            say(&e.to_string());
            failed
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no text");
            say(&format!("a fault of w2vc, please report it: {text}"));
            failed
        }
    }
}
