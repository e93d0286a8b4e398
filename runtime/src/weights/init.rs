//! First values of parameters, keyed by name, so that they depend on nothing else.

use crate::random::{Purpose, Stream, hash};
use ir::artifact::{Artifact, Init, Param};

/// Fills `params` (the whole arena) for those names that `wanted` accepts.
///
/// # Panics
/// If a `NormOf` names no parameter: the compiler has checked that.
pub fn initialize(artifact: &Artifact, params: &mut [f32], seed: u64, wanted: &dyn Fn(&str) -> bool) {
    let (gains, others): (Vec<&Param>, Vec<&Param>) = artifact
        .params
        .iter()
        .filter(|p| wanted(&p.name))
        .partition(|p| matches!(p.init, Init::NormOf { .. }));
    // Norms are of values that must be there first.
    for param in others.into_iter().chain(gains) {
        let values = first_values(artifact, params, param, seed);
        params[param.offset..param.offset + param.len()].copy_from_slice(&values);
    }
}

fn first_values(artifact: &Artifact, params: &[f32], param: &Param, seed: u64) -> Vec<f32> {
    let mut stream = Stream::new(seed, Purpose::Init, hash(&param.name), 0);
    match &param.init {
        Init::Zeros => vec![0.0; param.len()],
        Init::Ones => vec![1.0; param.len()],
        Init::Normal { std } => (0..param.len()).map(|_| (std * stream.normal()) as f32).collect(),
        Init::Uniform { low, high } => (0..param.len())
            .map(|_| (low + (high - low) * stream.open_uniform()) as f32)
            .collect(),
        Init::NormOf { param: of, axis } => {
            let of = artifact
                .params
                .iter()
                .find(|p| p.name == *of)
                .expect("the compiler resolves names");
            norms(&params[of.offset..of.offset + of.len()], &of.shape, *axis)
        }
    }
}

/// Euclidean norms over all axes but `axis`.
fn norms(values: &[f32], shape: &[i64], axis: usize) -> Vec<f32> {
    let (kept, inner) = (shape[axis] as usize, shape[axis + 1..].iter().product::<i64>() as usize);
    let mut sums = vec![0f64; kept];
    for (i, v) in values.iter().enumerate() {
        sums[i / inner % kept] += (*v as f64).powi(2);
    }
    sums.iter().map(|s| s.sqrt() as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_keep_their_axis() {
        // [2, 2, 3]
        let v: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let square = |ix: &[usize]| ix.iter().map(|i| (i * i) as f32).sum::<f32>().sqrt();
        assert_eq!(
            norms(&v, &[2, 2, 3], 2),
            [square(&[0, 3, 6, 9]), square(&[1, 4, 7, 10]), square(&[2, 5, 8, 11])]
        );
        assert_eq!(
            norms(&v, &[2, 2, 3], 1),
            [square(&[0, 1, 2, 6, 7, 8]), square(&[3, 4, 5, 9, 10, 11])]
        );
    }
}
