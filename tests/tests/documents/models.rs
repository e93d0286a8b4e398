//! The published models, as described in models/.

use compiler::compile::{Arithmetic, cpu_settings, gpu_settings};
use cpu::Target;
use frontend::{Model, Program};
use ir::artifact::{Init, Precision};
use ir::graph::Graph;
use ir::ops::Op;
use ir::program_text::{self, Programs};
use passes::pipeline::{self, Settings};
use std::collections::BTreeSet;
use std::path::Path;
use w2vc_tests::native::graph_after;

fn model(name: &str, sets: &[(&str, &str)]) -> Model {
    w2vc_tests::native::model(&format!("models/{name}"), sets)
}

/// Elements of the parameters that a program reads.
fn elements(m: &Model, program: &str) -> i64 {
    read_by(m.program(program).unwrap())
        .iter()
        .map(|n| m.elements(m.param(n).unwrap()))
        .sum()
}

fn read_by(p: &Program) -> BTreeSet<String> {
    let name = |op: &Op| match op {
        Op::Param(p) => Some(p.name.clone()),
        _ => None,
    };
    p.graph.nodes.iter().filter_map(|n| name(&n.op)).collect()
}

/// The sizes of transformers' models of these configurations, vocabulary of 32.
#[test]
fn parameter_counts_are_the_published_ones() {
    let base = model("base.ron", &[]);
    assert_eq!(elements(&base, "pretrain"), 95_044_608);
    assert_eq!(elements(&base, "finetune"), 94_396_320);
    let large = model("large.ron", &[]);
    assert_eq!(elements(&large, "pretrain"), 317_390_592);
    assert_eq!(elements(&large, "finetune"), 315_471_520);
    let tiny = elements(&model("tiny.ron", &[]), "pretrain");
    assert!((800_000..1_200_000).contains(&tiny), "{tiny}");
}

/// The relatives, as transformers counts them. A Conformer's has a convolution for positions that is never applied (8,389,760)
/// and no statistics of batch norms among its parameters (49,152).
#[test]
fn relatives_have_the_published_number_of_parameters() {
    let b1 = [("hidden", "1280"), ("layers", "48"), ("ffn", "5120")];
    let b2 = [("hidden", "1920"), ("layers", "48"), ("ffn", "7680")];
    for (file, sets, count) in [
        ("hubert-base.ron", &[][..], 94_396_320),
        ("hubert-large.ron", &[], 315_471_520),
        ("wavlm-base.ron", &[], 94_406_544),
        ("wavlm-large.ron", &[], 315_485_920),
        ("data2vec-audio-base.ron", &[], 93_188_896),
        ("unispeech.ron", &[], 315_471_520),
        ("unispeech-sat.ron", &[], 94_396_320),
        ("xlsr.ron", &[], 315_471_520),
        ("xlsr.ron", &b1, 962_538_400),
        ("xlsr.ron", &b2, 2_159_321_120),
        ("mms.ron", &[], 964_689_568),
        ("conformer-rotary.ron", &[], 593_376_928 - 8_389_760 + 49_152),
        ("conformer-relative.ron", &[], 618_591_904 - 8_389_760 + 49_152),
        ("sew.ron", &[], 80_143_264),
        ("sew-d.ron", &[], 80_405_408),
    ] {
        assert_eq!(elements(&model(file, sets), "finetune"), count, "{file} {sets:?}");
    }
}

#[test]
fn names_and_shapes_are_those_of_hugging_face_checkpoints() {
    for (file, folder) in [("base.ron", "base_like"), ("large.ron", "large_like")] {
        let heads = if folder == "base_like" { "4" } else { "2" };
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
            ("heads", heads),
        ];
        let m = model(file, &small);
        for (program, part) in [("pretrain", "pretrain"), ("finetune", "ctc")] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("fixtures")
                .join(folder)
                .join(part);
            let bytes = std::fs::read(path.join("model.safetensors")).unwrap();
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
            let want: BTreeSet<(String, Vec<i64>)> = header
                .as_object()
                .unwrap()
                .iter()
                .filter(|(name, _)| *name != "__metadata__")
                .map(|(name, t)| (name.clone(), serde_json::from_value(t["shape"].clone()).unwrap()))
                .collect();
            let mut got = BTreeSet::new();
            for name in read_by(m.program(program).unwrap()) {
                let p = m.param(&name).unwrap();
                let layers = 0..p.count.unwrap_or(1);
                got.extend(layers.map(|i| (name.replace("{i}", &i.to_string()), m.shape(p))));
            }
            assert_eq!(got, want, "{file} {program}");
            let config: serde_json::Value =
                serde_json::from_str(&ir::artifact::fill_in(&m.export[program], &m.run_sizes)).unwrap();
            let theirs: serde_json::Value =
                serde_json::from_slice(&std::fs::read(path.join("config.json")).unwrap()).unwrap();
            for field in [
                "architectures",
                "model_type",
                "conv_dim",
                "conv_kernel",
                "conv_stride",
                "conv_bias",
                "feat_extract_norm",
                "do_stable_layer_norm",
                "hidden_size",
                "num_attention_heads",
                "num_hidden_layers",
                "intermediate_size",
                "codevector_dim",
                "proj_codevector_dim",
                "num_codevectors_per_group",
                "num_codevector_groups",
                "num_conv_pos_embeddings",
                "num_conv_pos_embedding_groups",
                "vocab_size",
                "layer_norm_eps",
                "num_negatives",
            ] {
                assert_eq!(config[field], theirs[field], "{file} {program} {field}");
            }
        }
    }
}

