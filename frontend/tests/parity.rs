//! The models' programs against transformers, by the reference evaluator on the committed fixtures.

use ir::dim::Env;
use ir::eval::evaluate;
use ir::gradient::{backward, save_slots};
use ir::graph::{Graph, ValueId};
use ir::ops::Op;
use ir::scalar::DType;
use ir::tensor::Tensor;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use w2vc_frontend::{Program, load_programs};

type Tensors = BTreeMap<String, Tensor>;

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(folder)
}

fn read(path: PathBuf) -> Tensors {
    let bytes = std::fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let tensor = |t: &serde_json::Value| {
        let offsets: [usize; 2] = serde_json::from_value(t["data_offsets"].clone()).unwrap();
        let data = &bytes[8 + length..][offsets[0]..offsets[1]];
        let (dtype, data): (_, Vec<f64>) = match t["dtype"].as_str().unwrap() {
            "F32" => (
                DType::F32,
                data.chunks(4)
                    .map(|b| f32::from_le_bytes(b.try_into().unwrap()) as f64)
                    .collect(),
            ),
            "I64" => (
                DType::I32,
                data.chunks(8)
                    .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64)
                    .collect(),
            ),
            "U8" => (DType::I32, data.iter().map(|b| *b as f64).collect()),
            other => panic!("{other}"),
        };
        Tensor::new(dtype, serde_json::from_value(t["shape"].clone()).unwrap(), data)
    };
    header
        .iter()
        .filter(|(n, _)| *n != "__metadata__")
        .map(|(n, t)| (n.clone(), tensor(t)))
        .collect()
}

/// The program's graph with an output `grad.NAME` for every parameter it trains.
fn with_gradients(p: &Program) -> Graph {
    let Some(loss) = &p.loss else { return p.graph.clone() };
    let mut g = save_slots(&p.graph);
    let loss = g.outputs.iter().find(|(n, _)| n == loss).unwrap().1;
    let param = |i: &usize| match &g.nodes[*i].op {
        Op::Param(param) => p
            .trains
            .contains(&param.name)
            .then(|| (param.name.clone(), ValueId(*i))),
        _ => None,
    };
    let params: Vec<(String, ValueId)> = (0..g.nodes.len()).filter_map(|i| param(&i)).collect();
    let wrt: Vec<ValueId> = params.iter().map(|(_, v)| *v).collect();
    let one = g.constant(1.0);
    let grads = backward(&mut g, &[(loss, one)], &wrt);
    for ((name, _), d) in params.iter().zip(grads) {
        g.outputs.extend(d.map(|d| (format!("grad.{name}"), d)));
    }
    g.prune()
}

