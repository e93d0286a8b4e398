//! Training in bf16 as the interpreter defines it: the programs of a small model, narrowed, stay near those in f32, and on
//! the published model it is the activations that become bf16.

use frontend::Model;
use interp::Buffer;
use ir::artifact::{BufferKind, Init, Launch, Program, Step};
use ir::dim::{Dim, Env};
use ir::graph::Graph;
use ir::kernel::{Body, Kernel, Reduction, SlotDecl};
use ir::ops::Param;
use ir::rounding::Rounding;
use ir::sample::Rand;
use ir::scalar::DType;
use ir::tensor::Tensor;
use ir::types::Type;
use passes::differentiate::differentiate;
use passes::lower::Kernels;
use passes::narrow::Weights;
use proptest::prelude::*;
use std::collections::BTreeMap;
use w2vc_tests::generate;
use w2vc_tests::interpret::{Lowered, lower, lower_at};
use w2vc_tests::native::model;
use w2vc_tests::programs::{compile_lowered, run};

/// As the fixtures of `base_like`, but smaller still: the interpreter is slow.
const SMALL: [(&str, &str); 12] = [
    ("hidden", "32"),
    ("layers", "3"),
    ("heads", "2"),
    ("ffn", "64"),
    ("channels", "16"),
    ("pos_kernel", "16"),
    ("pos_groups", "4"),
    ("codes", "8"),
    ("code_dim", "16"),
    ("proj_dim", "16"),
    ("num_negatives", "5"),
    // The factor that the paper puts on the gradient into the convolutions would hide theirs.
    ("feature_grad_mult", "1"),
];

const CLIPS: usize = 2;
/// Samples of the longer clip; the other has 5 frames less.
const SAMPLES: usize = 6007;
const FRAMES: usize = 18;
const MASKED: usize = 6;

fn sizes(of: &[(&str, usize)]) -> Env {
    of.iter().map(|(n, v)| ((*n).into(), *v as i64)).collect()
}

fn env() -> Env {
    sizes(&[
        ("B", CLIPS),
        ("N", SAMPLES),
        ("M", MASKED),
        ("L", 3),
        ("vocab", 32),
        ("layer", 0),
    ])
}

fn graph(model: &Model, name: &str) -> Graph {
    w2vc_tests::native::graph_after("rematerialise", model, name)
}

/// Hidden frames of a clip: every third.
fn masked(clip: usize) -> Vec<usize> {
    (0..FRAMES - 5 * clip).step_by(3).collect()
}

fn input(name: &str, dtype: DType, shape: Vec<usize>, r: &mut Rand) -> Tensor {
    let clip_of = |at: &[usize]| masked(at[0]);
    Tensor::build(dtype, shape, |at| match name {
        "wave" => (0.03 * at[1] as f64 * (at[0] + 1) as f64).sin() + r.float(-1.0, 1.0),
        "lengths" => (SAMPLES - 5 * 320 * at[0]) as f64,
        "mask" => clip_of(at).contains(&at[1]) as i64 as f64,
        "masked_index" => clip_of(at).get(at[1]).map_or(-1.0, |t| *t as f64),
        "negatives" => match clip_of(at).len() {
            n if at[1] < n => ((at[1] + 1 + at[2] % (n - 1)) % n) as f64,
            _ => -1.0,
        },
        "gumbel" => r.float(-1.0, 2.0),
        "temperature" => 1.3,
        "channel_mask" => (r.int(0, 9) == 0) as i64 as f64,
        "labels" => r.int(5, 31) as f64,
        "seed" => at[0] as f64 + 1.0,
        "keep" => 1.0,
        _ => 0.1,
    })
}

fn param(init: &Init, shape: Vec<usize>, r: &mut Rand) -> Tensor {
    let fans = shape.iter().take(2).sum::<usize>() as f64;
    Tensor::build(DType::F32, shape, |_| {
        let v = match init {
            Init::Zeros => r.float(-0.1, 0.1),
            Init::Ones | Init::NormOf { .. } => r.float(0.8, 1.2),
            Init::Normal { std } => std * (0..12).map(|_| r.float(-0.5, 0.5)).sum::<f64>(),
            Init::Uniform { low, high } => r.float(*low, *high),
            Init::XavierUniform => (6.0 / fans).sqrt() * r.float(-1.0, 1.0),
        };
        v as f32 as f64
    })
}

