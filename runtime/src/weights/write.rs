//! Folders that transformers' `from_pretrained` opens with no key missing or unexpected.

use super::head::HeadRows;
use super::names::exported;
use super::{CONFIG, MODEL, PREPROCESSOR, VOCAB};
use crate::atomic::{Piece, Values, write_tensors, write_text};
use crate::error::Error;
use crate::settings::Settings;
use crate::vocab::{RULES, Vocab, WORD_END};
use ir::artifact::{Artifact, Param};
use ir::task::{Task, matches};
use serde_json::{Map, Value, json};
use std::path::Path;

/// What a run's folder says besides its weights.
pub struct Texts<'a> {
    pub task: &'a Task,
    pub vocab: Option<&'a Vocab>,
    pub settings: &'a Settings,
}

/// Writes the files that stay the same over a run.
pub fn export_texts(dir: &Path, artifact: &Artifact, texts: &Texts) -> Result<(), Error> {
    let put = |name: &str, text: &str| write_text(&dir.join(name), text);
    let config = config(artifact, texts);
    if let Some(config) = &config {
        put(CONFIG, &pretty(config))?;
    }
    let by_layer = config.is_some_and(|c| c.get("feat_extract_norm").is_some_and(|n| n == "layer"));
    let preprocessor = json!({
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": texts.settings.flag("normalize")?,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": by_layer,
        "sampling_rate": crate::audio::RATE,
    });
    put(PREPROCESSOR, &pretty(&preprocessor))?;
    let Some(vocab) = texts.vocab else { return Ok(()) };
    put(VOCAB, &vocab.to_json())?;
    put("tokenizer_config.json", &pretty(&tokenizer(vocab)))?;
    put("special_tokens_map.json", &pretty(&Value::Object(special(vocab))))
}

/// config.json of the command's model, with what this run's vocabulary and settings make of it.
fn config(artifact: &Artifact, texts: &Texts) -> Option<Value> {
    let mut config: Value = serde_json::from_str(&artifact.config(&texts.task.name)?).ok()?;
    let fields = config.as_object_mut()?;
    if let Some(vocab) = texts.vocab {
        let classes = artifact.classes(texts.task).unwrap_or(vocab.len());
        fields.insert("vocab_size".into(), classes.into());
        fields.insert("pad_token_id".into(), vocab.blank().into());
        fields.insert("bos_token_id".into(), vocab.id("<s>").into());
        fields.insert("eos_token_id".into(), vocab.id("</s>").into());
    }
    for (field, setting) in &artifact.config.settings {
        if let Some(value) = texts.settings.scalar(setting) {
            let whole =
                (value.fract() == 0.0 && !field.contains("prob") && !field.contains("drop")).then_some(value as u64);
            fields.insert(field.clone(), whole.map_or_else(|| json!(value), |n| json!(n)));
        }
    }
    Some(config)
}

/// Tokens that are not letters, by what transformers calls them.
fn special(vocab: &Vocab) -> Map<String, Value> {
    let named = |names: &[&'static str]| names.iter().find(|n| vocab.id(n).is_some()).copied();
    let tokens = [
        // Transformers takes the padding token for the blank.
        ("pad_token", vocab.token(vocab.blank())),
        ("bos_token", named(&["<s>"])),
        ("eos_token", named(&["</s>"])),
        ("unk_token", named(&["<unk>", "[UNK]"])),
    ];
    tokens
        .into_iter()
        .map(|(role, token)| (role.to_string(), token.into()))
        .collect()
}

fn tokenizer(vocab: &Vocab) -> Value {
    let mut fields = special(vocab);
    let word_end = vocab.word_end().and_then(|id| vocab.token(id)).unwrap_or(WORD_END);
    fields.insert("tokenizer_class".into(), "Wav2Vec2CTCTokenizer".into());
    fields.insert("word_delimiter_token".into(), word_end.into());
    fields.insert("do_lower_case".into(), vocab.writes_lower_case().into());
    // Nothing to transformers; what texts were normalised by.
    fields.insert(RULES.into(), json!(vocab.rules()));
    Value::Object(fields)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("JSON values always serialise")
}

/// Writes the parameters that a task's model has, atomically. Row i of the parameters that match the patterns is written as row
/// `order[i]`, where these are given.
pub fn export_model(
    dir: &Path,
    artifact: &Artifact,
    task: &Task,
    params: &[f32],
    order: Option<(&[String], &[usize])>,
) -> Result<(), Error> {
    let values = |p: &Param| &params[p.offset..p.offset + p.len()];
    let heads: Vec<(&str, Vec<f32>)> = match order {
        Some((patterns, order)) => {
            let heads = artifact.params.iter().filter(|p| matches(patterns, &p.name));
            heads
                .map(|p| (p.name.as_str(), written_rows(p, values(p), order)))
                .collect()
        }
        None => vec![],
    };
    let head = |name: &str| heads.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_slice());
    let pieces = artifact
        .params
        .iter()
        .filter(|p| exported(task, &p.name))
        .map(|p| {
            let shape = p.shape.iter().map(|d| *d as usize).collect();
            (
                p.name.clone(),
                Piece {
                    shape,
                    values: Values::F32(head(&p.name).unwrap_or_else(|| values(p))),
                },
            )
        })
        .collect();
    write_tensors(&dir.join(MODEL), pieces)
}

