//! Synthetic clips of different lengths as inputs of the programs, one by one and in a batch.

use ir::sample::Rand;
use runtime::session::{Data, Tensor};

pub type Inputs = Vec<(String, Tensor)>;

/// Samples of each clip: 49, 34 and 18 frames.
pub const SAMPLES: [usize; 3] = [16_000, 11_234, 6_007];

/// Sizes of a model that inputs depend on.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub hidden: usize,
    pub layers: usize,
    pub negatives: usize,
    /// Groups and codes of each.
    pub codes: [usize; 2],
}

/// Those of the fixtures.
pub const SMALL: Sizes = Sizes {
    hidden: 32,
    layers: 3,
    negatives: 20,
    codes: [2, 8],
};

fn frames(samples: usize) -> usize {
    [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)]
        .iter()
        .fold(samples, |n, (k, s)| (n - k) / s + 1)
}

/// A clip for a model of the fixtures' sizes.
pub fn clip(index: usize) -> Inputs {
    clip_for(index, SMALL)
}

/// What belongs to one clip alone, axis 0 of size 1: inputs of both training programs.
pub fn clip_for(index: usize, sizes: Sizes) -> Inputs {
    let (negatives, codes) = (sizes.negatives, sizes.codes);
    let samples = SAMPLES[index];
    let frames = frames(samples);
    let mut r = Rand::new(index as u32);
    let wave = (0..samples)
        .map(|i| ((i as f32) * 0.03 * (index + 1) as f32).sin() + r.float(-1.0, 1.0) as f32)
        .collect();
    let hidden: Vec<i32> = (0..frames as i32).filter(|t| t % 7 < 3).collect();
    let mask = (0..frames as i32).map(|t| hidden.contains(&t) as i32).collect();
    let rows = hidden.len();
    // Any other hidden frame, never the own.
    let other = |own: usize, r: &mut Rand| ((own as i64 + r.int(1, rows as i64 - 1)) % rows as i64) as i32;
    let drawn = (0..rows * negatives).map(|i| other(i / negatives, &mut r)).collect();
    let noise = (0..rows * codes[0] * codes[1])
        .map(|_| r.float(-1.0, 2.0) as f32)
        .collect();
    let labels: Vec<i32> = (0..3 + index).map(|_| r.int(5, 31) as i32).collect();
    let channels = (0..sizes.hidden).map(|_| (r.int(0, 9) == 0) as i32).collect();
    let own = [
        ("wave", Tensor::f32(&[1, samples], wave)),
        ("lengths", Tensor::i32(&[1], vec![samples as i32])),
        ("mask", Tensor::i32(&[1, frames], mask)),
        ("channel_mask", Tensor::i32(&[1, sizes.hidden], channels)),
        ("masked_index", Tensor::i32(&[1, rows], hidden)),
        ("negatives", Tensor::i32(&[1, rows, negatives], drawn)),
        ("gumbel", Tensor::f32(&[1, rows, codes[0], codes[1]], noise)),
        ("labels", Tensor::i32(&[1, labels.len()], labels)),
    ];
    own.into_iter().map(|(n, t)| (n.to_string(), t)).collect()
}

/// Several clips as a batch, the short ones padded.
pub fn batch(clips: &[Inputs]) -> Inputs {
    let one = |(name, first): &(String, Tensor)| {
        let own: Vec<&Tensor> = clips.iter().map(|c| find(c, name)).collect();
        let longest = own
            .iter()
            .map(|t| t.shape.get(1).copied().unwrap_or(1))
            .max()
            .unwrap_or(1);
        let mut shape = first.shape.clone();
        shape[0] = clips.len();
        if shape.len() > 1 {
            shape[1] = longest;
        }
        let size = shape[1..].iter().product::<usize>();
        let data = match &first.data {
            Data::F32(_) => Data::F32(
                own.iter()
                    .flat_map(|t| padded(t.as_f32().unwrap(), size, 0.0))
                    .collect(),
            ),
            Data::I32(_) => {
                let fill = match name.as_str() {
                    "labels" => -100,
                    "masked_index" | "negatives" => -1,
                    _ => 0,
                };
                Data::I32(
                    own.iter()
                        .flat_map(|t| padded(t.as_i32().unwrap(), size, fill))
                        .collect(),
                )
            }
        };
        (name.clone(), Tensor { shape, data })
    };
    clips[0].iter().map(one).collect()
}

fn padded<T: Copy>(values: &[T], size: usize, fill: T) -> Vec<T> {
    let mut out = values.to_vec();
    out.resize(size, fill);
    out
}

fn find<'a>(inputs: &'a Inputs, name: &str) -> &'a Tensor {
    &inputs
        .iter()
        .find(|(n, _)| n == name)
        .unwrap_or_else(|| panic!("no input `{name}`"))
        .1
}

/// With what all clips share: no dropout, every layer kept.
pub fn complete(inputs: Inputs) -> Inputs {
    complete_for(inputs, SMALL, 0.0)
}

/// The same with a rate for every dropout.
pub fn complete_for(mut inputs: Inputs, sizes: Sizes, dropout: f32) -> Inputs {
    let scalars = [
        "dropout",
        "attention_dropout",
        "activation_dropout",
        "input_dropout",
        "feature_dropout",
        "final_dropout",
    ];
    inputs.extend(scalars.map(|n| (n.to_string(), Tensor::f32(&[1], vec![dropout]))));
    inputs.push(("temperature".into(), Tensor::f32(&[1], vec![1.3])));
    inputs.push(("keep".into(), Tensor::f32(&[sizes.layers], vec![1.0; sizes.layers])));
    inputs.push(("seed".into(), Tensor::i32(&[2], vec![1, 2])));
    inputs
}
