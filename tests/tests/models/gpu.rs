//! The models as GPU code under the emulator: against transformers, and against the CPU over several updates.

use crate::clips::{Inputs, Sizes, batch, clip_for, complete_for};
use crate::parity::{RELATIVE, compare};
use crate::small::{FOLDERS, close, fixtures, output, run, small};
use ir::artifact::Precision;
use runtime::session::{AdamStep, Session};
use runtime::step::{Options, step};
use runtime::weights::initialize;
use w2vc_tests::native::{compile, compile_cuda, emulate_on, model};

/// Losses, logits and all gradients of the fixtures.
#[test]
fn steps_are_those_of_transformers() {
    let out = tempfile::tempdir().unwrap();
    for folder in FOLDERS {
        let mut session = compile_cuda(&small(folder, &[]), Precision::Fp32);
        for case in ["pretrain", "finetune_masked"] {
            let weights = if case == "pretrain" { "pretrain" } else { "ctc" };
            let options = Options {
                weights: fixtures(folder).join(weights),
                batch: fixtures(folder).join(format!("{case}_batch.safetensors")),
                out: out.path().join("got.safetensors"),
                no_dropout: true,
                ..Options::default()
            };
            step(&mut session, &options).unwrap_or_else(|e| panic!("{folder} {case}: {e}"));
            let want = fixtures(folder).join(format!("{case}_expected.safetensors"));
            compare(&format!("{folder} {case}"), &options.out, &want, RELATIVE);
        }
    }
}

/// Those of models/tiny.ron.
const TINY: Sizes = Sizes {
    hidden: 128,
    layers: 4,
    negatives: 50,
    codes: [2, 64],
};

const UPDATES: u64 = 5;

/// Loss, gradients of the first step, and parameters after some updates.
struct Trained {
    losses: Vec<f32>,
    grads: Vec<f32>,
    params: Vec<f32>,
}

fn train(session: &mut dyn Session, program: &str, inputs: &Inputs) -> Trained {
    let artifact = session.artifact().clone();
    initialize(&artifact, session.params().unwrap(), 7, &|_| true);
    let (first, second) = session.moments().unwrap();
    first.fill(0.0);
    second.fill(0.0);
    let (mut losses, mut grads) = (vec![], vec![]);
    for update in 1..=UPDATES {
        session.zero_grads().unwrap();
        let outputs = run(session, program, inputs);
        losses.push(output(&outputs, "loss").as_f32().unwrap()[0]);
        if update == 1 {
            grads = session.grads().unwrap().to_vec();
        }
        let norm = session.grad_norm(program, 1.0).unwrap().sqrt();
        assert!(
            norm.is_finite() && norm > 0.0,
            "{program}: the gradient's norm is {norm}"
        );
        let adam = AdamStep {
            lr: 1e-4,
            beta1: 0.9,
            beta2: 0.98,
            eps: 1e-6,
            weight_decay: 0.01,
            step: update,
            scale: 1.0 / norm as f32,
        };
        session.adam(program, &adam).unwrap();
    }
    Trained {
        losses,
        grads,
        params: session.params().unwrap().to_vec(),
    }
}

/// Updates that change parameters, compared as changes: the parameters themselves hardly move in five updates.
fn changes(session: &mut dyn Session, t: &Trained) -> Vec<f32> {
    let artifact = session.artifact().clone();
    initialize(&artifact, session.params().unwrap(), 7, &|_| true);
    session
        .params()
        .unwrap()
        .iter()
        .zip(&t.params)
        .map(|(a, b)| b - a)
        .collect()
}

fn compare_training(precision: Precision, archs: &[&str], (tolerance, changed): (f64, f64)) {
    let tiny = model("models/tiny.ron", &[]);
    let native = compile(&tiny);
    let gpu = compiler::compile::compile_cuda(&tiny, precision, &|_, _| ()).unwrap_or_else(|e| panic!("{e}"));
    for program in ["pretrain", "finetune"] {
        let clips = [clip_for(1, TINY), clip_for(2, TINY)];
        let inputs = complete_for(batch(&clips), TINY, 0.1);
        let mut cpu = native.machine(2).unwrap();
        let want = train(&mut cpu, program, &inputs);
        for arch in archs {
            let got = train(&mut emulate_on(&gpu.artifact, &gpu.code, arch), program, &inputs);
            let about = |what: &str| format!("{program}, {precision:?}, {arch}: {what}");
            close(&about("losses"), &got.losses, &want.losses, tolerance);
            close(&about("gradients"), &got.grads, &want.grads, tolerance * 10.0);
            let (a, b) = (changes(&mut cpu, &got), changes(&mut cpu, &want));
            close(&about("changes after five updates"), &a, &b, changed);
        }
    }
}

#[test]
fn tiny_trains_as_on_the_cpu() {
    compare_training(Precision::Fp32, &["sm_80"], (1e-5, 1e-2));
}

/// Numbers of 8 bits: losses within their rounding, gradients in direction and size.
#[test]
fn tiny_trains_in_bf16() {
    compare_training(Precision::Bf16, &["sm_80", "sm_90a"], (1e-2, 0.5));
}
