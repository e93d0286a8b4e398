//! Whether a folder's config.json describes the network that was compiled.

use serde_json::Value;

/// Fields that change results without changing a shape, and those whose shapes tell less than their name.
const DECISIVE: &[&str] = &[
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
