//! Comparing tensors.

use ir::tensor::Tensor;

/// ||a - b|| / (||b|| + floor), infinite where shapes or NaNs disagree. Equal infinities are no difference.
pub fn distance(a: &Tensor, b: &Tensor, floor: f64) -> f64 {
    if a.shape != b.shape {
        return f64::INFINITY;
    }
    let (mut diff, mut norm) = (0.0, 0.0);
    for (x, y) in a.data.iter().zip(&b.data) {
        if x.is_nan() != y.is_nan() {
            return f64::INFINITY;
        }
        if x == y || x.is_nan() {
            continue;
        }
        diff += (x - y).powi(2);
        norm += y.powi(2);
    }
    let total: f64 = b.data.iter().filter(|y| y.is_finite()).map(|y| y * y).sum();
    if diff == 0.0 {
        0.0
    } else {
        diff.sqrt() / (total.max(norm).sqrt() + floor)
    }
}
