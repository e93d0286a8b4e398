//! Checkpoints of fairseq: its names of parameters, and what its configuration says of the network and its input.

use super::torch::TorchFile;
use super::torch::{Pickle, Value as Picked};
use serde_json::{Map, Value, json};

/// What a checkpoint says besides its tensors.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    /// As in a config.json; fields that the checkpoint does not tell are absent.
    pub config: Map<String, Value>,
    pub normalize: Option<bool>,
    /// Tokens of its letters, in their order.
    pub tokens: Option<Vec<String>>,
}

/// Whether these are fairseq's names of a wav2vec 2.0 model's parameters.
pub(super) fn recognise(names: &[String]) -> bool {
    names.iter().any(|n| n.contains("encoder.pos_conv.0."))
}

/// Beginnings of names: of the model inside one that was fine-tuned, and of that model's head.
const INSIDE: [&str; 2] = ["w2v_encoder.w2v_model.", "w2v_model."];
const HEADS: [&str; 2] = ["w2v_encoder.proj.", "proj."];

/// Names in the pretrained model and here, by their beginnings.
const PARTS: [(&str, &str); 7] = [
    ("mask_emb", "wav2vec2.masked_spec_embed"),
    ("post_extract_proj.", "wav2vec2.feature_projection.projection."),
    ("layer_norm.", "wav2vec2.feature_projection.layer_norm."),
    ("encoder.pos_conv.0.", "wav2vec2.encoder.pos_conv_embed.conv."),
    ("encoder.layer_norm.", "wav2vec2.encoder.layer_norm."),
    ("quantizer.vars", "quantizer.codevectors"),
    ("final_proj.", "project_hid."),
];

/// Parts of a layer.
const LAYER: [(&str, &str); 5] = [
    ("self_attn.", "attention."),
    ("self_attn_layer_norm.", "layer_norm."),
    ("fc1.", "feed_forward.intermediate_dense."),
    ("fc2.", "feed_forward.output_dense."),
    ("final_layer_norm.", "final_layer_norm."),
];

/// The name that a parameter of fairseq goes by here.
pub(super) fn rename(name: &str) -> String {
    if let Some(rest) = HEADS.iter().find_map(|h| name.strip_prefix(h)) {
        return format!("lm_head.{rest}");
    }
    let bare = INSIDE.iter().find_map(|p| name.strip_prefix(p)).unwrap_or(name);
    if let Some(rest) = bare.strip_prefix("feature_extractor.conv_layers.") {
        return convolution(rest).unwrap_or_else(|| bare.to_string());
    }
    if let Some((i, part)) = bare.strip_prefix("encoder.layers.").and_then(|r| r.split_once('.')) {
        let known = LAYER
            .iter()
            .find_map(|(from, to)| Some(format!("{to}{}", part.strip_prefix(from)?)));
        return format!("wav2vec2.encoder.layers.{i}.{}", known.as_deref().unwrap_or(part));
    }
    let known = PARTS
        .iter()
        .find_map(|(from, to)| Some(format!("{to}{}", bare.strip_prefix(from)?)));
    known.unwrap_or_else(|| bare.to_string())
}

/// `I.0.weight` is a convolution, `I.2.weight` its group norm, `I.2.1.weight` its layer norm.
fn convolution(rest: &str) -> Option<String> {
    let (i, part) = rest.split_once('.')?;
    let part = match part.strip_prefix("0.") {
        Some(own) => format!("conv.{own}"),
        None => {
            let norm = part.strip_prefix("2.")?;
            format!("layer_norm.{}", norm.strip_prefix("1.").unwrap_or(norm))
        }
    };
    Some(format!("wav2vec2.feature_extractor.conv_layers.{i}.{part}"))
}

/// What a checkpoint's configuration says: `cfg`, or `args` as fairseq wrote before 2021.
pub(super) fn facts(file: &TorchFile) -> Facts {
    let (pickle, root) = file.saying();
    let said = Said { pickle };
    let Some(whole) = ["cfg", "args"].iter().find_map(|key| said.get(root, key)) else {
        return Facts {
            tokens: said.tokens(root),
            ..Facts::default()
        };
    };
    let own = said.get(whole, "model").unwrap_or(whole);
    // A fine-tuned model holds the configuration of the one that it began with.
    let model = match said.get(own, "w2v_args") {
        Some(inner) => said.get(inner, "model").unwrap_or(inner),
        None => own,
    };
    let task = said.get(whole, "task").unwrap_or(whole);
    let normalize = said.flag(task, "normalize").or_else(|| said.flag(own, "normalize"));
    Facts {
        config: said.config(model),
        normalize,
        tokens: said.tokens(root),
    }
}

