//! The compiler is general: its parts know no particular model, and a network of another kind compiles and learns.

use ir::sample::Rand;
use runtime::session::{AdamStep, Session, Tensor};
use runtime::weights::initialize;
use std::fs;
use std::path::{Path, PathBuf};
use w2vc_tests::native::{compile, model};

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, out)
        } else {
            out.push(path)
        }
    }
}

#[test]
fn the_compiler_does_not_name_the_model() {
    // Not written out, so that this file would pass too.
    let word = ["wav", "2", "vec"].concat();
    let mut all = vec![];
    for part in ["ir", "frontend", "passes", "backends"] {
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(part), &mut all);
    }
    assert!(all.len() > 100, "only {} files were found", all.len());
    for path in all {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).to_lowercase();
        assert!(!text.contains(&word), "{} names the model", path.display());
    }
}

const CLIPS: usize = 12;
const SAMPLES: usize = 960;
const CLASSES: usize = 5;

/// Tones in noise, whose pitch is the label.
fn examples() -> (Tensor, Tensor) {
    let mut r = Rand::new(3);
    let labels: Vec<i32> = (0..CLIPS).map(|_| r.int(0, CLASSES as i64 - 1) as i32).collect();
    let tone = |i: usize| {
        let (clip, at) = (i / SAMPLES, (i % SAMPLES) as f32);
        (at * (0.1 + 0.15 * labels[clip] as f32) + clip as f32).sin()
    };
    let wave = (0..CLIPS * SAMPLES)
        .map(|i| tone(i) + r.float(-0.25, 0.25) as f32)
        .collect();
    (Tensor::f32(&[CLIPS, SAMPLES], wave), Tensor::i32(&[CLIPS], labels))
}

#[test]
fn a_classifier_compiles_and_learns() {
    let native = compile(&model("tests/models/classifier.ron", &[]));
    let mut machine = native.machine(2).unwrap();
    let artifact = machine.artifact().clone();
    initialize(&artifact, machine.params().unwrap(), 1, &|_| true);
    let (wave, label) = examples();
    let lengths = Tensor::i32(&[CLIPS], vec![SAMPLES as i32; CLIPS]);
    let mut losses = vec![];
    for step in 1..=60 {
        machine.grads().fill(0.0);
        let outputs = machine
            .run("train", &[("wave", &wave), ("lengths", &lengths), ("label", &label)])
            .unwrap();
        losses.push(outputs.iter().find(|(n, _)| n == "loss").unwrap().1.as_f32().unwrap()[0]);
        let scale = 1.0 / CLIPS as f32;
        let adam = AdamStep {
            lr: 0.01,
            beta1: 0.9,
            beta2: 0.98,
            eps: 1e-8,
            weight_decay: 0.0,
            step,
            scale,
        };
        machine.adam("train", &adam).unwrap();
    }
    // An untrained guess among 10 labels costs at least log(10) = 2.3 per clip.
    let (first, last) = (losses[0] / CLIPS as f32, losses[59] / CLIPS as f32);
    assert!((2.0..6.0).contains(&first), "{losses:?}");
    assert!(last < 0.1, "{losses:?}");
    let outputs = machine
        .run("classify", &[("wave", &wave), ("lengths", &lengths)])
        .unwrap();
    let logits = outputs[0].1.as_f32().unwrap();
    let best = |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as i32;
    let found: Vec<i32> = logits.chunks(logits.len() / CLIPS).map(best).collect();
    assert_eq!(Some(&found[..]), label.as_i32());
}
