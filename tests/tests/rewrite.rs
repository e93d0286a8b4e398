//! Rewriting through kernels: rewritten programs, compiled, give what the graphs as written mean.

use ir::dim::{Dim, Env};
use ir::eval::evaluate;
use ir::graph::Graph;
use ir::ops::{Conv1d, GroupNorm, Input, Op, Param, Sum};
use ir::sample::Rand;
use ir::scalar::DType;
use ir::tensor::Tensor;
use ir::types::Type;
use passes::differentiate::differentiate;
use passes::rewrite::{rewrite, rewrite_with};
use std::collections::BTreeMap;
use w2vc_tests::close::distance;
use w2vc_tests::interpret::typical;
use w2vc_tests::native::model;
use w2vc_tests::programs::{compile, run};

fn dims(sizes: &[i64]) -> Vec<Dim> {
    sizes.iter().map(|d| Dim::from(*d)).collect()
}

fn filled(shape: &[i64], mut f: impl FnMut(usize) -> f64) -> Tensor {
    let shape: Vec<usize> = shape.iter().map(|d| *d as usize).collect();
    let data = (0..shape.iter().product()).map(|i| f(i) as f32 as f64).collect();
    Tensor::new(DType::F32, shape, data)
}

/// Voiced speech in outline: a few decaying harmonics, quiet noise, silence at the end, sampled far above its bandwidth.
fn speech(i: usize, samples: usize, r: &mut Rand) -> f64 {
    let t = (i % samples) as f64;
    let voice = (1..6)
        .map(|h| (t * 0.05 * h as f64).sin() / (h * h) as f64)
        .sum::<f64>();
    0.1 * voice * (t / 900.0).sin().abs() + 1e-4 * r.float(-1.0, 1.0) + 0.003
}

#[test]
fn folded_group_norm_is_exact_in_f32() {
    let (batch, samples, channels) = (2i64, 8000i64, 64i64);
    let steps = (samples - 10) / 5 + 1;
    let mut r = Rand::new(11);
    let mut g = Graph::default();
    let input = |g: &mut Graph, name: &str, ty| g.add_op(Input { name: name.into(), ty }, &[]);
    let x = input(&mut g, "x", Type::f32(dims(&[batch, samples, 1])));
    let lengths = input(&mut g, "lengths", Type::i32(dims(&[batch])));
    let weights = input(&mut g, "weights", Type::f32(dims(&[batch, steps, channels])));
    let param = |g: &mut Graph, name: &str, shape: &[i64]| {
        g.add_op(
            Param {
                name: name.into(),
                ty: Type::f32(dims(shape)),
            },
            &[],
        )
    };
    let w = param(&mut g, "w", &[channels, 1, 10]);
    let (gamma, beta) = (param(&mut g, "gamma", &[channels]), param(&mut g, "beta", &[channels]));
    let y = g.add_op(
        Conv1d {
            stride: 5,
            padding: 0,
            groups: 1,
        },
        &[x, w],
    );
    let y = g.add_op(GroupNorm { eps: 1e-5.into() }, &[y, gamma, beta, lengths]);
    let products = g.mul(y, weights);
    let loss = g.add_op(
        Sum {
            axes: vec![0, 1, 2],
            keep: false,
        },
        &[products],
    );
    g.outputs = vec![("y".into(), y), ("loss".into(), loss)];

    let mut bound = BTreeMap::new();
    bound.insert(
        "x".into(),
        filled(&[batch, samples, 1], |i| speech(i, samples as usize, &mut r)),
    );
    bound.insert(
        "lengths".into(),
        Tensor::new(DType::I32, vec![2], vec![steps as f64, 1100.0]),
    );
    // Zero beyond the clip, as the gradients that reach padding are.
    let inside = |i: usize| {
        let (b, t) = (i as i64 / channels / steps, i as i64 / channels % steps);
        b == 0 || t < 1100
    };
    bound.insert(
        "weights".into(),
        filled(&[batch, steps, channels], |i| {
            if inside(i) { r.float(-1.0, 1.0) } else { 0.0 }
        }),
    );
    bound.insert("w".into(), filled(&[channels, 1, 10], |_| r.float(-0.5, 0.5)));
    bound.insert("gamma".into(), filled(&[channels], |_| r.float(0.5, 1.5)));
    bound.insert("beta".into(), filled(&[channels], |_| r.float(-0.5, 0.5)));

    let folded = rewrite_with(&g, &["conv-group-norm-folding"], &typical()).graph;
    assert!(
        !folded.nodes.iter().any(|n| matches!(n.op, Op::GroupNorm(_))),
        "the rule did not fire"
    );
    let step = |g: &Graph| differentiate(g, "loss", &|_| true).unwrap();
    let want: BTreeMap<String, Tensor> = evaluate(&step(&g), &Env::new(), &bound).into_iter().collect();
    let programs = compile(&[("plain".into(), step(&g)), ("folded".into(), step(&folded))], &[]);
    let mut machine = programs.machine(2);
    for program in ["plain", "folded"] {
        let got = run(&mut machine, program, &bound);
        let far: Vec<(&str, f64)> = want
            .iter()
            .map(|(n, w)| (n.as_str(), distance(&got[n], w, 1e-9)))
            .collect();
        println!("{program} {far:?}");
        for (name, d) in far {
            let limit = if name == "loss" { 1e-4 } else { 1e-5 };
            assert!(d < limit, "{program} {name}: {d}");
        }
    }
}

