//! First values of parameters, keyed by name, so that they depend on nothing else.

use crate::random::{Purpose, Stream, hash};
use ir::artifact::{Artifact, Init, Param};
use rayon::prelude::*;

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
    draw_all(others, params, seed);
    // Norms are of values that must be there first.
    for gain in gains {
        let Init::NormOf { param, axis } = &gain.init else {
            continue;
        };
        let of = artifact
            .params
            .iter()
            .find(|p| p.name == *param)
            .expect("the compiler resolves names");
        let values = norms(&params[of.offset..of.offset + of.len()], &of.shape, *axis);
        params[gain.offset..gain.offset + gain.len()].copy_from_slice(&values);
    }
}

/// Draws parameters on all threads; each has its own numbers, so the threads change nothing.
fn draw_all(mut wanted: Vec<&Param>, params: &mut [f32], seed: u64) {
    wanted.sort_by_key(|p| p.offset);
    let (mut places, mut rest, mut at) = (vec![], params, 0);
    for param in wanted {
        let (_, from) = rest.split_at_mut(param.offset - at);
        let (own, after) = from.split_at_mut(param.len());
        (rest, at) = (after, param.offset + param.len());
        places.push((param, own));
    }
    places
        .into_par_iter()
        .for_each(|(param, place)| draw(param, place, seed));
}

fn draw(param: &Param, place: &mut [f32], seed: u64) {
    let mut stream = Stream::new(seed, Purpose::Init, hash(&param.name), 0);
    match &param.init {
        Init::Zeros | Init::NormOf { .. } => place.fill(0.0),
        Init::Ones => place.fill(1.0),
        Init::Normal { std } => {
            for pair in place.chunks_mut(2) {
                pair.iter_mut()
                    .zip(stream.normals())
                    .for_each(|(x, n)| *x = (std * n) as f32);
            }
        }
        Init::Uniform { low, high } => uniform(place, &mut stream, *low, *high),
        Init::XavierUniform => {
            let bound = xavier_bound(&param.shape);
            uniform(place, &mut stream, -bound, bound);
        }
    }
}

fn uniform(place: &mut [f32], stream: &mut Stream, low: f64, high: f64) {
    place.fill_with(|| (low + (high - low) * stream.open_uniform()) as f32);
}

fn xavier_bound(shape: &[i64]) -> f64 {
    let taps: i64 = shape.iter().skip(2).product();
    let (fan_in, fan_out) = ((shape[1] * taps) as f64, (shape[0] * taps) as f64);
    (6.0 / (fan_in + fan_out)).sqrt()
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
    fn a_head_starts_within_the_published_bound() {
        assert_eq!(xavier_bound(&[32, 768]), (6.0f64 / (768.0 + 32.0)).sqrt());
        assert_eq!(xavier_bound(&[4, 3, 5]), (6.0f64 / (15.0 + 20.0)).sqrt());
    }

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
