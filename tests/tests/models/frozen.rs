//! Parameters that do not change any more: what depends on them alone is done once, and changes no bit.

use crate::clips::{SAMPLES, batch, clip};
use crate::small::{FOLDERS, fixtures, loaded_on, native, output, run, small};
use frontend::Model;
use runtime::Error;
use runtime::exec::{Machine, Native};
use runtime::session::{Session, Tensor};
use runtime::trainer::transcribe_file;
use runtime::weights::initialize;
use std::collections::BTreeMap;
use w2vc_tests::native::{compile, compile_int8};

fn logits(machine: &mut Machine, inputs: &[(String, Tensor)]) -> Vec<u32> {
    let outputs = run(machine, "transcribe", inputs);
    let values = output(&outputs, "logits").as_f32().unwrap();
    assert!(values.iter().all(|v| v.is_finite()));
    values.iter().map(|v| v.to_bits()).collect()
}

/// Clips alone, together, and the first once more: sizes change and come again.
fn all_inputs() -> Vec<Vec<(String, Tensor)>> {
    let clips: Vec<_> = (0..SAMPLES.len()).map(clip).collect();
    let together = batch(&clips);
    let again = clips[0].clone();
    clips.into_iter().chain([together, again]).collect()
}

fn gives_the_same_bits(about: &str, machine: &dyn Fn(usize) -> Machine) {
    let inputs = all_inputs();
    let all = |machine: &mut Machine| inputs.iter().map(|i| logits(machine, i)).collect::<Vec<_>>();
    let want = all(&mut machine(1));
    for threads in [1, 2] {
        let mut frozen = machine(threads);
        frozen.freeze("transcribe").unwrap();
        assert!(all(&mut frozen) == want, "{about} on {threads} threads");
    }
}

#[test]
fn frozen_transcription_gives_the_same_bits() {
    for folder in FOLDERS {
        gives_the_same_bits(folder, &|threads| loaded_on(threads, native(folder), folder, "ctc"));
    }
}

/// Matrices of many pages, which are given back as soon as they are packed, beside vectors that stay.
fn paged() -> Model {
    let sizes = [("hidden", "128"), ("ffn", "256"), ("channels", "64"), ("layers", "4")];
    small("base_like", &sizes)
}

fn with_any_weights(native: &Native, threads: usize) -> Machine {
    let mut machine = native.machine(threads).unwrap();
    let artifact = machine.artifact().clone();
    initialize(&artifact, machine.params().unwrap(), 5, &|_| true);
    machine
}

#[test]
fn weights_in_levels_are_kept_too() {
    let native = compile_int8(&paged());
    gives_the_same_bits("int8", &|threads| with_any_weights(&native, threads));
}

#[test]
fn given_back_parameters_are_not_missed() {
    let native = compile(&paged());
    let machine = |threads| with_any_weights(&native, threads);
    gives_the_same_bits("paged", &machine);

    // What is made takes the place of what it is made from: the plan has no room for both.
    let inputs = all_inputs().remove(0);
    let refs: Vec<(&str, &Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let mut machine = machine(1);
    let weights = 4 * machine.artifact().param_elements;
    let before = machine.peak_bytes("transcribe", &refs).unwrap();
    machine.freeze("transcribe").unwrap();
    let frozen = machine.peak_bytes("transcribe", &refs).unwrap();
    assert!(
        frozen < before + weights / 5,
        "{before} and {frozen} with weights of {weights}"
    );
    logits(&mut machine, &inputs);
    assert_eq!(machine.peak_bytes("transcribe", &refs).unwrap(), frozen);
}

/// Names and launches of a run's kernels.
fn profiled(machine: &mut Machine, inputs: &[(String, Tensor)]) -> BTreeMap<String, usize> {
    machine.start_profile();
    logits(machine, inputs);
    let times = machine.take_profile().unwrap();
    times.into_iter().map(|t| (t.kernel, t.launches)).collect()
}

#[test]
fn what_prepares_shows_up_in_the_first_run_alone() {
    let folder = "base_like";
    let inputs = all_inputs().remove(0);
    let unfrozen = profiled(&mut loaded_on(1, native(folder), folder, "ctc"), &inputs);
    let mut machine = loaded_on(1, native(folder), folder, "ctc");
    machine.freeze("transcribe").unwrap();
    assert_eq!(profiled(&mut machine, &inputs), unfrozen);
    let later = profiled(&mut machine, &inputs);
    assert!(later.len() < unfrozen.len() && later.iter().all(|(k, n)| unfrozen.get(k) == Some(n)));
    assert_eq!(profiled(&mut machine, &inputs), later);
}

#[test]
fn a_frozen_session_does_nothing_else() {
    let folder = "base_like";
    let mut machine = native(folder).machine(1).unwrap();
    assert!(machine.freeze("translate").is_err());
    let clip = fixtures("clips").join("a.wav");
    transcribe_file(&mut machine, &fixtures(folder).join("ctc"), &clip).unwrap();
    let frozen = |e: Result<(), Error>| match e {
        Err(Error::Frozen { program, .. }) => assert_eq!(program, "transcribe"),
        other => panic!("{other:?}"),
    };
    frozen(machine.params().map(|_| ()));
    frozen(machine.freeze("validate_finetune"));
    let inputs = all_inputs().remove(0);
    let refs: Vec<(&str, &Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t)).collect();
    frozen(machine.run("validate_finetune", &refs).map(|_| ()));
    machine.freeze("transcribe").unwrap();
    machine.run("transcribe", &refs).unwrap();
}