#[test]
fn parameters_start_as_published() {
    let m = model("base.ron", &[]);
    let init = |name: &str| m.param(name).unwrap().init.clone();
    let std = |v: f64| Init::Normal { std: v };
    assert_eq!(
        init("wav2vec2.feature_extractor.conv_layers.1.conv.weight"),
        std((2.0f64 / (512.0 * 3.0)).sqrt())
    );
    assert_eq!(init("wav2vec2.encoder.layers.{i}.attention.q_proj.weight"), std(0.02));
    let conv = "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight";
    assert_eq!(
        init(&format!("{conv}.original1")),
        std((4.0f64 / (128.0 * 768.0)).sqrt())
    );
    assert_eq!(
        init(&format!("{conv}.original0")),
        Init::NormOf {
            param: format!("{conv}.original1"),
            axis: 2
        }
    );
    let bound = 1.0 / 512f64.sqrt();
    assert_eq!(
        init("wav2vec2.feature_projection.projection.bias"),
        Init::Uniform {
            low: -bound,
            high: bound
        }
    );
    assert_eq!(init("quantizer.weight_proj.weight"), std(1.0));
    assert_eq!(init("quantizer.codevectors"), Init::Uniform { low: 0.0, high: 1.0 });
    assert_eq!(init("lm_head.weight"), Init::XavierUniform);
}

/// A repeated layer is one body; each use of random numbers has a site of its own; inference draws none.
#[test]
fn graphs_hold_the_layer_once_and_random_sites_differ() {
    let m = model("base.ron", &[]);
    let sites = |g: &ir::graph::Graph| -> Vec<u32> {
        let of = |op: &Op| match op {
            Op::Dropout(d) => vec![d.site],
            Op::Repeat(r) => r
                .body
                .nodes
                .iter()
                .filter_map(|n| match &n.op {
                    Op::Dropout(d) => Some(d.site),
                    _ => None,
                })
                .collect(),
            _ => vec![],
        };
        g.nodes.iter().flat_map(|n| of(&n.op)).collect()
    };
    let all = sites(&m.program("pretrain").unwrap().graph);
    assert_eq!(all.len(), 7, "input, features, before the layers, and four in a layer");
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    for quiet in ["validate_pretrain", "validate_finetune", "transcribe"] {
        assert!(sites(&m.program(quiet).unwrap().graph).is_empty(), "{quiet}");
    }
    let repeats = m
        .program("transcribe")
        .unwrap()
        .graph
        .nodes
        .iter()
        .filter(|n| matches!(n.op, Op::Repeat(_)))
        .count();
    assert_eq!(repeats, 1);
}

#[test]
fn training_programs_train_what_they_should() {
    let m = model("tiny.ron", &[]);
    let trains = |p: &str| m.program(p).unwrap().trains.clone();
    assert_eq!(trains("pretrain").len(), read_by(m.program("pretrain").unwrap()).len());
    assert!(trains("finetune").iter().all(|n| !n.contains("feature_extractor")));
    assert!(
        trains("finetune")
            .iter()
            .any(|n| n == "wav2vec2.feature_projection.layer_norm.weight")
    );
    assert_eq!(trains("finetune_head"), ["lm_head.weight", "lm_head.bias"]);
    assert!(trains("transcribe").is_empty());
}

/// Ops of a kind in a graph and the bodies of its repeats.
fn count(g: &Graph, kind: fn(&Op) -> bool) -> usize {
    let inside = |op: &Op| match op {
        Op::Repeat(r) => count(&r.body, kind),
        op => kind(op) as usize,
    };
    g.nodes.iter().map(|n| inside(&n.op)).sum()
}

