//! Tasks of model files, as the runtime gets them.

mod host;

use host::HOST;
use ir::artifact::SettingValue::{self, Flag, Number, Text};
use ir::task::{Amount, Arg, Criterion, Does, Gives, Judge, Task, Training};
use std::path::Path;
use w2vc_frontend::{Model, load};

fn model(file: &str, sets: &[(&str, &str)]) -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let sets: Vec<(String, String)> = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    load(&path, &sets, &HOST).unwrap_or_else(|e| panic!("{e}"))
}

fn task<'a>(m: &'a Model, name: &str) -> &'a Task {
    m.tasks.iter().find(|t| t.name == name).unwrap()
}

fn training<'a>(m: &'a Model, name: &str) -> &'a Training {
    match &task(m, name).does {
        Does::Train(t) => t,
        Does::Predict(_) => panic!("{name} predicts"),
    }
}

fn value<'a>(m: &'a Model, name: &str, setting: &str) -> &'a SettingValue {
    let task = task(m, name);
    let found = task.settings.iter().find(|s| s.name == setting);
    &found.unwrap_or_else(|| panic!("{name} has no {setting}")).value
}

fn setting(name: &str) -> Amount {
    Amount::Setting(name.into())
}

#[test]
fn base_has_its_tasks() {
    let m = model("models/base.ron", &[]);
    let names: Vec<&str> = m.tasks.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["pretrain", "finetune", "transcribe", "features"]);
    let pretrain = training(&m, "pretrain");
    assert_eq!(pretrain.phases.len(), 1);
    assert_eq!(pretrain.best, [Criterion::Least("contrastive".into())]);
    assert!(
        pretrain.warn[1]
            .remedy
            .ends_with("compiled with --set feature_grad_mult=1 --set feature_l2=1 (docs/results.md)")
    );
    let finetune = training(&m, "finetune");
    assert_eq!(finetune.phases[0].until, Some(setting("freeze_updates")));
    assert_eq!(finetune.phases[1].until, None);
    assert_eq!(
        finetune.judge,
        Some(Judge::Text {
            logits: "logits".into()
        })
    );
    let feed = |name: &str| &task(&m, "pretrain").feeds.iter().find(|(n, _)| n == name).unwrap().1;
    let frames = m.sizes.iter().find(|(n, _)| n == "T").unwrap().1.clone();
    assert_eq!(feed("wave").args, [Arg::Size(frames)]);
    assert_eq!(
        feed("negatives").args,
        [Arg::Input("mask".into()), Arg::Amount(setting("negatives"))]
    );
    match &task(&m, "features").does {
        Does::Predict(p) => assert_eq!(
            p.gives,
            Gives::States {
                states: "hidden".into(),
                keep: "keep".into()
            }
        ),
        Does::Train(_) => panic!("features trains"),
    }
}

#[test]
fn settings_are_the_engines_and_the_tasks_own_in_order_of_name() {
    let m = model("models/base.ron", &[("num_negatives", "7")]);
    for t in &m.tasks {
        assert!(t.settings.is_sorted_by(|a, b| a.name < b.name), "{}", t.name);
        assert!(t.settings.iter().all(|s| s.range.holds(&s.value) && !s.doc.is_empty()));
    }
    assert_eq!(
        value(&m, "pretrain", "negatives"),
        &Number(7.0),
        "an expression of constants"
    );
    assert_eq!(value(&m, "pretrain", "eps"), &Number(1e-6), "another default");
    assert_eq!(value(&m, "finetune", "eps"), &Number(1e-8));
    assert_eq!(value(&m, "pretrain", "on_nan"), &Text("skip".into()), "the engine's");
    assert_eq!(value(&m, "finetune", "fold_case"), &Flag(true), "it is judged by texts");
    let has = |name: &str, setting: &str| task(&m, name).settings.iter().any(|s| s.name == setting);
    assert!(!has("pretrain", "fold_case") && !has("transcribe", "updates"));
}

