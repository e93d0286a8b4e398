//! NCCL, opened while the program runs: sums of gradients that stay on the GPUs. It is opened only where there are several ranks.

use super::driver::CUstream;
use crate::error::Error;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;

/// The variable that names the library, or `none`.
pub const LIBRARY: &str = "W2VC_NCCL";

/// The only name that wheels and Debian's package have, and the one that is linked with.
const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];

const FLOAT32: c_int = 7;
const SUM: c_int = 0;

/// What all ranks of a communicator are given by the first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Id(pub [u8; 128]);

type Communicator = *mut c_void;

macro_rules! functions {
    ($($field:ident = $name:literal: fn($($arg:ty),*) -> $out:ty;)*) => {
        struct Functions {
            $($field: unsafe extern "C" fn($($arg),*) -> $out,)*
        }

        impl Functions {
            /// # Errors
            /// The name of the first that is missing.
            fn of(library: &Library) -> Result<Functions, &'static str> {
                Ok(Functions {
                    // SAFETY: signatures are those of nccl.h, the same in all versions 2.
                    $($field: *unsafe { library.get(concat!($name, "\0").as_bytes()) }.map_err(|_| $name)?,)*
                })
            }
        }
    };
}

functions! {
    get_version = "ncclGetVersion": fn(*mut c_int) -> c_int;
    get_unique_id = "ncclGetUniqueId": fn(*mut Id) -> c_int;
    init_rank = "ncclCommInitRank": fn(*mut Communicator, c_int, Id, c_int) -> c_int;
    abort = "ncclCommAbort": fn(Communicator) -> c_int;
    all_reduce = "ncclAllReduce": fn(*const c_void, *mut c_void, usize, c_int, c_int, Communicator, CUstream) -> c_int;
    group_start = "ncclGroupStart": fn() -> c_int;
    group_end = "ncclGroupEnd": fn() -> c_int;
    error_string = "ncclGetErrorString": fn(c_int) -> *const c_char;
    last_error = "ncclGetLastError": fn(Communicator) -> *const c_char;
}

/// The library, and the ranks that it connects once they have joined.
pub struct Nccl {
    functions: Functions,
    communicator: Communicator,
}

impl Nccl {
    /// `None` where there is no such library, or `W2VC_NCCL=none` says to go without.
    ///
    /// # Errors
    /// Where one is named that cannot be used.
    pub fn open() -> Result<Option<Nccl>, Error> {
        let named = std::env::var(LIBRARY).ok().filter(|n| !n.is_empty());
        if named.as_deref() == Some("none") {
            return Ok(None);
        }
        let unusable = |what: String| Error::Device {
            call: format!("opening NCCL ({LIBRARY})"),
            what,
        };
        // SAFETY: its initialisers touch nothing of ours.
        let load = |name: &str| unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) };
        let library = match &named {
            Some(name) => load(name).map_err(|e| unusable(e.to_string()))?,
            None => match NAMES.iter().find_map(|name| load(name).ok()) {
                Some(library) => library,
                None => return Ok(None),
            },
        };
        let functions = Functions::of(&library).map_err(|name| unusable(format!("it lacks {name}")))?;
        // Its threads stay until the process ends.
        std::mem::forget(library);
        Ok(Some(Nccl {
            functions,
            communicator: null_mut(),
        }))
    }

    fn done(&self, call: &str, code: c_int) -> Result<(), Error> {
        if code == 0 {
            return Ok(());
        }
        let text = |text: *const c_char| match text.is_null() {
            true => String::new(),
            // SAFETY: NCCL gives texts that stay.
            false => unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_string(),
        };
        // SAFETY: the codes are the library's own, and the last error may be asked for without a communicator.
        let (what, last) = unsafe {
            let last = (self.functions.last_error)(self.communicator);
            (text((self.functions.error_string)(code)), text(last))
        };
        Err(Error::Device {
            call: call.into(),
            what: match last.is_empty() {
                true => what,
                false => format!("{what}: {last}"),
            },
        })
    }

    /// As a number: 22304 is 2.23.4.
    pub fn version(&self) -> Result<i32, Error> {
        let mut version = 0;
        // SAFETY: the result is written to a variable of its type.
        self.done("ncclGetVersion", unsafe { (self.functions.get_version)(&mut version) })?;
        Ok(version)
    }

    /// What the first rank gives the others.
    pub fn id(&self) -> Result<Id, Error> {
        let mut id = Id([0; 128]);
        // SAFETY: as for `version`.
        self.done("ncclGetUniqueId", unsafe { (self.functions.get_unique_id)(&mut id) })?;
        Ok(id)
    }

    /// Connects this rank's GPU, that of the current context, with the others'; all ranks do so at once.
    pub fn join(&mut self, id: Id, rank: usize, size: usize) -> Result<(), Error> {
        let mut made = null_mut();
        // SAFETY: as for `version`.
        let code = unsafe { (self.functions.init_rank)(&mut made, size as c_int, id, rank as c_int) };
        self.done("ncclCommInitRank", code)?;
        self.communicator = made;
        Ok(())
    }

    /// Sums f32 over all ranks where they lie, after what is on the stream already. Parts are address and count.
    pub fn sum(&self, parts: &[(u64, usize)], stream: CUstream) -> Result<(), Error> {
        // SAFETY: the caller owns the addresses, and what is on the stream later waits for these calls.
        unsafe {
            self.done("ncclGroupStart", (self.functions.group_start)())?;
            for (address, count) in parts {
                let at = *address as *mut c_void;
                let code = (self.functions.all_reduce)(at, at, *count, FLOAT32, SUM, self.communicator, stream);
                self.done("ncclAllReduce", code)?;
            }
            self.done("ncclGroupEnd", (self.functions.group_end)())
        }
    }
}

impl Drop for Nccl {
    fn drop(&mut self) {
        if !self.communicator.is_null() {
            // SAFETY: it is used no more.
            unsafe { (self.functions.abort)(self.communicator) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the library (W2VC_NCCL=PATH, or where the system has it) and without a GPU: it opens, says what it is, and refuses in words.
    #[test]
    fn the_library_says_what_it_is_and_refuses_without_a_gpu() {
        let Some(mut nccl) = Nccl::open().unwrap_or_else(|e| panic!("{e}")) else {
            println!("SKIPPED: there is no libnccl.so.2 (pip install nvidia-nccl-cu12, then W2VC_NCCL=PATH)");
            return;
        };
        let version = nccl.version().unwrap();
        println!("NCCL {version}");
        assert!(version > 20_000, "{version}");
        if super::super::driver_is_present() {
            return;
        }
        match nccl.id() {
            Ok(id) => {
                assert!(id.0.iter().any(|b| *b != 0));
                let error = nccl.join(id, 0, 1).unwrap_err().to_string();
                println!("{error}");
                assert!(error.contains("ncclCommInitRank: ") && error.len() > 40, "{error}");
            }
            // Newer ones look for a driver here already.
            Err(e) => assert!(e.to_string().contains("ncclGetUniqueId"), "{e}"),
        }
    }
}
