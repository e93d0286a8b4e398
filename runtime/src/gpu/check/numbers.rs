//! Bytes of tensors as numbers.

use ir::scalar::DType;

/// Every element; f64 holds every value of every dtype.
pub fn numbers(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    match dtype {
        DType::F32 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|c| f32::from_le_bytes(*c) as f64)
            .collect(),
        DType::F64 => bytes.as_chunks().0.iter().map(|c| f64::from_le_bytes(*c)).collect(),
        DType::I32 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|c| i32::from_le_bytes(*c) as f64)
            .collect(),
        // The upper half of an f32.
        DType::Bf16 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|c| f32::from_bits((u16::from_le_bytes(*c) as u32) << 16) as f64)
            .collect(),
    }
}

/// ||got - want|| / ||want||, infinite where a number is none.
pub fn distance(got: &[f32], want: &[f32]) -> f64 {
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let off = norm(&mut got.iter().zip(want).map(|(a, b)| *a as f64 - *b as f64));
    let size = norm(&mut want.iter().map(|b| *b as f64));
    match off / size {
        _ if got.len() != want.len() => f64::INFINITY,
        d if d.is_finite() => d,
        _ if off == 0.0 => 0.0,
        _ => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_relative_and_nothing_is_far_from_everything() {
        assert_eq!(distance(&[3.0, 4.5], &[3.0, 4.0]), 0.1);
        assert_eq!(distance(&[0.0], &[0.0]), 0.0);
        assert_eq!(distance(&[1.0], &[0.0]), f64::INFINITY);
        assert_eq!(distance(&[f32::NAN, 1.0], &[1.0, 1.0]), f64::INFINITY);
        assert_eq!(distance(&[1.0], &[1.0, 1.0]), f64::INFINITY);
    }

    #[test]
    fn bytes_are_numbers_of_their_dtype() {
        assert_eq!(numbers(DType::Bf16, &[0x80, 0x3f, 0x40, 0xc0]), [1.0, -3.0]);
        assert_eq!(numbers(DType::I32, &(-7i32).to_le_bytes()), [-7.0]);
    }
}