struct Said<'a> {
    pickle: &'a Pickle,
}

impl Said<'_> {
    /// What is under a name, where it is anything. The containers of omegaconf have their values one level deeper.
    fn get(&self, of: Picked, name: &str) -> Option<Picked> {
        let inside = self.pickle.get(of, "_content").unwrap_or(of);
        let value = self.pickle.get(inside, name)?;
        let value = self.pickle.get(value, "_val").unwrap_or(value);
        (value != Picked::None).then_some(value)
    }

    fn flag(&self, of: Picked, name: &str) -> Option<bool> {
        match self.get(of, name)? {
            Picked::Bool(flag) => Some(flag),
            _ => None,
        }
    }

    fn text(&self, of: Picked, name: &str) -> Option<&str> {
        self.pickle.text(self.get(of, name)?)
    }

    fn config(&self, model: Picked) -> Map<String, Value> {
        let mut config = Map::new();
        let kind = self
            .text(model, "_name")
            .or_else(|| self.text(model, "arch"))
            .unwrap_or_default();
        let relative = [("hubert", "hubert"), ("data2vec", "data2vec-audio"), ("wavlm", "wavlm")]
            .iter()
            .find_map(|(part, name)| kind.contains(part).then_some(*name));
        if let Some(name) = relative {
            config.insert("model_type".into(), json!(name));
        }
        match self.text(model, "extractor_mode") {
            Some("default") => drop(config.insert("feat_extract_norm".into(), json!("group"))),
            Some("layer_norm") => drop(config.insert("feat_extract_norm".into(), json!("layer"))),
            _ => {}
        }
        for (own, field) in [("layer_norm_first", "do_stable_layer_norm"), ("conv_bias", "conv_bias")] {
            if let Some(flag) = self.flag(model, own) {
                config.insert(field.into(), json!(flag));
            }
        }
        for (own, field) in COUNTS {
            if let Some(Picked::Int(n)) = self.get(model, own) {
                config.insert(field.into(), json!(n));
            }
        }
        // Code vectors are as wide as what they are compared with, unless something else is said.
        let width = |name: &str| match self.get(model, name) {
            Some(Picked::Int(n)) if n > 0 => Some(n),
            _ => None,
        };
        // 0 is the transformer's own width.
        let same = || self.get(model, "final_dim").and(width("encoder_embed_dim"));
        let projected = width("final_dim").or_else(same);
        for (field, n) in [
            ("proj_codevector_dim", projected),
            ("codevector_dim", width("latent_dim").or(projected)),
        ] {
            if let Some(n) = n {
                config.insert(field.into(), json!(n));
            }
        }
        if let Some(name) = self.text(model, "activation_fn") {
            config.insert("hidden_act".into(), json!(name));
        }
        if let Some(layers) = self.text(model, "conv_feature_layers").and_then(convolutions) {
            let column = |i: usize| json!(layers.iter().map(|l| l[i]).collect::<Vec<_>>());
            config.insert("conv_dim".into(), column(0));
            config.insert("conv_kernel".into(), column(1));
            config.insert("conv_stride".into(), column(2));
        }
        config
    }

    /// The letters, where the state of the task holds its dictionary.
    fn tokens(&self, root: Picked) -> Option<Vec<String>> {
        let dictionary = self.get(self.get(root, "task_state")?, "target_dictionary")?;
        let symbols = self.pickle.items(self.get(dictionary, "symbols")?);
        let tokens: Option<Vec<String>> = symbols.iter().map(|s| self.pickle.text(*s).map(String::from)).collect();
        tokens.filter(|t| !t.is_empty())
    }
}

/// Numbers that decide the network.
const COUNTS: [(&str, &str); 8] = [
    ("encoder_embed_dim", "hidden_size"),
    ("encoder_layers", "num_hidden_layers"),
    ("encoder_attention_heads", "num_attention_heads"),
    ("encoder_ffn_embed_dim", "intermediate_size"),
    ("conv_pos", "num_conv_pos_embeddings"),
    ("conv_pos_groups", "num_conv_pos_embedding_groups"),
    ("latent_vars", "num_codevectors_per_group"),
    ("latent_groups", "num_codevector_groups"),
];

/// The most convolutions that a list may stand for.
const MOST_LAYERS: usize = 64;

