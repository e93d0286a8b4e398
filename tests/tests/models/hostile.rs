//! Indices that no sound batch holds: labels, negatives, hidden frames, lengths, masks. Whatever they are, compiled code stays
//! inside its memory, which lies between guards here, and what it computes depends on nothing beside it.

use crate::clips::{Inputs, batch, clip, complete};
use crate::small::{fenced, fixtures, native, run, small};
use compiler::compile::Arithmetic;
use cpu::Target;
#[cfg(feature = "gpu")]
use ir::artifact::Precision;
use ir::artifact::Step;
use ir::dim::Dim;
use ir::sample::Rand;
use proptest::prelude::*;
use runtime::exec::{Edge, Machine};
use runtime::session::{Data, Session, Tensor};
use runtime::step::{Options, step};
use runtime::weights::initialize;
use serde_json::{Map, json};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
#[cfg(feature = "gpu")]
use w2vc_tests::native::compile_cuda;
use w2vc_tests::native::open;

/// Inputs that hold indices, lengths or flags.
const INTEGERS: [&str; 6] = ["labels", "negatives", "masked_index", "lengths", "mask", "channel_mask"];

/// A number near an end of what is allowed, at an end of what there is, or anything.
fn hostile(r: &mut Rand, size: i32) -> i32 {
    match r.int(0, 7) {
        0 => i32::MIN,
        1 => i32::MAX,
        2 => *r.pick(&[-1, -2, -100, 0]),
        3 => size,
        4 => size + r.int(-1, 1) as i32,
        5 => 1 << r.int(0, 30),
        6 => r.bits() as i32,
        _ => r.int(0, i64::from(size.max(1)) - 1) as i32,
    }
}

/// A sound batch with some integers of some inputs exchanged.
fn damaged(seed: u32) -> Inputs {
    let mut r = Rand::new(seed);
    let mut inputs = complete(batch(&[clip(2), clip(1)]));
    let chosen: Vec<&str> = INTEGERS.into_iter().filter(|_| r.flag()).collect();
    for (name, tensor) in inputs.iter_mut().filter(|(n, _)| chosen.contains(&n.as_str())) {
        let Data::I32(values) = &mut tensor.data else { continue };
        let size = match name.as_str() {
            "labels" => 32,
            "lengths" => 11_234,
            "mask" | "channel_mask" => 2,
            _ => 34,
        };
        // One of them, a few, or all.
        let every = *r.pick(&[1, 3, values.len().max(1) as i64]);
        for v in values.iter_mut() {
            if r.int(1, every) == 1 {
                *v = hostile(&mut r, size);
            }
        }
    }
    inputs
}

/// Everything that a run leaves, as bits.
fn left(machine: &mut Machine, program: &str, inputs: &Inputs) -> Vec<u32> {
    machine.zero_grads().unwrap();
    let outputs = run(machine, program, inputs);
    let mut bits = vec![];
    for (_, tensor) in &outputs {
        match &tensor.data {
            Data::F32(v) => bits.extend(v.iter().map(|x| x.to_bits())),
            Data::I32(v) => bits.extend(v.iter().map(|x| *x as u32)),
        }
    }
    bits.extend(machine.grads().iter().map(|x| x.to_bits()));
    bits
}

#[test]
fn hostile_indices_stay_inside_and_give_the_same_bits() {
    let native = native("base_like");
    for (program, weights) in [("finetune", "ctc"), ("finetune_all", "ctc"), ("pretrain", "pretrain")] {
        let mut begin = fenced(1, Edge::Begin, native, "base_like", weights);
        let mut end = fenced(2, Edge::End, native, "base_like", weights);
        for seed in 0..12 {
            let inputs = damaged(seed);
            let (a, b) = (left(&mut begin, program, &inputs), left(&mut end, program, &inputs));
            assert!(
                a == b,
                "{program}, seed {seed}: what lies beside its memory changes the result"
            );
        }
    }
}

/// Moves every use of a program's input on by so many elements.
fn move_on(steps: &mut [Step], buffer: usize, by: i64) {
    for step in steps {
        match step {
            Step::Launch(launch) => launch
                .operands
                .iter_mut()
                .filter(|o| o.buffer == buffer)
                .for_each(|o| o.offset = o.offset.clone() + Dim::from(by)),
            Step::Loop { body, .. } => move_on(body, buffer, by),
        }
    }
}

/// Labels read from one element further on than they lie.
fn leave() {
    let target = Target::host().unwrap();
    let mut out = compiler::compile::compile(&small("base_like", &[]), &target, Arithmetic::Fp32, false).unwrap();
    let program = out.artifact.programs.iter_mut().find(|p| p.name == "finetune").unwrap();
    let labels = program.inputs.iter().find(|p| p.name == "labels").unwrap().buffer;
    move_on(&mut program.steps, labels, 1);
    let native = open(&out.artifact, &out.code);
    let mut machine = native.fenced(1, Edge::End).unwrap();
    run(&mut machine, "finetune", &complete(batch(&[clip(2)])));
}

