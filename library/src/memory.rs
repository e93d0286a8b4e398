//! Texts and arrays on their way from and to C.

use runtime::Error;
use std::ffi::{CStr, CString, c_char};

/// Samples of a call: a day. More is a length that was computed wrongly.
const MOST: usize = 24 * 3600 * 16_000;

/// Floats before an array that C holds: how many there are.
const BEFORE: usize = 2;

fn null(what: &str) -> Error {
    Error::Usage(format!("{what} is NULL"))
}

/// # Safety
/// The text is NULL, or ends with a zero and lives for `'a`.
pub unsafe fn texts<'a>(text: *const c_char) -> Result<Option<&'a str>, Error> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: as this function's.
    let text = unsafe { CStr::from_ptr(text) };
    let own = text
        .to_str()
        .map_err(|_| Error::Usage(format!("{text:?} is not in UTF-8")));
    own.map(Some)
}

/// # Safety
/// As [`texts`].
pub unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str, Error> {
    // SAFETY: as this function's.
    unsafe { texts(text)? }.ok_or_else(|| null(what))
}

/// # Safety
/// The array is NULL, or has so many elements and lives for `'a`.
pub unsafe fn floats<'a>(values: *const f32, count: usize) -> Result<&'a [f32], Error> {
    match (values.is_null(), count) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(null("samples")),
        (_, count) if count > MOST => Err(Error::Usage(format!("{count} samples are more than a day's"))),
        // SAFETY: as this function's.
        _ => Ok(unsafe { std::slice::from_raw_parts(values, count) }),
    }
}

pub fn give_text(text: &str) -> Result<*mut c_char, Error> {
    let own = CString::new(text).map_err(|_| Error::Usage("the text holds a zero".into()))?;
    Ok(own.into_raw())
}

/// # Safety
/// NULL, or what [`give_text`] gave.
pub unsafe fn take_text(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: as this function's.
        drop(unsafe { CString::from_raw(text) });
    }
}

/// Rows of values; how many and how long goes to `rows` and `columns`.
///
/// # Safety
/// These are NULL or can be written.
pub unsafe fn give_floats(
    values: Vec<f32>,
    width: usize,
    rows: *mut usize,
    columns: *mut usize,
) -> Result<*mut f32, Error> {
    // SAFETY: as this function's.
    let (Some(rows), Some(columns)) = (unsafe { rows.as_mut() }, unsafe { columns.as_mut() }) else {
        return Err(null("where to write the shape"));
    };
    (*rows, *columns) = (values.len().checked_div(width).unwrap_or(0), width);
    // The length stands before the values, so that an address is all that C has to keep.
    let length = values.len() as u64;
    let mut all = Vec::with_capacity(values.len() + BEFORE);
    all.extend([f32::from_bits(length as u32), f32::from_bits((length >> 32) as u32)]);
    all.extend(values);
    let held = Box::into_raw(all.into_boxed_slice()) as *mut f32;
    // SAFETY: there are two floats before the values in the same box.
    Ok(unsafe { held.add(BEFORE) })
}

/// # Safety
/// NULL, or what [`give_floats`] gave.
pub unsafe fn take_floats(values: *mut f32) {
    if values.is_null() {
        return;
    }
    // SAFETY: as this function's: the length stands in the two floats before, and all of it is one box.
    unsafe {
        let begin = values.sub(BEFORE);
        let length = (*begin).to_bits() as u64 | ((*begin.add(1)).to_bits() as u64) << 32;
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(
            begin,
            length as usize + BEFORE,
        )));
    }
}
