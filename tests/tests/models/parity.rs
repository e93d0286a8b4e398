//! Against transformers: losses, logits and all gradients, by the code paths of `step` and `transcribe`.

use crate::small::{FOLDERS, fixtures, native, small};
use compiler::compile::Arithmetic;
use runtime::atomic::{Piece, Values, write_tensors};
use runtime::data::Utterance;
use runtime::exec::Native;
use runtime::features::Features;
use runtime::step::{Options, step};
use runtime::trainer::Transcriber;
use runtime::weights::TensorFile;
use std::path::{Path, PathBuf};
use w2vc_tests::native::compile_in;

pub const RELATIVE: f64 = 1e-4;
pub const OF_ALL_GRADIENTS: f64 = 1e-6;

pub fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

pub fn values(file: &TensorFile, name: &str) -> Vec<f64> {
    let v = file
        .floats(name)
        .unwrap()
        .unwrap_or_else(|| panic!("there is no `{name}`"));
    v.into_iter().map(f64::from).collect()
}

/// Every expected tensor: ||got - want|| <= relative ||want||, for gradients + 1e-6 ||all gradients||.
pub fn compare(case: &str, got: &Path, want: &Path, relative: f64) {
    let (got, want) = (TensorFile::open(got).unwrap(), TensorFile::open(want).unwrap());
    let is_grad = |n: &String| n.starts_with("grad.");
    let names: Vec<String> = want.names().into_iter().filter(|n| !n.starts_with("check.")).collect();
    let all = norm(names.iter().filter(|n| is_grad(n)).flat_map(|n| values(&want, n)));
    for name in &names {
        let (a, b) = (values(&got, name), values(&want, name));
        assert_eq!(a.len(), b.len(), "{case}: elements of {name}");
        let off = norm(a.iter().zip(&b).map(|(a, b)| a - b));
        let allowed = relative * norm(b.into_iter()) + if is_grad(name) { OF_ALL_GRADIENTS * all } else { 0.0 };
        assert!(off <= allowed, "{case}: {name} is off by {off:e}, allowed {allowed:e}");
    }
    let extra: Vec<String> = got
        .names()
        .into_iter()
        .filter(|n| is_grad(n) && !names.contains(n))
        .collect();
    assert!(extra.is_empty(), "{case}: gradients of frozen parameters: {extra:?}");
}

fn steps(cases: &[&str]) {
    for folder in FOLDERS {
        steps_in(folder, cases, native(folder), RELATIVE);
    }
}

fn steps_in(folder: &str, cases: &[&str], native: &Native, relative: f64) {
    let out = tempfile::tempdir().unwrap();
    for case in cases {
        run_step(folder, case, native, out.path());
        let (got, want) = (out.path().join("got.safetensors"), expected(folder, case));
        compare(&format!("{folder} {case}"), &got, &want, relative);
    }
}

fn expected(folder: &str, case: &str) -> PathBuf {
    fixtures(folder).join(format!("{case}_expected.safetensors"))
}

/// What a step leaves in a folder, as `got.safetensors`, and what it should.
fn run_step(folder: &str, case: &str, native: &Native, out: &Path) -> (TensorFile, TensorFile) {
    let weights = if case.starts_with("pretrain") {
        "pretrain"
    } else {
        "ctc"
    };
    let options = Options {
        weights: fixtures(folder).join(weights),
        batch: fixtures(folder).join(format!("{case}_batch.safetensors")),
        out: out.join("got.safetensors"),
        no_dropout: true,
        ..Options::default()
    };
    let mut machine = native.machine(1).unwrap();
    step(&mut machine, &options).unwrap_or_else(|e| panic!("{folder} {case}: {e}"));
    let open = |path: &Path| TensorFile::open(path).unwrap();
    (open(&options.out), open(&expected(folder, case)))
}

