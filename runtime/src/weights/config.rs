//! Whether a folder's config.json describes the network that was compiled. Which fields tell, and what they are where it is
//! silent, the model says.

use ir::artifact::{Artifact, ConfigFacts};
use serde_json::{Map, Value};

/// Whether two values of a field are the same, numbers up to how they are written.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
            _ => a == b,
        },
    }
}

/// The fields that tell, with their defaults.
fn defaults(facts: &ConfigFacts) -> Map<String, Value> {
    serde_json::from_str(&facts.defaults).unwrap_or_default()
}

/// The first telling field in which both speak and differ, with both values: (field, the one's, the other's).
pub(crate) fn difference(facts: &ConfigFacts, one: &Value, other: &Value) -> Option<(String, String, String)> {
    defaults(facts).into_iter().find_map(|(field, _)| {
        let (a, b) = (one.get(&field)?, other.get(&field)?);
        let (a, b) = (a.to_string(), b.to_string());
        (!same(one.get(&field)?, other.get(&field)?)).then_some((field, a, b))
    })
}

/// The first field in which a folder's config.json contradicts what was compiled, with both values.
pub(super) fn disagreement(folder: &Value, artifact: &Artifact) -> Option<(String, String, String)> {
    let texts = artifact.export.values();
    let model = texts
        .filter_map(|t| serde_json::from_str::<Value>(t).ok())
        .next()
        .unwrap_or_default();
    let given = |v: Option<&Value>| v.filter(|v| !v.is_null()).cloned();
    defaults(&artifact.config).into_iter().find_map(|(field, default)| {
        let own = given(model.get(&field)).unwrap_or_else(|| default.clone());
        let given = given(folder.get(&field)).unwrap_or(default);
        (!same(&given, &own)).then(|| (field, given.to_string(), own.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;
    use serde_json::json;

    #[test]
    fn a_contradiction_is_named_and_a_default_is_no_contradiction() {
        let compiled = |config: Value| {
            let mut artifact = fake::artifact();
            artifact.export.insert("finetune".into(), config.to_string());
            artifact
        };
        let model = compiled(json!({"hidden_size": 768, "layer_norm_eps": 1e-5, "add_adapter": false}));
        assert_eq!(disagreement(&json!({}), &model), None);
        let harmless = json!({"hidden_size": null, "vocab_size": 7});
        assert_eq!(disagreement(&harmless, &model), None);
        let told = |folder: Value| disagreement(&folder, &model).unwrap();
        assert_eq!(
            told(json!({"hidden_size": 1024})),
            ("hidden_size".into(), "1024".into(), "768".into())
        );
        assert_eq!(told(json!({"layer_norm_eps": 1e-3})).0, "layer_norm_eps");
        assert_eq!(told(json!({"add_adapter": true})).0, "add_adapter");
        assert_eq!(told(json!({"adapter_attn_dim": 16})).0, "adapter_attn_dim");
        // A model that is silent has what transformers has.
        assert_eq!(told(json!({"conv_stride": [5, 2, 2, 2, 2, 2]})).0, "conv_stride");
        let large = compiled(json!({"hidden_size": 1024}));
        assert_eq!(disagreement(&json!({}), &large).unwrap().1, "768");
    }
}
