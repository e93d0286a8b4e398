//! The compiler is general: its parts know no particular model, and a network of another kind compiles and learns.

use ir::sample::Rand;
use runtime::session::{AdamStep, Session, Tensor};
use runtime::weights::initialize;
use std::fs;
use std::path::{Path, PathBuf};
use tests::native::{compile, model};

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
const STEPS: usize = 13;
const FEATURES: usize = 6;
const CLASSES: usize = 5;

/// Noise in which one channel, the label, stands out.
fn examples() -> (Tensor, Tensor) {
    let mut r = Rand::new(3);
    let labels: Vec<i32> = (0..CLIPS).map(|_| r.int(0, CLASSES as i64 - 1) as i32).collect();
    let element = |i: usize| (labels[i / (STEPS * FEATURES)] as usize == i % FEATURES) as u8 as f32;
    let x = (0..CLIPS * STEPS * FEATURES)
        .map(|i| element(i) + r.float(-0.5, 0.5) as f32)
        .collect();
    (Tensor::f32(&[CLIPS, STEPS, FEATURES], x), Tensor::i32(&[CLIPS], labels))
}

#[test]
fn a_classifier_compiles_and_learns() {
    let native = compile(&model("tests/models/classifier.ron", &[]));
    let mut machine = native.machine(2).unwrap();
    let artifact = machine.artifact().clone();
    initialize(&artifact, machine.params().unwrap(), 1, &|_| true);
    let (x, label) = examples();
    let mut losses = vec![];
    for step in 1..=60 {
        machine.grads().fill(0.0);
        let outputs = machine.run("train", &[("x", &x), ("label", &label)]).unwrap();
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
    // An untrained guess costs log(5) = 1.6 per clip.
    let (first, last) = (losses[0] / CLIPS as f32, losses[59] / CLIPS as f32);
    assert!((1.0..3.0).contains(&first), "{losses:?}");
    assert!(last < 0.1, "{losses:?}");
    let outputs = machine.run("classify", &[("x", &x)]).unwrap();
    assert_eq!(outputs[0].1.as_i32(), label.as_i32());
}
