//! Values of tensors as f32, some at a time.

use safetensors::Dtype;

/// Values that are read from a file at a time: few enough for a cache to hold them.
pub(super) const PIECE: usize = 1 << 16;

/// Bytes of a value, and how values become f32.
pub(super) type Decoder = (usize, fn(&[u8], &mut [f32]));

pub(super) fn decoder(dtype: Dtype) -> Option<Decoder> {
    fn each<const N: usize>(bytes: &[u8], to: &mut [f32], value: impl Fn([u8; N]) -> f32) {
        to.iter_mut().zip(groups(bytes)).for_each(|(to, b)| *to = value(b));
    }
    Some(match dtype {
        Dtype::F32 => (4, |bytes, to| each(bytes, to, f32::from_le_bytes)),
        Dtype::F64 => (8, |bytes, to| each(bytes, to, |b| f64::from_le_bytes(b) as f32)),
        Dtype::BF16 => (2, |bytes, to| {
            each(bytes, to, |b| f32::from_bits((u16::from_le_bytes(b) as u32) << 16))
        }),
        Dtype::F16 => (2, |bytes, to| each(bytes, to, |b| half(u16::from_le_bytes(b)))),
        _ => return None,
    })
}

pub(super) fn groups<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes
        .chunks_exact(N)
        .map(|c| c.try_into().expect("chunks have this length"))
}

/// IEEE half precision to single, exactly.
fn half(bits: u16) -> f32 {
    let sign = ((bits as u32) & 0x8000) << 16;
    let (exponent, fraction) = ((bits >> 10) & 31, (bits & 1023) as u32);
    let magnitude = match exponent {
        0 => fraction as f32 * 2f32.powi(-24),
        31 => f32::from_bits(0x7f80_0000 | fraction << 13),
        e => f32::from_bits((e as u32 + 112) << 23 | fraction << 13),
    };
    f32::from_bits(magnitude.to_bits() | sign)
}

/// The first value that is not finite, and its place.
pub(super) fn strange(values: &[f32]) -> Option<(f32, usize)> {
    let at = values.iter().position(|v| !v.is_finite())?;
    Some((values[at], at))
}

/// Hands out `count` values in order, some at a time, which `read` fetches by their place in bytes and `see` sees before they are
/// decoded. Returns the first value that is not finite, with its place.
pub(super) fn pieces(
    count: usize,
    (width, decode): Decoder,
    read: impl Fn(usize, &mut [u8]) -> std::io::Result<()>,
    mut see: impl FnMut(&[u8]),
    mut take: impl FnMut(usize, &[f32]),
) -> std::io::Result<Option<(f32, usize)>> {
    let mut bytes = vec![0; PIECE.min(count) * width];
    let mut values = vec![0.0; PIECE.min(count)];
    let mut odd = None;
    for at in (0..count).step_by(PIECE) {
        let n = PIECE.min(count - at);
        let (bytes, values) = (&mut bytes[..n * width], &mut values[..n]);
        read(at * width, bytes)?;
        see(bytes);
        decode(bytes, values);
        odd = odd.or(strange(values).map(|(value, i)| (value, at + i)));
        take(at, values);
    }
    Ok(odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_exact() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x8000, -0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 2f32.powi(-24)),
            (0x03ff, 1023.0 * 2f32.powi(-24)),
            (0x0400, 2f32.powi(-14)),
        ] {
            assert_eq!(half(bits).to_bits(), f32::to_bits(value), "{bits:#x}");
        }
        assert!(half(0x7e00).is_nan() && half(0xfc00) == f32::NEG_INFINITY);
    }
}
