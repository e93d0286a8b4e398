//! A head whose number of classes is chosen when a run begins computes what one of that many classes computes.

use crate::clips::{batch, clip, complete};
use crate::small::{close, native, output, run, small};
use ir::artifact::Precision;
use runtime::session::Session;
use runtime::weights::initialize;
use w2vc_tests::native::compile_cuda;

const FEW: i64 = 32;
/// Not a multiple of anything that loops are cut by.
const MANY: i64 = 57;
/// The bias of classes that never occur: their probability is 0 in f32.
const NEVER: f32 = -1e4;

struct Step {
    loss: Vec<f32>,
    logits: Vec<f32>,
    /// By parameter.
    grads: Vec<(String, Vec<f32>)>,
}

/// A fine-tuning step with so many classes, those beyond [`FEW`] without probability.
fn step(session: &mut dyn Session, classes: i64) -> Step {
    session.choose(&[("vocab", classes)]).unwrap();
    let artifact = session.artifact().clone();
    let head = |name: &str| artifact.params.iter().find(|p| p.name == name).unwrap();
    let (weight, bias) = (head("lm_head.weight"), head("lm_head.bias"));
    assert_eq!((weight.shape[0], bias.shape[0]), (classes, classes));
    let params = session.params().unwrap();
    initialize(&artifact, params, 3, &|name| !name.starts_with("lm_head."));
    let width = weight.shape[1] as usize;
    for class in 0..classes as usize {
        for i in 0..width {
            params[weight.offset + class * width + i] = ((class * 31 + i * 7) % 23) as f32 / 40.0 - 0.25;
        }
        params[bias.offset + class] = if class < FEW as usize {
            0.01 * class as f32
        } else {
            NEVER
        };
    }
    session.zero_grads().unwrap();
    let outputs = run(session, "finetune", &complete(batch(&[clip(0), clip(1), clip(2)])));
    let grads = session.grads().unwrap();
    let grad = |p: &ir::artifact::Param| (p.name.clone(), grads[p.offset..p.offset + p.len()].to_vec());
    Step {
        loss: output(&outputs, "loss").as_f32().unwrap().to_vec(),
        logits: output(&outputs, "logits").as_f32().unwrap().to_vec(),
        grads: artifact.params.iter().map(grad).collect(),
    }
}

/// The first classes of rows of many.
fn first(rows: &[f32]) -> Vec<f32> {
    let row = |r: &[f32]| r[..FEW as usize].to_vec();
    rows.chunks_exact(MANY as usize).flat_map(row).collect()
}

fn agree(session: &mut dyn Session) {
    let (few, many) = (step(session, FEW), step(session, MANY));
    close("loss", &many.loss, &few.loss, 1e-5);
    close("logits", &first(&many.logits), &few.logits, 1e-5);
    for ((name, got), (_, want)) in many.grads.iter().zip(&few.grads) {
        close(name, &got[..want.len()], want, 1e-4);
        assert!(got[want.len()..].iter().all(|g| g.abs() < 1e-6), "{name}");
    }
}

#[test]
fn classes_without_probability_change_nothing() {
    agree(&mut native("base_like").machine(2).unwrap());
}

#[test]
fn neither_do_they_on_the_gpu() {
    for precision in [Precision::Fp32, Precision::Bf16] {
        let mut session = compile_cuda(&small("base_like", &[]), precision);
        session.choose(&[("vocab", FEW)]).unwrap();
        let mut other = compile_cuda(&small("base_like", &[]), precision);
        let (few, many) = (step(&mut session, FEW), step(&mut other, MANY));
        close("loss", &many.loss, &few.loss, 1e-3);
        close("logits", &first(&many.logits), &few.logits, 1e-3);
    }
}

#[test]
fn a_size_that_is_unknown_or_absurd_is_refused() {
    let mut machine = native("base_like").machine(1).unwrap();
    for (name, value) in [("letters", 3), ("vocab", 0), ("vocab", -1), ("vocab", i64::MAX)] {
        let error = machine.choose(&[(name, value)]).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    assert_eq!(machine.artifact().run_size("vocab"), Some(FEW));
}
