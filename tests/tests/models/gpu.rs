//! The models as GPU code under the emulator: against transformers, and against the CPU over several updates.

use crate::clips::{Inputs, Sizes, batch, clip_for, complete_for};
use crate::parity::{RELATIVE, compare};
use crate::small::{FOLDERS, close, fixtures, output, run, small};
use compiler::compile::Arithmetic;
use ir::artifact::Precision;
use runtime::exec::Native;
use runtime::session::{AdamStep, Session};
use runtime::step::{Options, step};
use runtime::weights::initialize;
use w2vc_tests::native::{compile_cuda, compile_in, emulate_on, model};

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

/// How far losses, first gradients and changes of parameters may be from those of the CPU in some arithmetic.
struct Near {
    arithmetic: Arithmetic,
    losses: f64,
    gradients: f64,
    changes: f64,
}

fn compare_training(precision: Precision, archs: &[&str], near: &[Near]) {
    let tiny = model("models/tiny.ron", &[]);
    let natives: Vec<Native> = near.iter().map(|n| compile_in(&tiny, n.arithmetic)).collect();
    let gpu = compiler::compile::compile_cuda(&tiny, precision, &|_, _| ()).unwrap_or_else(|e| panic!("{e}"));
    for program in ["pretrain", "finetune"] {
        let clips = [clip_for(1, TINY), clip_for(2, TINY)];
        let inputs = complete_for(batch(&clips), TINY, 0.1);
        let trained: Vec<Trained> = archs
            .iter()
            .map(|arch| train(&mut emulate_on(&gpu.artifact, &gpu.code, arch), program, &inputs))
            .collect();
        for (native, near) in natives.iter().zip(near) {
            let mut cpu = native.machine(2).unwrap();
            let want = train(&mut cpu, program, &inputs);
            for (arch, got) in archs.iter().zip(&trained) {
                let about = |what: &str| format!("{program}, {precision:?}, {arch}, CPU {:?}: {what}", near.arithmetic);
                close(&about("losses"), &got.losses, &want.losses, near.losses);
                close(&about("gradients"), &got.grads, &want.grads, near.gradients);
                let (a, b) = (changes(&mut cpu, got), changes(&mut cpu, &want));
                close(&about("changes after five updates"), &a, &b, near.changes);
            }
        }
    }
}

#[test]
fn tiny_trains_as_on_the_cpu() {
    let near = Near {
        arithmetic: Arithmetic::Fp32,
        losses: 1e-5,
        gradients: 1e-4,
        changes: 1e-2,
    };
    compare_training(Precision::Fp32, &["sm_80"], &[near]);
}

/// bf16 keeps 8 bits. Against f32, losses are within that rounding, gradients in direction and size. The CPU's bf16 rounds the
/// same numbers but adds in another order, which turns the last bit of some: the first gradients are within three units of
/// 2^-8. Over five updates the codes that the quantizer chooses differ here and there, so losses are not much nearer.
#[test]
fn tiny_trains_in_bf16() {
    let f32 = Near {
        arithmetic: Arithmetic::Fp32,
        losses: 1e-2,
        gradients: 1e-1,
        changes: 0.5,
    };
    let bf16 = Near {
        arithmetic: Arithmetic::Bf16,
        losses: 5e-3,
        gradients: 3.0 / 256.0,
        changes: 0.2,
    };
    compare_training(Precision::Bf16, &["sm_80", "sm_90a"], &[f32, bf16]);
}