/// Rows of a head by the numbers that their tokens have in files.
fn written_rows(param: &Param, values: &[f32], order: &[usize]) -> Vec<f32> {
    let classes = param.shape.first().map_or(0, |d| *d as usize);
    // Row r of the file is the row of the class that has the number r there.
    let mut class_of: Vec<usize> = (0..classes).collect();
    for (class, number) in order.iter().enumerate() {
        class_of[*number] = class;
    }
    let mut rows = vec![0.0; values.len()];
    HeadRows::reordered(&class_of, classes).copy(values, &mut rows);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;
    use crate::weights::Folder;

    fn vocab(tokens: &[&str]) -> Vocab {
        Vocab::new(tokens.iter().map(|t| t.to_string()).collect())
    }

    #[test]
    fn rows_written_in_the_order_of_a_file_are_read_back_to_theirs() {
        let tmp = tempfile::tempdir().unwrap();
        let artifact = fake::artifact();
        let params: Vec<f32> = (0..artifact.param_elements).map(|i| i as f32).collect();
        let (trained, order) = vocab(&["a", "b", "|", "[PAD]"]).blank_first();
        let task = fake::task("finetune");
        export_model(tmp.path(), &artifact, &task, &params, Some((task.heads(), &order))).unwrap();
        let folder = Folder::open(tmp.path()).unwrap();
        let read = |head: Option<&HeadRows>| {
            let mut params = vec![0.0; artifact.param_elements];
            folder.load(&artifact, &task, &mut params, head).unwrap();
            params[11..].to_vec()
        };
        assert_eq!(read(None)[..5], [12.0, 13.0, 14.0, 11.0, 15.0]);
        assert_eq!(read(Some(&HeadRows::reordered(&order, 32))), params[11..]);
        assert_eq!(trained.blank(), 0);
    }

    #[test]
    fn a_folder_says_what_its_run_was_trained_with() {
        let tmp = tempfile::tempdir().unwrap();
        let mut artifact = fake::artifact();
        let config = r#"{"vocab_size": 5, "pad_token_id": 0, "mask_time_prob": 0.65, "layerdrop": 0.9}"#;
        artifact.export.insert("finetune".into(), config.into());
        let mut settings = Settings::new(&artifact, "finetune").unwrap();
        for set in ["mask_prob=0.25", "mask_length=7", "layerdrop=0"] {
            settings.set(set).unwrap();
        }
        let vocab = vocab(&["a", "</s>", "[UNK]", "|", "[PAD]"]);
        let texts = Texts {
            task: &fake::task("finetune"),
            vocab: Some(&vocab),
            settings: &settings,
        };
        export_texts(tmp.path(), &artifact, &texts).unwrap();
        let read = |name: &str| crate::weights::json(&tmp.path().join(name)).unwrap();
        let config = read(CONFIG);
        for (field, value) in [
            ("vocab_size", json!(32)),
            ("pad_token_id", json!(4)),
            ("bos_token_id", Value::Null),
            ("eos_token_id", json!(1)),
            ("mask_time_prob", json!(0.25)),
            ("mask_time_length", json!(7)),
            ("layerdrop", json!(0.0)),
        ] {
            assert_eq!(config[field], value, "{field}");
        }
        let tokenizer = read("tokenizer_config.json");
        assert_eq!(
            (&tokenizer["pad_token"], &tokenizer["unk_token"]),
            (&json!("[PAD]"), &json!("[UNK]"))
        );
        assert_eq!(Vocab::of_folder(tmp.path()).unwrap().unwrap().blank(), 4);
    }
}