/// The same in bf16. A number passes through some tens of roundings by 2^-9 at most, each independent of the others; a hundred of
/// them come to 2 %. Gradients, taken together, are sums of what partly cancels: three times that. In pretraining a frame whose
/// two best codes are nearer than that may get the other one, and with its target its whole part of the gradient changes: two
/// of the 52 masked frames or more that these batches have.
#[test]
fn steps_in_bf16_are_near_to_those_of_transformers() {
    const NEAR: f64 = 0.02;
    let out = tempfile::tempdir().unwrap();
    for folder in FOLDERS {
        let native = compile_in(&small(folder, &[]), Arithmetic::Bf16);
        for case in ["pretrain", "pretrain_gumbel", "finetune", "finetune_masked"] {
            let (got, want) = run_step(folder, case, &native, out.path());
            let (mut off, mut all) = (0.0, 0.0);
            for name in want.names().into_iter().filter(|n| !n.starts_with("check.")) {
                let (a, b) = (values(&got, &name), values(&want, &name));
                let (distance, size) = (norm(a.iter().zip(&b).map(|(a, b)| a - b)), norm(b.into_iter()));
                if name.starts_with("grad.") {
                    off += distance.powi(2);
                    all += size.powi(2);
                } else {
                    assert!(
                        distance <= NEAR * size,
                        "{folder} {case}: {name} is off by {distance:e} of {size:e}"
                    );
                }
            }
            let others = if case.starts_with("pretrain") {
                (2.0 * 2.0 / 52f64).sqrt()
            } else {
                0.0
            };
            let share = (off / all).sqrt();
            assert!(share > 1e-4, "{folder} {case}: nothing was rounded");
            assert!(
                share <= 3.0 * NEAR + others,
                "{folder} {case}: gradients are off by {share:e}"
            );
        }
    }
}

#[test]
fn pretraining_is_that_of_transformers() {
    steps(&["pretrain", "pretrain_gumbel"]);
}

#[test]
fn finetuning_is_that_of_transformers() {
    steps(&["finetune", "finetune_masked"]);
}

/// A folder whose blank is its last token: the same losses, and logits and gradients in its own order.
#[test]
fn the_blank_of_a_folder_may_be_anywhere() {
    let from = fixtures("base_like");
    let tmp = tempfile::tempdir().unwrap();
    let weights = tmp.path().join("weights");
    std::fs::create_dir(&weights).unwrap();
    let last = 31;
    let swapped = |i: usize| match i {
        0 => last,
        i if i == last => 0,
        i => i,
    };
    // Rows 0 and 31 of everything that has one per token.
    let rewrite = |path: &Path, to: &Path, rows: &[&str], columns: &[&str], labels: bool| {
        let file = TensorFile::open(path).unwrap();
        let (mut floats, mut whole): (Vec<(String, Vec<usize>, Vec<f32>)>, Vec<(String, Vec<usize>, Vec<i32>)>) =
            (vec![], vec![]);
        for name in file.names() {
            let shape = file.shape(&name).unwrap().to_vec();
            if let Ok(Some(mut values)) = file.floats(&name) {
                let old = values.clone();
                if rows.contains(&name.as_str()) {
                    let width = values.len() / shape[0];
                    for i in 0..shape[0] {
                        values[i * width..][..width].copy_from_slice(&old[swapped(i) * width..][..width]);
                    }
                } else if columns.contains(&name.as_str()) {
                    let width = *shape.last().unwrap();
                    (0..values.len()).for_each(|i| values[i] = old[i / width * width + swapped(i % width)]);
                }
                floats.push((name, shape, values));
            } else {
                let mut values = file.integers(&name).unwrap().unwrap();
                if labels && name == "labels" {
                    values
                        .iter_mut()
                        .filter(|l| **l >= 0)
                        .for_each(|l| *l = swapped(*l as usize) as i32);
                }
                whole.push((name, shape, values));
            }
        }
        let floats = floats.iter().map(|(n, s, v)| {
            (
                n.clone(),
                Piece {
                    shape: s.clone(),
                    values: Values::F32(v),
                },
            )
        });
        let whole = whole.iter().map(|(n, s, v)| {
            (
                n.clone(),
                Piece {
                    shape: s.clone(),
                    values: Values::I32(v),
                },
            )
        });
        write_tensors(to, floats.chain(whole).collect()).unwrap();
    };
    let head = ["lm_head.weight", "lm_head.bias"];
    rewrite(
        &from.join("ctc/model.safetensors"),
        &weights.join("model.safetensors"),
        &head,
        &[],
        false,
    );
    std::fs::copy(from.join("ctc/config.json"), weights.join("config.json")).unwrap();
    let tokens: Vec<String> = (0..32)
        .map(|i| format!("\"{}\": {i}", if i == last { "<pad>".into() } else { format!("t{i}") }))
        .collect();
    std::fs::write(weights.join("vocab.json"), format!("{{{}}}", tokens.join(", "))).unwrap();
    let (batch, want) = (
        tmp.path().join("batch.safetensors"),
        tmp.path().join("want.safetensors"),
    );
    rewrite(&from.join("finetune_batch.safetensors"), &batch, &[], &[], true);
    let grads = ["grad.lm_head.weight", "grad.lm_head.bias"];
    rewrite(
        &from.join("finetune_expected.safetensors"),
        &want,
        &grads,
        &["logits"],
        false,
    );
    let options = Options {
        weights,
        batch,
        out: tmp.path().join("got.safetensors"),
        no_dropout: true,
        ..Options::default()
    };
    step(&mut native("base_like").machine(1).unwrap(), &options).unwrap();
    compare("blank last", &options.out, &want, RELATIVE);
}