fn bind(model: &Model, lowered: &Lowered) -> BTreeMap<String, Tensor> {
    let mut r = Rand::new(3);
    let size = |d: &Dim| d.eval(&env()).unwrap() as usize;
    let inputs = lowered.program.inputs.iter().map(|p| {
        let shape = p.shape.iter().map(size).collect();
        (p.name.clone(), input(&p.name, p.dtype, shape, &mut r))
    });
    let mut bound: BTreeMap<String, Tensor> = inputs.collect();
    for (name, (_, shape)) in &lowered.params {
        let shape = shape.iter().map(|d| *d as usize).collect();
        let init = &model.param(name).expect("the model declares it").init;
        bound.insert(name.clone(), param(init, shape, &mut r));
    }
    bound
}

/// Offsets of temporaries one after the other.
fn apart(program: &Program, sizes: &Env) -> Vec<usize> {
    let mut next = 0;
    let place = |b: &ir::artifact::Buffer| {
        let at = next;
        if b.kind == BufferKind::Temp {
            next += b.elements.eval(sizes).unwrap() as usize * b.dtype.bytes();
        }
        at
    };
    program.buffers.iter().map(place).collect()
}

/// A number passes through some tens of roundings by 2^-9 at most, each independent of the others; a hundred of them would
/// come to 2%. What is small next to all gradients may be the difference of what is not: that of a key's bias is 0.
#[test]
fn losses_and_gradients_stay_near() {
    let model = model("models/base.ron", &SMALL);
    for program in ["pretrain", "finetune_all"] {
        let wide = lower_at(&graph(&model, program), &env());
        let bound = bind(&model, &wide);
        let narrow = wide.narrowed();
        let (want, got) = (wide.interpret(&env(), &bound), narrow.interpret(&env(), &bound));
        let loss = off(&got["loss"], &want["loss"]) / norm(&want["loss"]);
        assert!(loss > 1e-6 && loss < 1e-2, "{program}: the loss is off by {loss:e}");
        let grads: Vec<&String> = want
            .keys()
            .filter(|n| ir::names::param_of_gradient(n).is_some())
            .collect();
        let all = grads.iter().map(|n| norm(&want[*n]).powi(2)).sum::<f64>().sqrt();
        for name in grads {
            let (off, size) = (off(&got[name], &want[name]), norm(&want[name]));
            assert!(
                off < 0.06 * size + 1e-6 * all,
                "{program}, {name}: off by {off:e} of {size:e}"
            );
        }

        assert_eq!(poisoned(&narrow, &env(), &bound), got, "{program} under poison");
    }
}

/// The CPU's code against the interpreter. Attention may round what it makes within, and then later roundings fall otherwise:
/// the results are two draws of the same noise, whose difference is sqrt 2 of either. The noise of each tensor is how far the
/// interpreter's result is from that in f32; twice that is allowed, and 1 % where a tensor has so few numbers that its noise may
/// happen to be small.
#[test]
fn the_cpu_computes_what_the_interpreter_does() {
    let model = model("models/base.ron", &SMALL);
    for program in ["pretrain", "finetune_all", "transcribe"] {
        let wide = lower_at(&graph(&model, program), &env());
        let bound = bind(&model, &wide);
        let narrow = wide.narrowed_with(Weights::AsTheyAre);
        let (exact, want) = (wide.interpret(&env(), &bound), narrow.interpret(&env(), &bound));
        // Parameters rounded beforehand are the same numbers.
        assert_eq!(wide.narrowed().interpret(&env(), &bound), want, "{program}");
        let symbols = ["B", "N", "M", "L", "vocab"];
        let compiled = compile_lowered(&narrow, &symbols, &[("vocab", 32)]);
        let on = |threads| run(&mut compiled.machine(threads), "test", &bound);
        let got = on(1);
        assert_eq!(on(3), got, "{program} on three threads");
        let grads: Vec<&String> = want
            .keys()
            .filter(|n| ir::names::param_of_gradient(n).is_some())
            .collect();
        let all = grads.iter().map(|n| norm(&want[*n]).powi(2)).sum::<f64>().sqrt();
        for name in want.keys().filter(|n| got.contains_key(*n)) {
            let (noise, off, size) = (
                off(&exact[name], &want[name]),
                off(&got[name], &want[name]),
                norm(&want[name]),
            );
            assert!(
                off <= (2.0 * noise).max(0.01 * size) + 1e-6 * all,
                "{program}, {name}: off by {off:e} of {size:e}, with a noise of {noise:e}"
            );
        }
        assert!(grads.iter().all(|n| got.contains_key(*n)), "{program}");
    }
}

