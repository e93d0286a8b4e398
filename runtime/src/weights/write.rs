//! Folders that transformers' `from_pretrained` opens with no key missing or unexpected.

use super::{CONFIG, MODEL, PREPROCESSOR, VOCAB, exported};
use crate::atomic::{Piece, Values, write_tensors, write_text};
use crate::error::Error;
use crate::vocab::{Vocab, WORD_END};
use ir::artifact::Artifact;
use serde_json::json;
use std::path::Path;

/// Writes the files that stay the same over a run.
pub fn export_texts(
    dir: &Path,
    artifact: &Artifact,
    command: &str,
    vocab: Option<&Vocab>,
    normalize: bool,
) -> Result<(), Error> {
    let put = |name: &str, text: &str| write_text(&dir.join(name), text);
    let config = artifact.config(command);
    if let Some(config) = &config {
        put(CONFIG, config)?;
    }
    let attention_mask = config
        .and_then(|t| serde_json::from_str::<serde_json::Value>(&t).ok())
        .is_some_and(|c| c.get("feat_extract_norm").is_some_and(|n| n == "layer"));
    let preprocessor = json!({
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": normalize,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": attention_mask,
        "sampling_rate": crate::audio::RATE,
    });
    put(PREPROCESSOR, &pretty(&preprocessor))?;
    let Some(vocab) = vocab else { return Ok(()) };
    put(VOCAB, &vocab.to_json())?;
    // Transformers takes the padding token for the blank.
    let named = |name: &'static str| (0..vocab.len()).any(|i| vocab.token(i) == Some(name)).then_some(name);
    let tokenizer = json!({
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "pad_token": vocab.token(vocab.blank()),
        "bos_token": named("<s>"),
        "eos_token": named("</s>"),
        "unk_token": named("<unk>"),
        "word_delimiter_token": WORD_END,
        "do_lower_case": false,
    });
    put("tokenizer_config.json", &pretty(&tokenizer))
}

fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).expect("JSON values always serialise")
}

/// Writes the parameters a command's model has, atomically.
pub fn export_model(dir: &Path, artifact: &Artifact, command: &str, params: &[f32]) -> Result<(), Error> {
    let pieces = artifact
        .params
        .iter()
        .filter(|p| exported(command, &p.name))
        .map(|p| {
            let shape = p.shape.iter().map(|d| *d as usize).collect();
            (
                p.name.clone(),
                Piece {
                    shape,
                    values: Values::F32(&params[p.offset..p.offset + p.len()]),
                },
            )
        })
        .collect();
    write_tensors(&dir.join(MODEL), pieces)
}