#[test]
fn transcribing_is_that_of_transformers() {
    for folder in FOLDERS {
        let want = TensorFile::open(&fixtures(folder).join("transcribe_expected.safetensors")).unwrap();
        let mut machine = native(folder).machine(2).unwrap();
        let mut transcriber = Transcriber::new(&mut machine, &fixtures(folder).join("ctc"), &[]).unwrap();
        for clip in ["a", "b", "c"] {
            let wav = fixtures("clips").join(format!("{clip}.wav"));
            let heard = transcriber.file(&wav).unwrap();
            let name = format!("logits.{clip}");
            assert_eq!(
                want.shape(&name),
                Some(&[heard.frames, heard.classes][..]),
                "{folder} {clip}"
            );
            let want = values(&want, &name);
            let off = norm(heard.logits.iter().zip(&want).map(|(a, b)| *a as f64 - b));
            let size = norm(want.into_iter());
            assert!(off <= RELATIVE * size, "{folder} {clip}: off by {off:e} of {size:e}");
        }
    }
}

/// Every layer, the input of the first (0) included. Of the model with norms before its branches the last state is that before
/// the final norm.
#[test]
fn hidden_states_are_those_of_transformers() {
    for folder in FOLDERS {
        let want = TensorFile::open(&fixtures(folder).join("hidden_expected.safetensors")).unwrap();
        let mut machine = native(folder).machine(2).unwrap();
        let layers = [3, 0, 1, 2];
        let mut features =
            Features::new(&mut machine, "features", &fixtures(folder).join("ctc"), &[], &layers).unwrap();
        for clip in ["a", "c"] {
            let states = features
                .of(&Utterance {
                    path: fixtures("clips").join(format!("{clip}.wav")),
                    ..Utterance::default()
                })
                .unwrap();
            let name = format!("hidden.{clip}");
            let shape = want.shape(&name).unwrap();
            let all = values(&want, &name);
            assert_eq!(states.iter().map(|s| s.layer).collect::<Vec<_>>(), layers);
            for state in states {
                assert_eq!(&shape[1..], [state.frames, state.width], "{folder} {clip}");
                let want = &all[state.layer * state.values.len()..][..state.values.len()];
                let off = norm(state.values.iter().zip(want).map(|(a, b)| *a as f64 - b));
                let size = norm(want.iter().copied());
                assert!(
                    off <= RELATIVE * size,
                    "{folder} {clip} layer {}: off by {off:e} of {size:e}",
                    state.layer
                );
            }
        }
        let mut machine = native(folder).machine(1).unwrap();
        let error = Features::new(&mut machine, "features", &fixtures(folder).join("ctc"), &[], &[4]);
        assert!(error.err().unwrap().to_string().contains("layers 1 to 3"));
    }
}
