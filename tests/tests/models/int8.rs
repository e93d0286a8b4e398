//! Transcribing with 8-bit products of weights: near to f32, the same on any number of threads, padded or alone.

use crate::clips::{SAMPLES, batch, clip};
use crate::small::{close, output, run, small};
use compiler::compile::Arithmetic;
use frontend::Model;
use ir::kernel::Body;
use ir::rounding::Rounding;
use runtime::exec::{Machine, Native};
use runtime::session::Session;
use runtime::weights::initialize;
use std::sync::OnceLock;
use w2vc_tests::native::{compile, compile_int8, model};

/// Large enough that every product with a weight has a sum worth dividing.
fn wide() -> Model {
    let more = [
        ("hidden", "128"),
        ("channels", "64"),
        ("ffn", "256"),
        ("pos_groups", "2"),
    ];
    small("base_like", &more)
}

fn int8() -> &'static Native {
    static ONCE: OnceLock<Native> = OnceLock::new();
    ONCE.get_or_init(|| compile_int8(&wide()))
}

fn machine(native: &Native, threads: usize) -> Machine {
    let mut machine = native.machine(threads).unwrap();
    let artifact = machine.artifact().clone();
    initialize(&artifact, machine.params().unwrap(), 7, &|_| true);
    machine
}

fn logits(machine: &mut Machine, clip: &[(String, runtime::session::Tensor)]) -> Vec<f32> {
    output(&run(machine, "transcribe", clip), "logits")
        .as_f32()
        .unwrap()
        .to_vec()
}

#[test]
fn logits_are_near_to_those_in_f32() {
    let (mut exact, mut rounded) = (machine(&compile(&wide()), 2), machine(int8(), 2));
    for clip in (0..SAMPLES.len()).map(clip) {
        let (want, got) = (logits(&mut exact, &clip), logits(&mut rounded, &clip));
        close("int8", &got, &want, 0.05);
        assert_ne!(got, want, "nothing was rounded");
    }
}

#[test]
fn threads_and_neighbours_change_nothing() {
    let clips: Vec<_> = (0..SAMPLES.len()).map(clip).collect();
    let (mut one, mut two) = (machine(int8(), 1), machine(int8(), 2));
    let together = logits(&mut two, &batch(&clips));
    assert_eq!(together, logits(&mut one, &batch(&clips)));
    let size = together.len() / clips.len();
    for (i, clip) in clips.iter().enumerate() {
        let alone = logits(&mut two, clip);
        // A difference of the last bit before a rounding is one of a level after it.
        close(&format!("clip {i}"), &together[i * size..][..alone.len()], &alone, 1e-2);
    }
}

/// As described for `--precision int8`: what has a weight and is not small, in `transcribe` alone.
#[test]
fn products_with_weights_are_rounded_and_no_others() {
    let target = cpu::Target::parse("x86-64-v3").unwrap();
    let out = compiler::compile::compile(&model("models/base.ron", &[]), &target, Arithmetic::Int8, false).unwrap();
    assert_eq!(out.artifact.int8, Some(target.levels()));
    for program in &out.artifact.programs {
        let mut rounds = [0, 0];
        for launch in w2vc_tests::programs::launches(&program.steps) {
            if let Body::Contract(c) = &out.kernels.list[launch.kernel].1.body {
                rounds[matches!(c.round, Rounding::Int8(_)) as usize] += 1;
            }
        }
        if program.name == "transcribe" {
            // Convolutions 1 to 3, the positional one and four products of a layer. Not convolution 0, whose weight is made
            // for each clip, and what is small: convolutions 4 to 6, the projection and the classes.
            assert_eq!(rounds, [6, 8], "{}", program.name);
        } else {
            assert_eq!(rounds[1], 0, "{}", program.name);
        }
    }
}
