//! The same bits on 1, 2 and 4 threads, and whatever ran before: outputs, gradients and the update that follows.

use crate::small::{FOLDERS, fixtures, native};
use runtime::exec::Machine;
use runtime::session::{AdamStep, Session};
use runtime::step::{Options, step};

const ADAM: AdamStep = AdamStep {
    lr: 1e-3,
    beta1: 0.9,
    beta2: 0.98,
    eps: 1e-6,
    weight_decay: 0.01,
    step: 3,
    scale: 0.5,
};

/// All that a step leaves: the file of outputs and gradients, and arenas and norm after one Adam update.
struct Left {
    file: Vec<u8>,
    norm: u64,
    params: Vec<u32>,
    moments: [Vec<u32>; 2],
}

fn bits(v: &[f32]) -> Vec<u32> {
    v.iter().map(|x| x.to_bits()).collect()
}

fn train(machine: &mut Machine, folder: &str, program: &str, dropout: bool) -> Left {
    let out = tempfile::tempdir().unwrap();
    let weights = if program == "pretrain" { "pretrain" } else { "ctc" };
    let options = Options {
        weights: fixtures(folder).join(weights),
        batch: fixtures(folder).join(format!("{program}_batch.safetensors")),
        out: out.path().join("got.safetensors"),
        no_dropout: !dropout,
        ..Options::default()
    };
    step(machine, &options).unwrap();
    let (first, second) = machine.moments();
    first
        .iter_mut()
        .enumerate()
        .for_each(|(i, m)| *m = (i % 7) as f32 * 1e-3);
    second
        .iter_mut()
        .enumerate()
        .for_each(|(i, v)| *v = (i % 5) as f32 * 1e-4);
    let norm = machine.grad_norm(program, ADAM.scale).unwrap();
    machine.adam(program, &ADAM).unwrap();
    assert!(norm.is_finite() && norm > 0.0, "{folder} {program}: {norm}");
    let params = bits(machine.params().unwrap());
    let (first, second) = machine.moments();
    Left {
        file: std::fs::read(&options.out).unwrap(),
        norm: norm.to_bits(),
        params,
        moments: [bits(first), bits(second)],
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for folder in FOLDERS {
        for (program, dropout) in [("pretrain", true), ("finetune", true), ("finetune", false)] {
            let on = |threads| train(&mut native(folder).machine(threads).unwrap(), folder, program, dropout);
            let one = on(1);
            for threads in [2, 4] {
                let other = on(threads);
                let about = format!("{folder} {program} on {threads} threads");
                assert!(other.file == one.file, "outputs or gradients differ: {about}");
                assert_eq!(other.norm, one.norm, "gradient norm: {about}");
                assert!(other.params == one.params, "parameters differ: {about}");
                assert!(other.moments == one.moments, "moments differ: {about}");
            }
        }
    }
}

/// Memory is kept from one run to the next, and what it holds must not matter.
#[test]
fn what_ran_before_changes_no_bit() {
    for folder in FOLDERS {
        let mut machine = native(folder).machine(2).unwrap();
        let first = train(&mut machine, folder, "pretrain", true);
        train(&mut machine, folder, "finetune", true);
        let again = train(&mut machine, folder, "pretrain", true);
        assert!(
            first.file == again.file && first.norm == again.norm,
            "outputs or gradients differ: {folder}"
        );
    }
}