/// Operands of the pretraining of a model with constants `c`.
fn pretraining(g: &Graph, env: &Env, r: &mut Rand) -> BTreeMap<String, Tensor> {
    let size = |d: &Dim| d.eval(env).unwrap();
    let samples = env["N"] as usize;
    let frames = size(
        &"((((((((N-10)/5+1-3)/2+1-3)/2+1-3)/2+1-3)/2+1-2)/2+1-2)/2+1)"
            .parse()
            .unwrap(),
    );
    let mut bound = BTreeMap::new();
    for node in &g.nodes {
        let (name, ty) = match &node.op {
            Op::Input(i) => (&i.name, &i.ty),
            Op::Param(p) => (&p.name, &p.ty),
            _ => continue,
        };
        let shape: Vec<i64> = ty.shape.iter().map(size).collect();
        let last = *shape.last().unwrap_or(&1);
        let mut t = filled(&shape, |i| match name.as_str() {
            "wave" => speech(i, samples, r),
            "lengths" => {
                if i == 0 {
                    samples as f64
                } else {
                    0.8 * samples as f64
                }
            }
            "mask" => (i as i64 % frames % 4 < 2) as i64 as f64,
            "masked_index" => {
                if i as i64 % last < last - 2 {
                    2.0 * (i as i64 % last) as f64
                } else {
                    -1.0
                }
            }
            "negatives" => r.int(0, 3) as f64,
            "gumbel" => r.float(-1.0, 3.0),
            "temperature" => 2.0,
            "keep" => 1.0,
            "seed" => 5.0,
            n if n.contains("dropout") => 0.1,
            n if n.ends_with("norm.weight") => 1.0 + r.float(-0.1, 0.1),
            n if n.ends_with("bias") => r.float(-0.1, 0.1),
            n if n.ends_with("original0") => 1.0,
            _ => {
                r.float(-1.0, 1.0)
                    * (3.0 / shape[1.min(shape.len() - 1)..].iter().product::<i64>() as f64)
                        .sqrt()
                        .max(0.1)
            }
        });
        t.dtype = ty.dtype;
        t.data.iter_mut().for_each(|v| {
            if ty.dtype == DType::I32 {
                *v = v.trunc()
            }
        });
        bound.insert(name.clone(), t);
    }
    bound
}

#[test]
fn a_rewritten_training_step_is_the_same_step() {
    let tiny = model("models/tiny.ron", &[("layers", "2")]);
    let program = tiny.program("pretrain").unwrap();
    let env = Env::from([("B".into(), 2), ("N".into(), 8000), ("M".into(), 8), ("L".into(), 1)]);
    let bound = pretraining(&program.graph, &env, &mut Rand::new(5));
    let step = |g: &Graph| differentiate(g, "loss", &|_| true).unwrap();
    let rewritten = rewrite(&program.graph, &tiny.examples());
    for fired in &rewritten.report {
        println!("{fired:?}");
    }
    let graphs = [
        ("plain".to_string(), step(&program.graph)),
        ("rewritten".into(), step(&rewritten.graph)),
    ];
    let mut machine = compile(&graphs, &["B", "N", "M", "L"]).machine(2);
    let (want, got) = (
        run(&mut machine, "plain", &bound),
        run(&mut machine, "rewritten", &bound),
    );
    assert!(want["loss"].data[0].is_finite());
    let norm = |t: &Tensor| t.data.iter().map(|v| v * v).sum::<f64>().sqrt();
    let largest = want
        .iter()
        .filter(|(n, _)| ir::names::param_of_gradient(n).is_some())
        .map(|(_, t)| norm(t))
        .fold(0.0, f64::max);
    for (name, want) in &want {
        // The bias of the keys has the gradient 0; what is computed is rounding, of both.
        let floor = if ir::names::param_of_gradient(name).is_some() {
            1e-4 * largest
        } else {
            1e-6
        };
        let d = distance(&got[name], want, floor);
        println!("{name} {d:.1e} {:.1e}", norm(want));
        assert!(d < 1e-4, "{name} is {d:.1e} off");
    }
}
