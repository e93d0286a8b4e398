//! Model files for configurations of others, held against what they then say of themselves.

use serde_json::{Value, json};
use w2vc_compiler::like::{BUILT_IN, MADE, describe};

/// The model of a configuration, from files in a folder of their own.
fn model(config: &Value) -> frontend::Model {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("models")).unwrap();
    for (name, text) in BUILT_IN {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let text = describe(config, Some(true), "own", "a/config.json").unwrap().text;
    let path = dir.path().join("own.ron");
    std::fs::write(&path, &text).unwrap();
    frontend::load(&path, &[], &runtime::HOST).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn exported(model: &frontend::Model) -> Value {
    serde_json::from_str(&model.export["finetune"]).unwrap()
}

/// A parameter's shape as text.
fn shape(model: &frontend::Model, name: &str) -> String {
    let param = model.params.iter().find(|p| p.name == name);
    let param = param.unwrap_or_else(|| panic!("no {name}"));
    param.shape.iter().map(|d| d.to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn an_empty_configuration_is_base_and_a_large_one_is_large() {
    let own = model(&json!({}));
    assert_eq!(&*own.run_sizes[0].name, "vocab");
    assert_eq!(exported(&own)["num_hidden_layers"], 12);
    let made = describe(&json!({}), None, "own", "x").unwrap();
    assert_eq!((made.nearest.as_str(), made.needs), ("base", vec!["models/base.ron"]));
    assert!(
        made.changed.is_empty() && !made.text.contains("constants"),
        "{}",
        made.text
    );
    let large = json!({
        "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
        "codevector_dim": 768, "proj_codevector_dim": 768, "feat_extract_norm": "layer", "conv_bias": true,
        "do_stable_layer_norm": true, "vocab_size": 40,
    });
    let made = describe(&large, None, "own", "x").unwrap();
    assert_eq!(
        (made.nearest.as_str(), made.changed),
        ("large", vec!["vocab 40".to_string()])
    );
    let own = model(&large);
    for (field, value) in large.as_object().unwrap().iter().filter(|(f, _)| *f != "vocab_size") {
        assert_eq!(&exported(&own)[field], value, "{field}");
    }
}

/// Every mixture of norms and biases, and convolutions of other numbers: what the model says of itself is what was given.
#[test]
fn what_is_described_says_the_same_of_itself() {
    for (norm, bias, stable) in [
        ("group", false, false),
        ("group", true, false),
        ("layer", false, false),
        ("layer", true, false),
    ]
    .into_iter()
    .flat_map(|(n, b, _)| [(n, b, false), (n, b, true)])
    {
        let config = json!({
            "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
            "conv_dim": [4, 4, 8], "conv_kernel": [10, 3, 2], "conv_stride": [5, 2, 2], "conv_bias": bias,
            "feat_extract_norm": norm, "do_stable_layer_norm": stable, "layer_norm_eps": 1e-3,
            "num_conv_pos_embeddings": 5, "num_conv_pos_embedding_groups": 3, "num_codevector_groups": 3,
            "num_codevectors_per_group": 6, "codevector_dim": 12, "proj_codevector_dim": 10, "num_negatives": 7,
        });
        let own = model(&config);
        for (field, value) in config.as_object().unwrap() {
            assert_eq!(&exported(&own)[field], value, "{field} of {norm} {bias} {stable}");
        }
        let conv = "wav2vec2.feature_extractor.conv_layers";
        assert_eq!(shape(&own, &format!("{conv}.2.conv.weight")), "8 4 2");
        let has = |name: String| own.params.iter().any(|p| p.name == name);
        assert_eq!(has(format!("{conv}.1.layer_norm.weight")), norm == "layer");
        assert_eq!(has(format!("{conv}.0.conv.bias")), bias);
    }
}

/// Every field that decides, of the relatives' published configurations: their models say of themselves what they are.
#[test]
fn relatives_are_known_by_their_kind() {
    for (kind, config, nearest) in [
        ("hubert", json!({}), "hubert-base"),
        (
            "hubert",
            json!({"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
                "conv_bias": true, "feat_extract_norm": "layer", "do_stable_layer_norm": true}),
            "hubert-large",
        ),
        ("wavlm", json!({"num_buckets": 64}), "wavlm-base"),
        (
            "data2vec-audio",
            json!({"conv_pos_kernel_size": 9}),
            "data2vec-audio-base",
        ),
        ("unispeech-sat", json!({}), "unispeech-sat"),
        ("sew", json!({"hidden_size": 512, "num_attention_heads": 8}), "sew"),
        (
            "wav2vec2-conformer",
            json!({"position_embeddings_type": "rotary"}),
            "conformer-rotary",
        ),
        ("wav2vec2-conformer", json!({}), "conformer-relative"),
        (
            "wav2vec2",
            json!({"adapter_attn_dim": 16, "hidden_size": 1280, "num_hidden_layers": 48,
            "intermediate_size": 5120, "num_attention_heads": 16, "feat_extract_norm": "layer", "conv_bias": true,
            "do_stable_layer_norm": true}),
            "mms",
        ),
    ] {
        let mut config = config;
        config["model_type"] = json!(kind);
        let made = describe(&config, None, "own", "x").unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert_eq!(made.nearest, nearest, "{kind}");
        let own = model(&config);
        for (field, value) in config.as_object().unwrap() {
            assert_eq!(&exported(&own)[field], value, "{field} of {kind}");
        }
    }
    let told = |config: Value| describe(&config, None, "own", "x").unwrap_err().to_string();
    let error = told(json!({"model_type": "hubert", "feat_proj_layer_norm": false}));
    assert!(error.starts_with("`feat_proj_layer_norm` is false"), "{error}");
}

#[test]
fn what_cannot_be_described_is_refused_by_the_name_of_its_field() {
    for (field, value) in [
        ("model_type", json!("whisper")),
        ("add_adapter", json!(true)),
        ("adapter_attn_dim", json!("wide")),
        ("hidden_act", json!("mish")),
        ("feat_extract_activation", json!("elu")),
        ("use_weighted_layer_sum", json!(true)),
        ("architectures", json!(["Wav2Vec2ForSequenceClassification"])),
        ("feat_extract_norm", json!("batch")),
        ("hidden_size", json!(770)),
        ("hidden_size", json!("wide")),
        ("num_hidden_layers", json!(0)),
        ("codevector_dim", json!(257)),
        ("conv_kernel", json!([10, 3])),
        ("conv_stride", json!([5, -2, 2, 2, 2, 2, 2])),
        ("layer_norm_eps", json!("small")),
        ("do_stable_layer_norm", json!("yes")),
    ] {
        let error = describe(&json!({field: value}), None, "own", "x")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(&format!("`{field}` is {value}")), "{error}");
    }
    // A name is no way out of its comment.
    let text = describe(&json!({}), None, "own", "a\n(evil)").unwrap().text;
    assert!(text.starts_with(&format!("{MADE} from a?(evil)")));
}
