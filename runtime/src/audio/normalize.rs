//! Zero mean and unit variance.

/// Normalises a clip over its own samples, as Hugging Face does (population variance, epsilon 1e-7).
pub fn normalize(wave: &mut [f32]) {
    if wave.is_empty() {
        return;
    }
    let n = wave.len() as f64;
    let mean = wave.iter().map(|x| *x as f64).sum::<f64>() / n;
    let var = wave.iter().map(|x| (*x as f64 - mean).powi(2)).sum::<f64>() / n;
    let scale = 1.0 / (var + 1e-7).sqrt();
    wave.iter_mut().for_each(|x| *x = ((*x as f64 - mean) * scale) as f32);
}
