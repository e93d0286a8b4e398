//! NumPy's file format, version 1.0.

/// The bytes of a `.npy` file of f32 values in rows.
pub fn npy(values: &[f32], shape: &[usize]) -> Vec<u8> {
    let sizes: Vec<String> = shape.iter().map(|n| n.to_string()).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let mut header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}{comma}), }}",
        sizes.join(", ")
    );
    // With the ten bytes before it and a line break behind it, the header fills whole blocks of 64.
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What numpy 2.3 writes for `np.save(f, np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32))`.
    #[test]
    fn the_bytes_are_numpys() {
        let bytes = npy(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3]);
        let header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
        assert_eq!(&bytes[..header.len()], header);
        assert_eq!((bytes.len(), bytes[127]), (128 + 24, b'\n'));
        assert!(bytes[header.len()..127].iter().all(|b| *b == b' '));
        assert_eq!(&bytes[128..132], 1f32.to_le_bytes());
        assert_eq!(&bytes[148..], 6f32.to_le_bytes());
    }
}