fn poisoned(lowered: &Lowered, sizes: &Env, bound: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let kernels: Vec<Kernel> = lowered.kernels.iter().map(|(_, k)| k.clone()).collect();
    let mut buffers = lowered.buffers(sizes, bound);
    let run = interp::run_poisoned(&kernels, &lowered.program, &mut buffers, sizes, apart);
    assert_eq!(run, Ok(()));
    lowered.outputs(sizes, &buffers)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn generated_graphs_are_narrowed(seed: u32, pieces in 1usize..12) {
        let g = differentiate(&generate::graph(seed, pieces), "loss", &|_| true).unwrap();
        let mut r = Rand::new(seed);
        let mut sizes = generate::sizes(&mut r);
        let bound = generate::bind(&g, &sizes, &mut r);
        sizes.insert("layer".into(), 0);
        let narrow = lower(&g).narrowed();
        check(&narrow);
        let bits = |all: BTreeMap<String, Tensor>| -> Vec<u64> {
            all.values().flat_map(|t| &t.data).map(|v| v.to_bits()).collect()
        };
        prop_assert_eq!(bits(poisoned(&narrow, &sizes, &bound)), bits(narrow.interpret(&sizes, &bound)), "{}", g);
    }
}

fn off(a: &Tensor, b: &Tensor) -> f64 {
    a.data
        .iter()
        .zip(&b.data)
        .map(|(x, y)| (x - y).powi(2))
        .sum::<f64>()
        .sqrt()
}