/// Without this the tests here would show little: the smallest step outside is seen.
#[test]
fn one_element_beyond_an_input_ends_the_process() {
    const CHILD: &str = "W2VC_LEAVES_ITS_MEMORY";
    if std::env::var_os(CHILD).is_some() {
        return leave();
    }
    let own = std::env::current_exe().unwrap();
    let out = Command::new(own)
        .args(["--exact", "hostile::one_element_beyond_an_input_ends_the_process"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.signal(), Some(11), "{said}");
}

#[cfg(feature = "gpu")]
#[test]
fn hostile_indices_stay_inside_on_the_gpu() {
    // The emulator faults at every access outside the operands of a launch, and the run is an error.
    let mut session = compile_cuda(&small("base_like", &[]), Precision::Fp32);
    let artifact = session.artifact().clone();
    initialize(&artifact, session.params().unwrap(), 3, &|_| true);
    for (program, seed) in [("finetune", 3), ("pretrain", 5), ("pretrain", 11)] {
        session.zero_grads().unwrap();
        run(&mut session, program, &damaged(seed));
    }
}

/// A batch file with these tensors.
fn write_batch(path: &Path, tensors: &[(&str, &Tensor)]) {
    let (mut header, mut data) = (Map::new(), vec![]);
    for (name, tensor) in tensors {
        let from = data.len();
        let dtype = match &tensor.data {
            Data::F32(v) => {
                data.extend(v.iter().flat_map(|x| x.to_le_bytes()));
                "F32"
            }
            Data::I32(v) => {
                data.extend(v.iter().flat_map(|x| x.to_le_bytes()));
                "I32"
            }
        };
        let entry = json!({ "dtype": dtype, "shape": tensor.shape, "data_offsets": [from, data.len()] });
        header.insert(name.to_string(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(path, [&length[..], &header, &data].concat()).unwrap();
}

/// A tensor of some shape near the right one, of hostile numbers.
fn other_shape(r: &mut Rand, of: &Tensor) -> Tensor {
    let mut shape = of.shape.clone();
    if r.flag() {
        let axis = r.int(0, shape.len() as i64 - 1) as usize;
        shape[axis] = (shape[axis] as i64 + *r.pick(&[-1, 1, 7])).max(0) as usize;
    }
    if r.int(0, 7) == 0 {
        shape.push(1);
    }
    let n = shape.iter().product();
    match &of.data {
        Data::I32(_) => Tensor::i32(&shape, (0..n).map(|_| hostile(r, 34)).collect()),
        Data::F32(_) => {
            let values = [0.0, -0.0, 1.0, -1.0, 1e-45, 3e38, -3e38, f32::NAN, f32::INFINITY];
            Tensor::f32(&shape, (0..n).map(|_| *r.pick(&values)).collect())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Through a file, as `step` takes it: refused with words, or computed inside the memory.
    #[test]
    fn batch_files_are_refused_or_computed(seed: u32, pretrain: bool) {
        let mut r = Rand::new(seed);
        let inputs = damaged(seed);
        let mut tensors: Vec<(String, Tensor)> = inputs
            .into_iter()
            .filter(|(n, _)| INTEGERS[..5].contains(&n.as_str()) || ["wave", "gumbel", "temperature"].contains(&n.as_str()))
            .collect();
        let which = r.int(0, 2 * tensors.len() as i64) as usize;
        if let Some((_, tensor)) = tensors.get_mut(which) {
            *tensor = other_shape(&mut r, tensor);
        }
        tensors.retain(|_| r.int(0, 19) > 0);
        let (program, weights) = if pretrain { ("pretrain", "pretrain") } else { ("finetune", "ctc") };
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            weights: fixtures("base_like").join(weights),
            batch: dir.path().join("batch.safetensors"),
            out: dir.path().join("out.safetensors"),
            program: Some(program.into()),
            ..Options::default()
        };
        let refs: Vec<(&str, &Tensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
        write_batch(&options.batch, &refs);
        let edge = if r.flag() { Edge::Begin } else { Edge::End };
        let mut machine = native("base_like").fenced(1, edge).unwrap();
        match step(&mut machine, &options) {
            Ok(()) => prop_assert!(options.out.exists()),
            Err(e) => {
                let (code, said) = (e.exit_code(), e.to_string());
                prop_assert!((2..=11).contains(&code) && !said.is_empty(), "{code}: {said}");
                prop_assert!(!options.out.exists());
            }
        }
    }
}