/// Outputs of a program for a case of a folder, and what is expected of them.
fn run(folder: &str, program: &str, case: &str) -> (Tensors, Tensors) {
    let large = folder == "large_like";
    let small = [
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
    let sets: Vec<(String, String)> = small.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../models")
            .join(if large { "large.ron" } else { "base.ron" });
    let model = load_programs(&file, &sets).unwrap_or_else(|e| panic!("{e}"));
    let graph = with_gradients(model.program(program).unwrap());

    let part = if program.contains("pretrain") {
        "pretrain"
    } else {
        "ctc"
    };
    let weights = read(fixtures(folder).join(part).join("model.safetensors"));
    let mut bound = read(fixtures(folder).join(format!("{case}_batch.safetensors")));
    let frames = bound["wave"].shape[1] / 320 - 1;
    let rows = bound["wave"].shape[0];
    if let Some(negatives) = bound.get("negatives") {
        let most = negatives.shape[1];
        let mask = &bound["mask"];
        let mut index = Tensor::new(DType::I32, vec![rows, most], vec![-1.0; rows * most]);
        for b in 0..rows {
            for (m, t) in (0..frames).filter(|t| mask.at(&[b, *t]) != 0.0).enumerate() {
                index.data[b * most + m] = t as f64;
            }
        }
        bound
            .entry("gumbel".into())
            .or_insert(Tensor::zeros(DType::F32, vec![rows, most, 2, 8]));
        bound.insert("masked_index".into(), index);
    }
    bound
        .entry("mask".into())
        .or_insert(Tensor::zeros(DType::I32, vec![rows, frames]));
    bound
        .entry("channel_mask".into())
        .or_insert(Tensor::zeros(DType::I32, vec![rows, 32]));
    bound.insert("seed".into(), Tensor::zeros(DType::I32, vec![2]));
    bound.insert("keep".into(), Tensor::new(DType::F32, vec![3], vec![1.0; 3]));
    for p in &model.params {
        let mut shape: Vec<usize> = model.shape(p).iter().map(|d| *d as usize).collect();
        let names = (0..p.count.unwrap_or(1)).map(|i| p.name.replace("{i}", &i.to_string()));
        let Some(data) = names
            .map(|n| weights.get(&n).map(|t| t.data.clone()))
            .collect::<Option<Vec<_>>>()
        else {
            continue;
        };
        if let Some(count) = p.count {
            shape.insert(0, count as usize);
        }
        bound.insert(p.name.clone(), Tensor::new(DType::F32, shape, data.concat()));
    }
    for v in &graph.inputs {
        if let Op::Input(i) = &graph.node(*v).op
            && i.name.contains("dropout")
        {
            bound.insert(i.name.clone(), Tensor::zeros(DType::F32, vec![1]));
        }
    }
    let size = |name: &str, axis: usize| bound.get(name).map_or(0, |t| t.shape[axis] as i64);
    let sizes = [
        ("B", rows as i64),
        ("N", size("wave", 1)),
        ("M", size("masked_index", 1)),
        ("L", size("labels", 1)),
    ];
    let mut env: Env = sizes.into_iter().map(|(n, v)| (n.into(), v)).collect();
    env.extend(model.run_env());
    let mut got: Tensors = evaluate(&graph, &env, &bound).into_iter().collect();
    // Layers apart, as checkpoints have them.
    for p in model.params.iter().filter(|p| p.count.is_some()) {
        if let Some(all) = got.remove(&format!("grad.{}", p.name)) {
            for (i, data) in all.data.chunks(all.data.len() / all.shape[0]).enumerate() {
                let name = format!("grad.{}", p.name.replace("{i}", &i.to_string()));
                got.insert(name, Tensor::new(DType::F32, all.shape[1..].to_vec(), data.to_vec()));
            }
        }
    }
    (got, read(fixtures(folder).join(format!("{case}_expected.safetensors"))))
}

fn norm(v: impl Iterator<Item = f64>) -> f64 {
    v.map(|x| x * x).sum::<f64>().sqrt()
}

/// Outputs and gradients of both sides: relative to each tensor's own size, gradients also to that of all together.
fn compare(what: &str, parts: &[&str], (got, want): &(Tensors, Tensors)) {
    let all = norm(
        want.iter()
            .filter(|(n, _)| n.starts_with("grad."))
            .flat_map(|(_, t)| t.data.iter().copied()),
    );
    let gradients = want.keys().map(String::as_str).filter(|n| n.starts_with("grad."));
    for name in parts
        .iter()
        .copied()
        .chain(gradients.filter(|_| got.keys().any(|n| n.starts_with("grad."))))
    {
        let (a, b) = (
            got.get(name).unwrap_or_else(|| panic!("{what}: no {name}")),
            &want[name],
        );
        assert_eq!(a.data.len(), b.data.len(), "{what} {name}");
        let off = norm(a.data.iter().zip(&b.data).map(|(a, b)| a - b));
        let size = norm(b.data.iter().copied());
        let slack = if name.starts_with("grad.") { 1e-7 * all } else { 0.0 };
        assert!(
            off <= 1e-6 * size + slack,
            "{what} {name}: off by {off:e} of {size:e}, all gradients {all:e}"
        );
    }
}

#[test]
fn pretraining_is_that_of_transformers() {
    for folder in ["base_like", "large_like"] {
        for case in ["pretrain", "pretrain_gumbel"] {
            let both = run(folder, "pretrain", case);
            compare(
                &format!("{folder} {case}"),
                &["loss", "contrastive", "diversity"],
                &both,
            );
            let total: f64 = both.0["perplexity"].data.iter().sum();
            assert!((total - both.1["check.perplexity"].data[0]).abs() < 1e-5 * total);
        }
    }
}

#[test]
fn finetuning_is_that_of_transformers() {
    for folder in ["base_like", "large_like"] {
        for (program, case) in [
            ("finetune", "finetune"),
            ("validate_finetune", "finetune"),
            ("finetune", "finetune_masked"),
        ] {
            compare(
                &format!("{folder} {program} {case}"),
                &["loss", "logits"],
                &run(folder, program, case),
            );
        }
    }
}