#[test]
fn recipes_of_extending_files_have_the_last_word() {
    let (large, tiny) = (model("models/large.ron", &[]), model("models/tiny.ron", &[]));
    assert_eq!(value(&large, "pretrain", "lr"), &Number(3e-4));
    assert_eq!(value(&large, "features", "normalize"), &Flag(true));
    assert_eq!(value(&tiny, "pretrain", "negatives"), &Number(50.0));
    assert_eq!(value(&tiny, "finetune", "freeze_updates"), &Number(100.0));
    let lr = task(&tiny, "pretrain")
        .settings
        .iter()
        .find(|s| s.name == "lr")
        .unwrap();
    assert_eq!((&lr.value, lr.doc.as_str()), (&Number(2e-3), "peak learning rate"));
    assert_eq!(model("models/scratch.ron", &[]).tasks.len(), 4);
}

/// A file that extends BASE with a task of the same name says only what is other.
#[test]
fn tasks_merge_field_by_field_and_their_maps_key_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own.ron");
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/base.ron");
    let text = format!(
        r#"(
            extends: {:?},
            tasks: {{
                "pretrain": Train(
                    settings: {{
                        "lr": 1e-3,
                        "beta1": (0.5, "other"),
                        "warmup": None, "collapse_perplexity": None, "layerdrop": None,
                        "rise": Count(7, "updates of rising rate"),
                        "mask_length": Size(5, "fewer frames"),
                    }},
                    feeds: {{ "keep": FirstLayers }},
                    report: {{ "perplexity": None, "wrong": Share("correct") }},
                    schedule: WarmupLinear(peak: "lr", warmup: "rise"),
                    warn: [],
                ),
                "transcribe": Predict(about: "Hear."),
                "features": None,
            }},
            recipes: {{ "pretrain": {{ "lr": 2e-3 }} }},
        )"#,
        base.canonicalize().unwrap()
    );
    std::fs::write(&path, text).unwrap();
    let m = load(&path, &[], &HOST).unwrap_or_else(|e| panic!("{e}"));
    let names: Vec<&str> = m.tasks.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["pretrain", "finetune", "transcribe"]);
    assert_eq!(value(&m, "pretrain", "lr"), &Number(2e-3), "the recipe's");
    assert_eq!(value(&m, "pretrain", "beta1"), &Number(0.5));
    assert_eq!(value(&m, "pretrain", "mask_length"), &Number(5.0));
    assert_eq!(value(&m, "pretrain", "mask_prob"), &Number(0.65), "BASE's");
    let pretrain = task(&m, "pretrain");
    assert!(pretrain.settings.iter().all(|s| s.name != "warmup"));
    let doc = |name: &str| &pretrain.settings.iter().find(|s| s.name == name).unwrap().doc;
    assert_eq!(
        (doc("lr").as_str(), doc("beta1").as_str()),
        ("peak learning rate", "other")
    );
    assert_eq!(pretrain.about, "Learn from recordings without texts.");
    let kinds: Vec<&str> = pretrain.feeds.iter().map(|(_, f)| f.kind.as_str()).collect();
    assert_eq!(kinds.len(), 9);
    assert_eq!(kinds[8], "FirstLayers");
    let t = training(&m, "pretrain");
    let report: Vec<&str> = t.report.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(report[4..], ["accuracy", "masked_frames", "wrong"]);
    assert!(t.warn.is_empty() && t.exports == ["*", "!lm_head.*"]);
    assert_eq!(task(&m, "transcribe").about, "Hear.");
}

/// Whoever cannot carry tasks out reads the programs alone.
#[test]
fn programs_load_without_a_host() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/base.ron");
    let m = w2vc_frontend::load_programs(&path, &[]).unwrap_or_else(|e| panic!("{e}"));
    assert!(m.tasks.is_empty() && m.program("pretrain").is_some());
}

#[test]
fn a_classifier_is_trained_and_predicts() {
    let m = model("tests/models/classifier.ron", &[]);
    let label = Judge::Label {
        logits: "logits".into(),
    };
    assert_eq!(training(&m, "train").judge, Some(label));
    let classes = Arg::Size(ir::dim::Dim::sym("classes"));
    assert_eq!(task(&m, "train").feeds[2].1.args, [classes]);
    assert_eq!(value(&m, "classify", "normalize"), &Flag(true));
    assert!(w2vc_frontend::check_report(&m).contains("task `classify`: Print the label of each recording.\n"));
}
