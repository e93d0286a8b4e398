//! The configurations of the fixtures, compiled once for all tests, and running them.

use frontend::Model;
use runtime::exec::{Edge, Machine, Native};
use runtime::session::{Session, Tensor};
use runtime::weights::Folder;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use w2vc_tests::native::{compile, model};

pub const FOLDERS: [&str; 2] = ["base_like", "large_like"];

/// With transformers' loss: no feature penalty, no gradient factor, no epsilon.
pub fn native(folder: &str) -> &'static Native {
    static BOTH: [OnceLock<Native>; 2] = [const { OnceLock::new() }; 2];
    BOTH[(folder == "large_like") as usize].get_or_init(|| compiled(folder, &[]))
}

/// As [`native`], with other constants beside.
pub fn compiled(folder: &str, more: &[(&str, &str)]) -> Native {
    compile(&small(folder, more))
}

/// The model of a folder of fixtures.
pub fn small(folder: &str, more: &[(&str, &str)]) -> Model {
    let large = folder == "large_like";
    let mut sets = vec![
        ("hidden", "32"),
        ("layers", "3"),
        ("ffn", "64"),
        ("channels", "16"),
        ("pos_kernel", "16"),
        ("pos_groups", "4"),
        ("codes", "8"),
        ("code_dim", "8"),
        ("proj_dim", "16"),
        ("num_negatives", "20"),
        ("heads", if large { "2" } else { "4" }),
        ("feature_l2", "0"),
        ("feature_grad_mult", "1"),
        ("perplexity_eps", "0"),
    ];
    sets.extend(more);
    model(if large { "models/large.ron" } else { "models/base.ron" }, &sets)
}

pub fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder)
}

/// A machine with the weights of `pretrain` or `ctc`.
pub fn loaded(native: &Native, folder: &str, weights: &str) -> Machine {
    loaded_on(2, native, folder, weights)
}

/// As [`loaded`], with so many threads.
pub fn loaded_on(threads: usize, native: &Native, folder: &str, weights: &str) -> Machine {
    let machine = native.machine(threads).unwrap();
    with_weights(machine, folder, weights)
}

/// As [`loaded_on`], between guards: an access outside its memory ends the test.
pub fn fenced(threads: usize, edge: Edge, native: &Native, folder: &str, weights: &str) -> Machine {
    with_weights(native.fenced(threads, edge).unwrap(), folder, weights)
}

fn with_weights(mut machine: Machine, folder: &str, weights: &str) -> Machine {
    let artifact = machine.artifact().clone();
    let task = match weights {
        "pretrain" => "pretrain",
        _ => "transcribe",
    };
    let task = artifact.task(task).unwrap();
    Folder::open(&fixtures(folder).join(weights))
        .unwrap()
        .load(&artifact, task, machine.params().unwrap(), None)
        .unwrap();
    machine
}

/// Runs a program with those of the inputs that it has.
pub fn run(session: &mut dyn Session, program: &str, inputs: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t)).collect();
    session
        .run(program, &inputs)
        .unwrap_or_else(|e| panic!("{program}: {e}"))
}

pub fn output<'a>(outputs: &'a [(String, Tensor)], name: &str) -> &'a Tensor {
    &outputs
        .iter()
        .find(|(n, _)| n == name)
        .unwrap_or_else(|| panic!("no output `{name}`"))
        .1
}

/// ||got - want|| <= tolerance ||want||.
pub fn close(about: &str, got: &[f32], want: &[f32], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{about}");
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let off = norm(&mut got.iter().zip(want).map(|(a, b)| *a as f64 - *b as f64));
    let size = norm(&mut want.iter().map(|b| *b as f64));
    assert!(off <= tolerance * size, "{about}: off by {off:e} of {size:e}");
}
