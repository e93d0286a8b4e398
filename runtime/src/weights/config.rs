//! Whether a folder's config.json describes the network that was compiled.

use serde_json::{Value, json};

/// Fields that change results without changing a shape, and those whose shapes tell less than their name.
const DECISIVE: &[&str] = &[
    "model_type",
    "feat_extract_norm",
    "feat_extract_activation",
    "do_stable_layer_norm",
    "conv_dim",
    "conv_stride",
    "conv_kernel",
    "conv_bias",
    "num_conv_pos_embeddings",
    "num_conv_pos_embedding_groups",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "layer_norm_eps",
    "add_adapter",
    "adapter_attn_dim",
];

fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
        _ => a == b,
    }
}

/// The first field in which both speak and differ, with both values: (field, folder's, model's).
pub(crate) fn difference(folder: &Value, model: &Value) -> Option<(&'static str, String, String)> {
    DECISIVE.iter().find_map(|field| {
        let (a, b) = (folder.get(*field)?, model.get(*field)?);
        (!same(a, b)).then(|| (*field, a.to_string(), b.to_string()))
    })
}

/// What transformers takes for a field of a wav2vec 2.0 model that config.json leaves out or gives as null.
fn default_of(field: &str) -> Value {
    match field {
        "model_type" => json!("wav2vec2"),
        "feat_extract_norm" => json!("group"),
        "feat_extract_activation" | "hidden_act" => json!("gelu"),
        "do_stable_layer_norm" | "conv_bias" | "add_adapter" => json!(false),
        "conv_dim" => json!([512, 512, 512, 512, 512, 512, 512]),
        "conv_stride" => json!([5, 2, 2, 2, 2, 2, 2]),
        "conv_kernel" => json!([10, 3, 3, 3, 3, 2, 2]),
        "num_conv_pos_embeddings" => json!(128),
        "num_conv_pos_embedding_groups" => json!(16),
        "hidden_size" => json!(768),
        "num_hidden_layers" | "num_attention_heads" => json!(12),
        "intermediate_size" => json!(3072),
        "layer_norm_eps" => json!(1e-5),
        "num_codevectors_per_group" => json!(320),
        "num_codevector_groups" => json!(2),
        "codevector_dim" | "proj_codevector_dim" => json!(256),
        "num_negatives" => json!(100),
        "contrastive_logits_temperature" | "diversity_loss_weight" => json!(0.1),
        _ => Value::Null,
    }
}

/// A folder's value of a field, its own or transformers' default.
pub fn field(folder: &Value, name: &str) -> Value {
    match folder.get(name) {
        Some(own) if !own.is_null() => own.clone(),
        _ => default_of(name),
    }
}

/// The first field in which a folder's config.json contradicts what was compiled, with both values. Fields that the model does
/// not tell are not compared, save those that add to the network: a model that is silent on them has none.
pub(crate) fn disagreement(folder: &Value, model: &Value) -> Option<(&'static str, String, String)> {
    DECISIVE.iter().find_map(|field| {
        let adds = matches!(*field, "add_adapter" | "adapter_attn_dim");
        let own = model.get(*field).cloned().or_else(|| adds.then(|| default_of(field)))?;
        let given = self::field(folder, field);
        (!same(&given, &own)).then(|| (*field, given.to_string(), own.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contradiction_is_named_and_a_default_is_no_contradiction() {
        let model = json!({"hidden_size": 768, "layer_norm_eps": 1e-5, "add_adapter": false});
        assert_eq!(disagreement(&json!({}), &model), None);
        assert_eq!(
            disagreement(&json!({"hidden_size": null, "vocab_size": 7}), &model),
            None
        );
        let told = |folder: Value| disagreement(&folder, &model).unwrap();
        assert_eq!(
            told(json!({"hidden_size": 1024})),
            ("hidden_size", "1024".into(), "768".into())
        );
        assert_eq!(told(json!({"layer_norm_eps": 1e-3})).0, "layer_norm_eps");
        assert_eq!(told(json!({"add_adapter": true})).0, "add_adapter");
        assert_eq!(told(json!({"adapter_attn_dim": 16})).0, "adapter_attn_dim");
        let large = json!({"hidden_size": 1024});
        assert_eq!(disagreement(&json!({}), &large).unwrap().1, "768");
    }
}
