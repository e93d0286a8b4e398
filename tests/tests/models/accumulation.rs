//! Micro-batches add up to the gradient of one batch of all their clips.

use crate::clips::{batch, clip, complete};
use crate::small::{FOLDERS, close, compiled, loaded, native, run};
use runtime::exec::Native;
use runtime::session::Session;

/// Gradients after running each batch of clips in turn.
fn gradient(native: &Native, folder: &str, program: &str, batches: &[&[usize]]) -> Vec<f32> {
    let weights = if program == "pretrain" { "pretrain" } else { "ctc" };
    let mut machine = loaded(native, folder, weights);
    machine.grads().fill(0.0);
    for indices in batches {
        let clips: Vec<_> = indices.iter().map(|i| clip(*i)).collect();
        run(&mut machine, program, &complete(batch(&clips)));
    }
    let artifact = machine.artifact().clone();
    let trained = artifact
        .programs
        .iter()
        .find(|p| p.name == program)
        .unwrap()
        .trains
        .iter()
        .map(|i| &artifact.params[*i]);
    let grads = machine.grads();
    trained
        .flat_map(|p| grads[p.offset..p.offset + p.len()].to_vec())
        .collect()
}

#[test]
fn finetuning_adds_up() {
    for folder in FOLDERS {
        let whole = gradient(native(folder), folder, "finetune", &[&[0, 1, 2]]);
        let parts = gradient(native(folder), folder, "finetune", &[&[2], &[0, 1]]);
        close(folder, &parts, &whole, 1e-5);
    }
}

/// Without the diversity loss, which is of a batch's mean distribution and so of its make-up.
#[test]
fn pretraining_adds_up() {
    let folder = "base_like";
    let native = compiled(folder, &[("diversity_weight", "0")]);
    let whole = gradient(&native, folder, "pretrain", &[&[0, 1, 2]]);
    let parts = gradient(&native, folder, "pretrain", &[&[1], &[2, 0]]);
    close(folder, &parts, &whole, 1e-5);
}