fn norm(a: &Tensor) -> f64 {
    a.data.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn launches(steps: &[Step]) -> Vec<&Launch> {
    fn of(step: &Step) -> Vec<&Launch> {
        match step {
            Step::Launch(l) => vec![l],
            Step::Loop { body, .. } => launches(body),
        }
    }
    steps.iter().flat_map(of).collect()
}

/// Slots have the dtypes of their buffers, and what must stay exact is not in bf16.
fn check(lowered: &Lowered) {
    let buffers = &lowered.program.buffers;
    for launch in launches(&lowered.program.steps) {
        let (name, kernel) = &lowered.kernels[launch.kernel];
        for (slot, operand) in kernel.slots.iter().zip(&launch.operands) {
            assert_eq!(slot.dtype, buffers[operand.buffer].dtype, "{name}");
        }
        let narrow = |s: &SlotDecl| s.dtype == DType::Bf16;
        let picks = kernel.body.reductions().iter().any(|(how, _)| *how != Reduction::Sum);
        if picks || matches!(kernel.body, Body::Ctc(_)) {
            assert!(!kernel.slots.iter().any(narrow), "{name}\n{kernel}");
        }
        if let Body::Contract(k) = &kernel.body {
            assert_eq!(k.round, Rounding::Bf16, "{name}");
            for slot in [k.a.slot, k.b.slot] {
                assert_ne!(buffers[launch.operands[slot].buffer].kind, BufferKind::Params, "{name}");
            }
        }
    }
    for b in buffers.iter().filter(|b| b.kind != BufferKind::Temp) {
        assert_eq!(
            b.dtype == DType::Bf16,
            b.kind == BufferKind::NarrowParams,
            "{:?}",
            b.kind
        );
    }
}

#[test]
fn most_of_the_published_model_becomes_bf16() {
    let model = model("models/base.ron", &[]);
    let sizes = sizes(&[
        ("B", 2),
        ("N", 160_000),
        ("M", 150),
        ("L", 40),
        ("vocab", 32),
        ("layer", 0),
    ]);
    for program in ["pretrain", "finetune_all", "finetune", "transcribe"] {
        let wide = lower_at(&graph(&model, program), &env());
        let narrow = wide.narrowed();
        check(&narrow);
        let (mut all, mut less) = (0, 0);
        for (before, after) in wide.program.buffers.iter().zip(&narrow.program.buffers) {
            if before.kind == BufferKind::Temp {
                let bytes = before.elements.eval(&sizes).unwrap() * before.dtype.bytes() as i64;
                all += bytes;
                less += if after.dtype == DType::Bf16 { bytes } else { 0 };
            }
        }
        assert!(less as f64 > 0.95 * all as f64, "{program}: {less} of {all} bytes");
    }
}

/// x w + w: the product reads w rounded, the sum as it is.
#[test]
fn a_parameter_is_rounded_for_products_only() {
    let mut g = Graph::default();
    let x = g.input("x", Type::f32([16.into(), 16.into()]));
    let w = g.add_op(
        Param {
            name: "w".into(),
            ty: Type::f32([16.into(), 16.into()]),
        },
        &[],
    );
    let product = g.einsum("ik,kj->ij", x, w);
    let y = g.add(product, w);
    g.outputs.push(("y".into(), y));
    let narrow = lower(&g).narrowed();
    check(&narrow);
    let kinds = |l: &Launch| -> Vec<BufferKind> {
        let kind = |o: &ir::artifact::Operand| narrow.program.buffers[o.buffer].kind;
        l.operands.iter().map(kind).collect()
    };
    let both = |l: &&Launch| {
        [BufferKind::Params, BufferKind::NarrowParams]
            .iter()
            .all(|k| kinds(l).contains(k))
    };
    assert_eq!(launches(&narrow.program.steps).into_iter().filter(both).count(), 1);
    let mut r = Rand::new(1);
    let square = |f: &mut dyn FnMut(&[usize]) -> f64| Tensor::build(DType::F32, vec![16, 16], f);
    let w = square(&mut |_| r.float(-1.0, 1.0) as f32 as f64);
    let x = square(&mut |at| if at[0] == at[1] { 2.0 } else { 0.0 });
    let y = narrow.interpret(&env(), &BTreeMap::from([("x".into(), x), ("w".into(), w.clone())]));
    let rounded = Buffer::from_f64(DType::Bf16, w.data.iter().copied()).to_f64();
    let want = |(w, rounded): (&f64, &f64)| (2.0 * rounded + w) as f32 as f64;
    let want: Vec<f64> = w.data.iter().zip(&rounded).map(want).collect();
    assert_eq!(y["y"].data, want);
}

#[test]
fn parameters_are_rounded_by_a_program() {
    let mut kernels = Kernels::default();
    let program = passes::optimizer::narrow(&mut kernels);
    let kernels: Vec<Kernel> = kernels.list.into_iter().map(|(_, k)| k).collect();
    let mut r = Rand::new(2);
    let params = Buffer::from_f64(DType::F32, (0..100).map(|_| r.float(-1.0, 1.0)));
    let mut buffers = [params.clone(), Buffer::poison(DType::Bf16, 100)];
    assert_eq!(
        program.buffers.iter().map(|b| b.kind).collect::<Vec<_>>(),
        [BufferKind::Params, BufferKind::NarrowParams]
    );
    let sizes = sizes(&[("range_start", 0), ("range_len", 100)]);
    interp::run_program(&kernels, &program, &mut buffers, &sizes).unwrap();
    assert_eq!(buffers[1], Buffer::from_f64(DType::Bf16, params.to_f64().into_iter()));
}