/// `[(512, 10, 5)] + [(512, 3, 2)] * 4`: channels, kernel and stride of every layer.
fn convolutions(text: &str) -> Option<Vec<[u64; 3]>> {
    let mut layers = vec![];
    for term in text.split('+') {
        let (list, times) = match term.rsplit_once('*') {
            Some((list, times)) => (list, times.trim().parse::<usize>().ok()?),
            None => (term, 1),
        };
        let inside = list.trim().strip_prefix('[')?.strip_suffix(']')?.replace(' ', "");
        let mut own = vec![];
        for layer in inside.split_inclusive("),") {
            let layer = layer.trim_end_matches(',').strip_prefix('(')?.strip_suffix(')')?;
            let numbers: Option<Vec<u64>> = layer.split(',').map(|n| n.parse().ok()).collect();
            own.push(<[u64; 3]>::try_from(numbers?).ok()?);
        }
        if times.checked_mul(own.len())? > MOST_LAYERS {
            return None;
        }
        (0..times).for_each(|_| layers.extend(own.iter().copied()));
    }
    Some(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_published_conversion() {
        for (from, to) in [
            ("mask_emb", "wav2vec2.masked_spec_embed"),
            ("layer_norm.weight", "wav2vec2.feature_projection.layer_norm.weight"),
            ("post_extract_proj.bias", "wav2vec2.feature_projection.projection.bias"),
            (
                "feature_extractor.conv_layers.0.0.weight",
                "wav2vec2.feature_extractor.conv_layers.0.conv.weight",
            ),
            (
                "feature_extractor.conv_layers.0.2.bias",
                "wav2vec2.feature_extractor.conv_layers.0.layer_norm.bias",
            ),
            (
                "feature_extractor.conv_layers.3.2.1.weight",
                "wav2vec2.feature_extractor.conv_layers.3.layer_norm.weight",
            ),
            (
                "feature_extractor.conv_layers.6.0.bias",
                "wav2vec2.feature_extractor.conv_layers.6.conv.bias",
            ),
            (
                "encoder.pos_conv.0.weight_g",
                "wav2vec2.encoder.pos_conv_embed.conv.weight_g",
            ),
            ("encoder.layer_norm.weight", "wav2vec2.encoder.layer_norm.weight"),
            (
                "encoder.layers.11.self_attn.q_proj.weight",
                "wav2vec2.encoder.layers.11.attention.q_proj.weight",
            ),
            (
                "encoder.layers.0.self_attn_layer_norm.bias",
                "wav2vec2.encoder.layers.0.layer_norm.bias",
            ),
            (
                "encoder.layers.0.fc1.weight",
                "wav2vec2.encoder.layers.0.feed_forward.intermediate_dense.weight",
            ),
            (
                "encoder.layers.0.fc2.bias",
                "wav2vec2.encoder.layers.0.feed_forward.output_dense.bias",
            ),
            (
                "encoder.layers.0.final_layer_norm.weight",
                "wav2vec2.encoder.layers.0.final_layer_norm.weight",
            ),
            ("quantizer.vars", "quantizer.codevectors"),
            ("quantizer.weight_proj.weight", "quantizer.weight_proj.weight"),
            ("project_q.weight", "project_q.weight"),
            ("final_proj.weight", "project_hid.weight"),
            ("w2v_encoder.proj.weight", "lm_head.weight"),
            ("w2v_encoder.w2v_model.mask_emb", "wav2vec2.masked_spec_embed"),
            (
                "w2v_encoder.w2v_model.encoder.layers.2.fc1.bias",
                "wav2vec2.encoder.layers.2.feed_forward.intermediate_dense.bias",
            ),
        ] {
            assert_eq!(rename(from), to);
        }
        assert_eq!(rename("label_embs_concat"), "label_embs_concat");
    }

    #[test]
    fn lists_of_convolutions_are_read_and_others_are_not_guessed() {
        let published = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]";
        let layers = convolutions(published).unwrap();
        assert_eq!(layers.len(), 7);
        assert_eq!(
            (layers[0], layers[4], layers[6]),
            ([512, 10, 5], [512, 3, 2], [512, 2, 2])
        );
        assert_eq!(convolutions("[(1, 2, 3), (4, 5, 6)]").unwrap(), [[1, 2, 3], [4, 5, 6]]);
        for odd in [
            "",
            "[(512, 10)]",
            "[(512, 10, 5)] * 99999999",
            "__import__('os')",
            "[(a, 1, 1)]",
        ] {
            assert_eq!(convolutions(odd), None, "{odd}");
        }
    }
}
