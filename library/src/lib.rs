//! The library that `w2vc compile --emit library` appends a compiled model to: C functions over [`runtime::model`].
//!
//! `w2vc.h` says what each function does. The model is in the file that this library was loaded from.

mod errors;
mod memory;
mod own;

use errors::{guarded, guarded_or, said};
use memory::{floats, give_floats, give_text, text, texts};
use runtime::Error;
use runtime::model::{Detail, Model, Options, Speech};
use std::ffi::{CStr, c_char, c_int};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// `w2vc` looks for it before it appends a model.
#[used]
static MARK: &str = runtime::exec::MARK;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("a version holds no zero"),
};

/// A model as C holds it.
pub struct Handle(Arc<Model>);

/// A stream as C holds it: one call at a time.
pub struct Stream(Mutex<Speech>);

fn detail(times: Option<&str>) -> Result<Option<Detail>, Error> {
    match times {
        None | Some("" | "segment") => Ok(None),
        Some("word") => Ok(Some(Detail::Word)),
        Some("char") => Ok(Some(Detail::Char)),
        Some(other) => Err(Error::Usage(format!("times: `{other}` is none of word, char, segment"))),
    }
}

/// # Safety
/// `model` is NULL or what [`w2vc_open`] gave and [`w2vc_close`] did not take.
unsafe fn model<'a>(model: *const Handle) -> Result<&'a Arc<Model>, Error> {
    // SAFETY: as this function's.
    let handle = unsafe { model.as_ref() };
    handle
        .map(|h| &h.0)
        .ok_or_else(|| Error::Usage("the model is NULL".into()))
}

/// # Safety
/// As [`model`], of a stream.
unsafe fn stream<'a>(stream: *const Stream) -> Result<std::sync::MutexGuard<'a, Speech>, Error> {
    // SAFETY: as this function's.
    let handle = unsafe { stream.as_ref() }.ok_or_else(|| Error::Usage("the stream is NULL".into()))?;
    Ok(handle.0.lock().unwrap_or_else(PoisonError::into_inner))
}

#[unsafe(no_mangle)]
pub extern "C" fn w2vc_version() -> *const c_char {
    VERSION.as_ptr()
}

#[unsafe(no_mangle)]
pub extern "C" fn w2vc_error() -> *const c_char {
    said()
}

/// # Safety
/// Here and below: pointers are what `w2vc.h` says, texts end with a zero, and arrays have as many elements as is said.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn w2vc_open(weights: *const c_char, options: *const c_char) -> *mut Handle {
    guarded(|| {
        // SAFETY: as this function's.
        let (weights, options) = unsafe { (text(weights, "weights")?, texts(options)?) };
        let options = Options::parse(options.unwrap_or_default())?;
        let (file, path) = own::file()?;
        let model = Model::open(file, path, Path::new(weights), options)?;
        Ok(Box::into_raw(Box::new(Handle(Arc::new(model)))))
    })
}

/// # Safety
/// As [`w2vc_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn w2vc_close(model: *mut Handle) {
    guarded_or((), || {
        if !model.is_null() {
            // SAFETY: as this function's: a box that `w2vc_open` gave, and nobody uses it any more.
            drop(unsafe { Box::from_raw(model) });
        }
        Ok(())
    })
}

/// # Safety
/// As [`w2vc_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn w2vc_about(handle: *const Handle) -> *mut c_char {
    // SAFETY: as this function's.
    guarded(|| give_text(&unsafe { model(handle)? }.about().to_string()))
}

/// # Safety
/// As [`w2vc_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn w2vc_transcribe(
    handle: *const Handle,
    samples: *const f32,
    count: usize,
    times: *const c_char,
) -> *mut c_char {
    guarded(|| {
        // SAFETY: as this function's.
        let (model, samples, times) = unsafe { (model(handle)?, floats(samples, count)?, texts(times)?) };
        give_text(&model.samples(samples, detail(times)?)?)
    })
}

/// # Safety
/// As [`w2vc_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn w2vc_transcribe_file(
    handle: *const Handle,
    path: *const c_char,
    times: *const c_char,
) -> *mut c_char {
    guarded(|| {
        // SAFETY: as this function's.
        let (model, path, times) = unsafe { (model(handle)?, text(path, "path")?, texts(times)?) };
        give_text(&model.file(Path::new(path), detail(times)?)?)
    })
}

/// # Safety
/// As [`w2vc_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn w2vc_logits(
    handle: *const Handle,
    samples: *const f32,
    count: usize,
    frames: *mut usize,
    classes: *mut usize,
) -> *mut f32 {
    guarded(|| {
        // SAFETY: as this function's.
        let (model, samples) = unsafe { (model(handle)?, floats(samples, count)?) };
        let found = model.logits(samples)?;
        // SAFETY: as this function's.
        unsafe { give_floats(found.values, found.classes, frames, classes) }
    })
}

/// # Safety
/// As [`w2vc_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn w2vc_features(
    handle: *const Handle,
    samples: *const f32,
    count: usize,
    layer: usize,
    frames: *mut usize,
    width: *mut usize,
) -> *mut f32 {
    guarded(|| {
        // SAFETY: as this function's.
        let (model, samples) = unsafe { (model(handle)?, floats(samples, count)?) };
        let (values, columns) = model.states(samples, layer)?;
        // SAFETY: as this function's.
        unsafe { give_floats(values, columns, frames, width) }
    })
}

/// # Safety
/// As [`w2vc_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn w2vc_stream_new(handle: *const Handle) -> *mut Stream {
    guarded(|| {
        // SAFETY: as this function's.
        let model = unsafe { model(handle)? };
        Ok(Box::into_raw(Box::new(Stream(Mutex::new(model.stream())))))
    })
}

/// # Safety
/// As [`w2vc_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn w2vc_stream_push(handle: *mut Stream, samples: *const f32, count: usize) -> c_int {
    guarded_or(-1, || {
        // SAFETY: as this function's.
        let (mut stream, samples) = unsafe { (stream(handle)?, floats(samples, count)?) };
        stream.push(samples)?;
        Ok(0)
    })
}

/// # Safety
/// As [`w2vc_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn w2vc_stream_poll(handle: *mut Stream) -> *mut c_char {
    // SAFETY: as this function's.
    guarded(|| give_text(&unsafe { stream(handle)? }.poll()?))
}

/// # Safety
/// As [`w2vc_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn w2vc_stream_finish(handle: *mut Stream) -> *mut c_char {
    // SAFETY: as this function's.
    guarded(|| give_text(&unsafe { stream(handle)? }.finish()?))
}

/// # Safety
/// As [`w2vc_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn w2vc_stream_free(handle: *mut Stream) {
    guarded_or((), || {
        if !handle.is_null() {
            // SAFETY: as this function's: a box that `w2vc_stream_new` gave, and nobody uses it any more.
            drop(unsafe { Box::from_raw(handle) });
        }
        Ok(())
    })
}

/// # Safety
/// As [`w2vc_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn w2vc_free(text: *mut c_char) {
    // SAFETY: as this function's.
    unsafe { memory::take_text(text) }
}

/// # Safety
/// As [`w2vc_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn w2vc_free_floats(values: *mut f32) {
    // SAFETY: as this function's.
    unsafe { memory::take_floats(values) }
}
