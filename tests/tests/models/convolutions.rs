//! Convolutions in fewer multiplications: used where taps overlap, as near as those tap by tap, and the same on any number of
//! threads and where weights are kept.

use crate::clips::{SAMPLES, batch, clip, complete};
use crate::small::{close, output, run, small};
use compiler::compile::Arithmetic;
use cpu::Target;
use frontend::Model;
use runtime::exec::{Machine, Native};
use runtime::session::Session;
use runtime::weights::initialize;
use w2vc_tests::native::{model, open};
use w2vc_tests::programs::launches;

/// With channels enough for parts of their own.
fn wide() -> Model {
    small("base_like", &[("channels", "128")])
}

fn native(model: &Model, direct: bool) -> Native {
    let target = Target {
        direct,
        ..Target::host().unwrap()
    };
    let out = compiler::compile::compile(model, &target, Arithmetic::Fp32, false).unwrap();
    open(&out.artifact, &out.code)
}

fn machine(native: &Native, threads: usize) -> Machine {
    let mut machine = native.machine(threads).unwrap();
    let artifact = machine.artifact().clone();
    initialize(&artifact, machine.params().unwrap(), 11, &|_| true);
    machine
}

fn logits(machine: &mut Machine) -> Vec<f32> {
    let clips: Vec<_> = (0..SAMPLES.len()).map(clip).collect();
    let outputs = run(machine, "transcribe", &batch(&clips));
    output(&outputs, "logits").as_f32().unwrap().to_vec()
}

fn gradients(machine: &mut Machine, program: &str) -> Vec<f32> {
    let clips: Vec<_> = (0..SAMPLES.len()).map(clip).collect();
    machine.zero_grads().unwrap();
    run(machine, program, &complete(batch(&clips)));
    machine.grads().to_vec()
}

#[test]
fn fewer_multiplications_change_nothing_but_rounding() {
    let (fewer, direct) = (native(&wide(), false), native(&wide(), true));
    let (mut fewer, mut direct) = (machine(&fewer, 2), machine(&direct, 2));
    let (got, want) = (logits(&mut fewer), logits(&mut direct));
    assert_ne!(got, want, "they are multiplied in the same way");
    close("logits", &got, &want, 1e-5);
    for program in ["finetune_all", "pretrain"] {
        close(
            program,
            &gradients(&mut fewer, program),
            &gradients(&mut direct, program),
            1e-4,
        );
    }
}

#[test]
fn threads_and_kept_weights_change_no_bit() {
    let native = native(&wide(), false);
    let want = logits(&mut machine(&native, 1));
    for threads in [1, 3] {
        let mut frozen = machine(&native, threads);
        assert!(gradients(&mut frozen, "finetune_all") == gradients(&mut machine(&native, 1), "finetune_all"));
        frozen.freeze("transcribe").unwrap();
        for run in ["first", "second"] {
            assert!(logits(&mut frozen) == want, "the {run} run on {threads} threads");
        }
    }
}

/// Convolutions 1 to 4, forward, and backward for the input and for the taps.
#[test]
fn base_takes_fewer_multiplications_where_taps_overlap() {
    let target = Target::parse("x86-64-v3").unwrap();
    let out = compiler::compile::compile(&model("models/base.ron", &[]), &target, Arithmetic::Fp32, false).unwrap();
    for program in &out.artifact.programs {
        let kernels = launches(&program.steps)
            .into_iter()
            .map(|l| &out.artifact.kernels[l.kernel]);
        let counted = kernels.filter(|k| k.what.ends_with("Toom-Cook")).count();
        let wanted = match program.name.as_str() {
            "pretrain" | "finetune_all" => 12,
            "adam" | "grad_norm" => 0,
            _ => 4,
        };
        assert_eq!(counted, wanted, "{}", program.name);
    }
}
