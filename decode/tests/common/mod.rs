//! Matrices, language models and what other decoders make of them (fixtures/README.md says how they were made).
#![allow(dead_code)] // each test file uses some of it

use serde_json::Value;
use std::path::{Path, PathBuf};
use w2vc_decode::alphabet::Alphabet;
use w2vc_decode::lm::Model;

pub fn at(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub fn json(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(at(name)).unwrap()).unwrap()
}

pub fn model(name: &str) -> Model {
    Model::open(&at("lm").join(name)).unwrap()
}

pub fn alphabet() -> Alphabet {
    let vocab = json("vocab.json");
    let vocab = vocab.as_object().unwrap();
    let mut tokens = vec![String::new(); vocab.len()];
    for (token, id) in vocab {
        tokens[id.as_u64().unwrap() as usize] = token.clone();
    }
    Alphabet::new(tokens, 0, Some(4))
}

/// A matrix, [frames, 32].
pub fn matrix(case: &str) -> Vec<f32> {
    let bytes = std::fs::read(at("log_probs.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = tensors.tensor(case).unwrap();
    let values = tensor.data().as_chunks::<4>().0;
    values.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}
