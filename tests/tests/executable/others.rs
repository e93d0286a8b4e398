//! Weights of others, as they lie on a disk: compiled for, read, and giving what their own program gives.

use crate::commands::{assert_ok, built};
use runtime::weights::TensorFile;
use std::path::{Path, PathBuf};
use std::process::Command;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// `w2vc compile --like`, in a folder, to a name that a built-in model has too.
fn compile_like(dir: &Path, weights: &Path, set: &[&str]) -> PathBuf {
    let mut command = Command::new(built("w2vc"));
    command
        .args(["compile", "--like"])
        .arg(weights)
        .arg("-o")
        .arg(dir.join("base"));
    command.args(set.iter().flat_map(|s| ["--set", s]));
    assert_ok(command.output().expect("w2vc starts"));
    assert!(dir.join("base.ron").is_file() && dir.join("models/base.ron").is_file());
    dir.join("base")
}

/// How far values are from those expected, in parts of their size.
fn off(got: &TensorFile, name: &str, want: &TensorFile, expected: &str) -> f64 {
    let read = |file: &TensorFile, name: &str| {
        let values = file.floats(name).expect("it is sound");
        values.unwrap_or_else(|| panic!("there is no {name} among {:?}", file.names()))
    };
    let (got, want) = (read(got, name), read(want, expected));
    assert_eq!(got.len(), want.len(), "{name}");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let apart = norm(&mut got.iter().zip(&want).map(|(a, b)| (*a - *b) as f64));
    apart / norm(&mut want.iter().map(|w| *w as f64))
}

fn transcribes_as_expected(exe: &Path, weights: &Path, dir: &Path, expected: &str) {
    let out = dir.join("logits.safetensors");
    let clips = ["a", "b", "c"].map(|c| fixtures().join(format!("clips/{c}.wav")));
    let mut command = Command::new(exe);
    command
        .args(["transcribe", "--weights"])
        .arg(weights)
        .arg("--logits")
        .arg(&out)
        .args(&clips);
    assert_ok(command.output().expect("the executable starts"));
    let got = TensorFile::open(&out).expect("it was written");
    let want = TensorFile::open(&fixtures().join(expected).join("transcribe_expected.safetensors")).expect("a fixture");
    for (clip, path) in ["a", "b", "c"].iter().zip(&clips) {
        let apart = off(&got, &path.display().to_string(), &want, &format!("logits.{clip}"));
        assert!(apart <= 1e-4, "{expected} {clip}: {apart:e}");
    }
}

#[test]
fn a_folder_with_pickled_weights_is_compiled_for_and_read() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let (dir, weights) = (folder.path(), folder.path().join("theirs"));
    std::fs::create_dir(&weights).expect("the temporary folder is writable");
    for name in ["config.json", "preprocessor_config.json", "vocab.json"] {
        let from = fixtures().join("base_like/ctc").join(name);
        std::fs::copy(from, weights.join(name)).expect("the temporary folder is writable");
    }
    std::fs::copy(fixtures().join("torch/base_ctc.bin"), weights.join("pytorch_model.bin")).expect("there is room");
    let exe = compile_like(dir, &weights, &[]);
    transcribes_as_expected(&exe, &weights, dir, "base_like");
}

/// The fixtures' expected logits are of normalised input in both kinds, which this checkpoint says of itself.
#[test]
fn a_checkpoint_of_fairseq_is_compiled_for_and_read() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let weights = fixtures().join("torch/large_ctc.pt");
    let exe = compile_like(folder.path(), &weights, &[]);
    transcribes_as_expected(&exe, &weights, folder.path(), "large_like");
}

#[test]
fn a_pretrained_checkpoint_of_fairseq_has_the_loss_it_had() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let weights = fixtures().join("torch/base_pretrain_old.pt");
    // transformers' loss, which the fixtures are of, has neither penalty nor epsilon; how many negatives there are is no part of
    // a checkpoint.
    let plain = ["feature_l2=0", "perplexity_eps=0", "num_negatives=20"];
    let exe = compile_like(folder.path(), &weights, &plain);
    let out = folder.path().join("out.safetensors");
    let mut command = Command::new(exe);
    command
        .args(["step", "--no-dropout", "--program", "pretrain", "--weights"])
        .arg(&weights);
    command
        .arg("--batch")
        .arg(fixtures().join("base_like/pretrain_batch.safetensors"));
    command.arg("--out").arg(&out);
    assert_ok(command.output().expect("the executable starts"));
    let got = TensorFile::open(&out).expect("it was written");
    let want = TensorFile::open(&fixtures().join("base_like/pretrain_expected.safetensors")).expect("a fixture");
    assert!(off(&got, "loss", &want, "loss") <= 1e-4);
}

#[test]
fn what_has_no_place_in_the_models_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let dir = folder.path();
    let like = |config: &str| {
        std::fs::write(dir.join("config.json"), config).expect("the temporary folder is writable");
        let mut command = Command::new(built("w2vc"));
        command.current_dir(dir).args(["compile", "--like", ".", "-o", "model"]);
        command.output().expect("w2vc starts")
    };
    let out = like(r#"{"model_type": "whisper"}"#);
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        out.status.code() == Some(9) && told.contains("`model_type` is \"whisper\""),
        "{told}"
    );
    assert_eq!(std::fs::read_dir(dir).expect("it is there").count(), 1);
    // A model file that somebody wrote is not replaced.
    std::fs::write(dir.join("model.ron"), "(extends: \"base.ron\")").expect("the temporary folder is writable");
    let out = like("{}");
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(2) && told.contains("model.ron"), "{told}");
}
