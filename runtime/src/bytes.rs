//! Values as bytes, as they are copied to and from a device or between guards. All sides are little-endian.

use crate::session::Data;

pub fn of(values: &[f32]) -> &[u8] {
    // SAFETY: every byte of an f32 is initialised, u8 has no alignment, and the borrow keeps the values alive.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

pub fn of_mut(values: &mut [f32]) -> &mut [u8] {
    // SAFETY: as for `of`, the borrow is unique, and every pattern of bits is an f32.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}

pub fn of_data(data: &Data) -> &[u8] {
    match data {
        Data::F32(v) => of(v),
        // SAFETY: as for `of`.
        Data::I32(v) => unsafe { std::slice::from_raw_parts(v.as_ptr().cast(), size_of_val(v.as_slice())) },
    }
}

pub fn of_data_mut(data: &mut Data) -> &mut [u8] {
    match data {
        Data::F32(v) => of_mut(v),
        // SAFETY: as for `of_mut`; every pattern of bits is an i32.
        Data::I32(v) => unsafe { std::slice::from_raw_parts_mut(v.as_mut_ptr().cast(), size_of_val(v.as_slice())) },
    }
}