#[test]
fn no_backward_pass_computes_attention_again() {
    let m = model("tiny.ron", &[]);
    for name in ["pretrain", "finetune"] {
        let g = graph_after("rematerialise", &m, name);
        let counts = [
            count(&g, |op| matches!(op, Op::Attention(_))),
            count(&g, |op| matches!(op, Op::AttentionGrad(_))),
        ];
        assert_eq!(counts, [1, 1], "{name}: forward, backward");
    }
}

#[test]
fn set_changes_constants_and_all_that_follows_from_them() {
    let m = model(
        "tiny.ron",
        &[("hidden", "64"), ("ffn", "hidden * 2"), ("feature_l2", "0")],
    );
    let weight = m.param("wav2vec2.encoder.layers.{i}.feed_forward.output_dense.weight");
    assert_eq!(m.shape(weight.unwrap()), [64, 128]);
    assert!(
        m.constants
            .iter()
            .any(|c| c.name == "feature_l2" && c.value.number() == Some(0.0))
    );
}

/// A model file with the files that it extends, in which words have become others.
fn renamed(files: &[&str], words: &[(String, String)]) -> Model {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let path = dir.path().join(Path::new(file).file_name().unwrap());
        std::fs::write(path, with_words(&text, words)).unwrap();
    }
    let path = dir.path().join(Path::new(files[0]).file_name().unwrap());
    frontend::load(&path, &[], &runtime::HOST).unwrap_or_else(|e| panic!("{e}"))
}

/// Replaces words.
fn with_words(text: &str, words: &[(String, String)]) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        out += &rest[..start];
        rest = &rest[start..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        out += words.iter().find(|(from, _)| from == word).map_or(word, |(_, to)| to);
        rest = &rest[end..];
    }
    out + rest
}

/// What the passes make of a model, under its own names.
fn passed(model: &Model, settings: &Settings, words: &[(String, String)]) -> Programs {
    let (mut module, _) = compiler::compile::module(model);
    let passes = pipeline::passes(settings.target);
    pipeline::run(&mut module, settings, &passes, &mut |_, _| ()).unwrap_or_else(|e| panic!("{e}"));
    let (programs, kernels) = module.into_programs();
    let back: Vec<(String, String)> = words.iter().map(|(from, to)| (to.clone(), from.clone())).collect();
    let text = with_words(&program_text::print(&programs, &kernels.list), &back);
    program_text::parse(&text).unwrap_or_else(|e| panic!("{e}"))
}

/// The compiler knows no symbol, program or task by its name.
#[test]
fn names_do_not_matter() {
    // In another order than those that they take the place of.
    let sizes = [
        ("B", "utterances"),
        ("N", "points"),
        ("M", "hidden_frames"),
        ("L", "characters"),
        ("vocab", "alphabet"),
    ];
    let target = Target::parse("x86-64-v4-bf16").unwrap();
    for files in [
        &["models/tiny.ron", "models/base.ron"][..],
        &["tests/models/classifier.ron"],
    ] {
        let plain = w2vc_tests::native::model(files[0], &[]);
        let programs = plain.programs.iter().map(|p| p.name.clone());
        let tasks = plain.tasks.iter().map(|t| t.name.clone());
        let names: BTreeSet<String> = programs.chain(tasks).collect();
        let sizes = sizes.iter().map(|(from, to)| (from.to_string(), to.to_string()));
        let names = names.into_iter().map(|n| (n.clone(), format!("other_{n}")));
        let words: Vec<(String, String)> = sizes.chain(names).collect();
        let other = renamed(files, &words);
        assert!(
            other
                .symbols
                .iter()
                .all(|s| plain.symbols.iter().all(|p| p.name != s.name))
        );
        assert!(other.programs.iter().all(|p| p.name.starts_with("other_")));
        assert!(other.tasks.iter().all(|t| t.name.starts_with("other_")));
        for settings in [
            cpu_settings(&target, Arithmetic::Int8Bf16),
            gpu_settings(Precision::Bf16),
        ] {
            let (want, got) = (passed(&plain, &settings, &[]), passed(&other, &settings, &words));
            for (w, g) in want.kernels.iter().zip(&got.kernels) {
                assert!(w == g, "{}:\n{}\nunder other names:\n{}", w.0, w.1, g.1);
            }
            assert!(want == got, "{} has other programs under other names", files[0]);
        }
    }
}
