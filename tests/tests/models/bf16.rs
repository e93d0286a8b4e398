//! The models in bf16 on the CPU: near to f32, the same bits on any number of threads, padded or alone.

use crate::clips::{Inputs, SAMPLES, SMALL, Sizes, batch, clip, clip_for, complete_for};
use crate::small::{close, output, run, small};
use compiler::compile::Arithmetic;
use frontend::Model;
use ir::kernel::Body;
use ir::rounding::Rounding;
use ir::scalar::DType;
use runtime::exec::{Machine, Native};
use runtime::session::{AdamStep, Session};
use runtime::weights::initialize;
use std::sync::OnceLock;
use w2vc_tests::native::{compile, compile_in, model};

/// Wide enough that sums have several tiles, and odd where it may be.
fn wide() -> Model {
    let more = [
        ("hidden", "132"),
        ("channels", "64"),
        ("ffn", "250"),
        ("pos_groups", "2"),
        ("heads", "4"),
    ];
    small("base_like", &more)
}

fn native() -> &'static Native {
    static ONCE: OnceLock<Native> = OnceLock::new();
    ONCE.get_or_init(|| compile_in(&wide(), Arithmetic::Bf16))
}

fn machine(native: &Native, threads: usize) -> Machine {
    let mut machine = native.machine(threads).unwrap();
    let artifact = machine.artifact().clone();
    initialize(&artifact, machine.params().unwrap(), 7, &|_| true);
    machine
}

fn logits(machine: &mut Machine, clip: &Inputs) -> Vec<f32> {
    output(&run(machine, "transcribe", clip), "logits")
        .as_f32()
        .unwrap()
        .to_vec()
}

/// A number passes through some tens of roundings by 2^-9 at most, each independent of the others; a hundred of them come to
/// 2 %.
const NEAR: f64 = 0.02;

#[test]
fn logits_are_near_to_those_in_f32() {
    let (mut exact, mut rounded) = (machine(&compile(&wide()), 2), machine(native(), 2));
    for clip in (0..SAMPLES.len()).map(clip) {
        let (want, got) = (logits(&mut exact, &clip), logits(&mut rounded, &clip));
        close("bf16", &got, &want, NEAR);
        assert_ne!(got, want, "nothing was rounded");
    }
}

#[test]
fn frozen_weights_threads_and_neighbours_change_nothing() {
    let clips: Vec<_> = (0..SAMPLES.len()).map(clip).collect();
    let (mut one, mut two, mut frozen) = (machine(native(), 1), machine(native(), 2), machine(native(), 2));
    let together = logits(&mut two, &batch(&clips));
    assert_eq!(together, logits(&mut one, &batch(&clips)));
    frozen.freeze("transcribe").unwrap();
    assert_eq!(together, logits(&mut frozen, &batch(&clips)));
    let size = together.len() / clips.len();
    for (i, clip) in clips.iter().enumerate() {
        let alone = logits(&mut two, clip);
        close(&format!("clip {i}"), &together[i * size..][..alone.len()], &alone, NEAR);
    }
}

/// Losses and parameters after some updates.
fn train(machine: &mut Machine, program: &str) -> (Vec<f32>, Vec<f32>) {
    let sizes = Sizes { hidden: 132, ..SMALL };
    let inputs = complete_for(batch(&[clip_for(0, sizes), clip_for(1, sizes)]), sizes, 0.1);
    let mut losses = vec![];
    for step in 1..=3 {
        machine.zero_grads().unwrap();
        losses.push(output(&run(machine, program, &inputs), "loss").as_f32().unwrap()[0]);
        let norm = machine.grad_norm(program, 1.0).unwrap().sqrt();
        assert!(norm.is_finite() && norm > 0.0, "{program}: {norm}");
        let adam = AdamStep {
            lr: 1e-4,
            beta1: 0.9,
            beta2: 0.98,
            eps: 1e-6,
            weight_decay: 0.01,
            step,
            scale: 1.0 / norm as f32,
        };
        machine.adam(program, &adam).unwrap();
    }
    (losses, machine.params().unwrap().to_vec())
}

#[test]
fn training_is_near_to_f32_and_the_same_on_any_number_of_threads() {
    let exact = compile(&wide());
    for program in ["pretrain", "finetune"] {
        let (want, _) = train(&mut machine(&exact, 2), program);
        let (losses, params) = train(&mut machine(native(), 2), program);
        close(&format!("{program}: losses"), &losses, &want, NEAR);
        let again = train(&mut machine(native(), 3), program);
        assert!((losses, params) == again, "{program} on three threads");
    }
}

/// As `--precision int8-bf16` is described: what has a weight and is not small is of levels, all else of bf16, and what is
/// trained has no levels.
#[test]
fn bytes_rest_on_bf16() {
    let target = cpu::Target::parse("x86-64-v4-bf16").unwrap();
    let base = model("models/base.ron", &[]);
    let out = compiler::compile::compile(&base, &target, Arithmetic::Int8Bf16, false).unwrap();
    for program in &out.artifact.programs {
        let mut levels = 0;
        for launch in w2vc_tests::programs::launches(&program.steps) {
            match &out.kernels.list[launch.kernel].1.body {
                Body::Contract(c) if matches!(c.round, Rounding::Int8(_)) => levels += 1,
                Body::Contract(c) => assert_eq!(c.round, Rounding::Bf16, "{}", program.name),
                _ => {}
            }
        }
        assert_eq!(
            levels,
            if program.name == "transcribe" { 8 } else { 0 },
            "{}",
            program.name
        );
        let narrow = program.buffers.iter().filter(|b| b.dtype == DType::Bf16).count();
        assert_eq!(
            narrow > 0,
            program.name != "adam" && program.name != "grad_norm",
            "{}",
            program.name
        );
    }
}

#[test]
fn bytes_on_bf16_are_near_to_f32() {
    let bytes = compile_in(&wide(), Arithmetic::Int8Bf16);
    let (mut exact, mut rounded) = (machine(&compile(&wide()), 2), machine(&bytes, 2));
    for clip in (0..SAMPLES.len()).map(clip) {
        let (want, got) = (logits(&mut exact, &clip), logits(&mut rounded, &clip));
        close("int8-bf16", &got, &want, 0.05);
    }
}
