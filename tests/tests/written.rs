//! Random models in the model language, all the way: compiled with every optimisation, on the CPU and under the emulator,
//! against the reference evaluator of the unoptimised graph; and that graph's kernels in the interpreter.
//!
//! W2VC_FUZZ=N tries N files instead of a few, from the seed W2VC_FUZZ_SEED on (`make fuzz-models`).

use compiler::layout::layer_name;
use frontend::Model;
use ir::artifact::Artifact;
#[cfg(feature = "gpu")]
use ir::artifact::Precision;
use ir::dim::Env;
use ir::eval::evaluate;
use ir::ops::{Input, Op};
use ir::sample::Rand;
use ir::tensor::Tensor;
use ir::types::Type;
use passes::differentiate::differentiate;
use runtime::exec::Edge;
use runtime::session::{self, Session};
use runtime::weights::initialize;
use std::collections::BTreeMap;
use w2vc_tests::interpret::lower;
use w2vc_tests::native::compile;
#[cfg(feature = "gpu")]
use w2vc_tests::native::compile_cuda;
use w2vc_tests::written::model;

/// Programs of a file, compiled together.
const PROGRAMS: usize = 4;

fn files(few: usize) -> std::ops::Range<u32> {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u32>().ok());
    let first = number("W2VC_FUZZ_SEED").unwrap_or(7);
    first..first + number("W2VC_FUZZ").unwrap_or(few as u32)
}

fn load(seed: u32) -> (String, Model) {
    let text = model(seed.wrapping_mul(1000), PROGRAMS);
    let file = tempfile::NamedTempFile::new().expect("the temporary folder is writable");
    std::fs::write(file.path(), &text).expect("the temporary folder is writable");
    let model = frontend::load_programs(file.path(), &[]).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    (text, model)
}

/// Parameters as the graph holds them: layers of a repeat stacked.
fn params(model: &Model, artifact: &Artifact, arena: &[f32]) -> BTreeMap<String, Tensor> {
    let one = |p: &frontend::ParamDecl| {
        let first = layer_name(p, 0);
        let at = artifact
            .params
            .iter()
            .find(|a| a.name == first)
            .expect("the artifact has every parameter");
        let shape: Vec<usize> = p.count.iter().chain(&model.shape(p)).map(|n| *n as usize).collect();
        let n: usize = shape.iter().product();
        let data = arena[at.offset..at.offset + n].iter().map(|v| *v as f64).collect();
        (p.name.clone(), Tensor::new(ir::scalar::DType::F32, shape, data))
    };
    model.params.iter().map(one).collect()
}

fn value(r: &mut Rand, name: &str, time: i64) -> f64 {
    match name {
        // A third of them lie outside, and read as zeros.
        "index" if r.int(0, 2) == 0 => *r.pick(&[-1, time, time + 1, i32::MAX as i64, i32::MIN as i64]) as f64,
        "index" => r.int(0, (time - 1).max(0)) as f64,
        _ => r.float(-1.0, 1.0) as f32 as f64,
    }
}

fn given(t: &Tensor) -> session::Tensor {
    match t.dtype {
        ir::scalar::DType::I32 => session::Tensor::i32(&t.shape, t.data.iter().map(|v| *v as i32).collect()),
        _ => session::Tensor::f32(&t.shape, t.data.iter().map(|v| *v as f32).collect()),
    }
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// Runs every program of a file with several sizes, and compares outputs and gradients.
fn check(seed: u32, text: &str, model: &Model, session: &mut dyn Session, sizes: &[(i64, i64)], interpret: bool) {
    let artifact = session.artifact().clone();
    initialize(
        &artifact,
        session.params().unwrap_or_else(|e| panic!("{e}")),
        seed as u64,
        &|_| true,
    );
    let weights = params(model, &artifact, session.params().unwrap_or_else(|e| panic!("{e}")));
    for (n, p) in model.programs.iter().enumerate() {
        let plain = differentiate(&p.graph, "loss", &|_| true).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        for (b, t) in sizes {
            let env = Env::from([("B".into(), *b), ("T".into(), *t)]);
            let mut r = Rand::new(seed ^ (n as u32) << 8 ^ (*t as u32) << 16);
            let mut bound = weights.clone();
            for node in &p.graph.nodes {
                let Op::Input(Input { name, ty }) = &node.op else {
                    continue;
                };
                let Type { dtype, shape } = ty;
                let shape = shape
                    .iter()
                    .map(|d| d.eval(&env).expect("sizes are bound") as usize)
                    .collect();
                bound.insert(name.clone(), Tensor::build(*dtype, shape, |_| value(&mut r, name, *t)));
            }
            let want = evaluate(&plain, &env, &bound);
            let inputs: Vec<(String, session::Tensor)> = artifact.programs[n]
                .inputs
                .iter()
                .map(|port| (port.name.clone(), given(&bound[&port.name])))
                .collect();
            let refs: Vec<(&str, &session::Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t)).collect();
            session.zero_grads().unwrap_or_else(|e| panic!("{e}"));
            let outputs = session
                .run(&p.name, &refs)
                .unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
            let mut got: BTreeMap<String, Vec<f64>> = outputs
                .into_iter()
                .map(|(name, t)| (name, t.as_f32().unwrap_or_default().iter().map(|v| *v as f64).collect()))
                .collect();
            let grads = params(model, &artifact, session.grads().unwrap_or_else(|e| panic!("{e}")));
            got.extend(
                grads
                    .into_iter()
                    .map(|(name, t)| (ir::names::gradient_of(&name), t.data)),
            );
            compare(&format!("seed {seed}, {}, B = {b}, T = {t}", p.name), text, &want, &got);
            if interpret {
                let got = lower(&plain).interpret(&env, &bound);
                let got = got.into_iter().map(|(name, t)| (name, t.data)).collect();
                compare(
                    &format!("interpreted, seed {seed}, {}, B = {b}, T = {t}", p.name),
                    text,
                    &want,
                    &got,
                );
            }
        }
    }
}

fn compare(place: &str, text: &str, want: &[(String, Tensor)], got: &BTreeMap<String, Vec<f64>>) {
    let grads = want.iter().filter(|(n, _)| ir::names::param_of_gradient(n).is_some());
    let all = norm(grads.flat_map(|(_, t)| t.data.iter().copied()));
    for (name, w) in want {
        let got = &got[name];
        assert_eq!(got.len(), w.data.len(), "{place}: {name}");
        let off = norm(got.iter().zip(&w.data).map(|(a, b)| a - b));
        // Sums may cancel.
        let floor = if name == "y" { 1e-5 } else { 1e-6 * all + 1e-5 };
        let allowed = 1e-4 * norm(w.data.iter().copied()) + floor;
        assert!(
            off <= allowed,
            "{place}: {name} is off by {off:e}, allowed {allowed:e}\n{text}"
        );
    }
}

#[test]
fn models_compute_what_their_text_says() {
    for seed in files(3) {
        let (text, model) = load(seed);
        // An access outside its memory ends the test.
        let mut machine = compile(&model).fenced(2, Edge::End).unwrap_or_else(|e| panic!("{e}"));
        check(
            seed,
            &text,
            &model,
            &mut machine,
            &[(2, 7), (1, 1), (3, 16), (2, 0)],
            true,
        );
    }
}

#[cfg(feature = "gpu")]
#[test]
fn models_compute_the_same_on_the_gpu() {
    for seed in files(1) {
        let (text, model) = load(seed);
        let mut session = compile_cuda(&model, Precision::Fp32);
        check(seed, &text, &model, &mut session, &[(2, 7), (1, 1)], false);
    }
}
