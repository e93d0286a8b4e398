//! A model file for the weights of others: what a config.json says of a network, in the model language.

use runtime::weights::field;
use serde_json::Value;
use std::fmt::Write;

/// The models that others extend, by where their files lie beside such a one.
pub const BUILT_IN: [(&str, &str); 2] = [
    ("models/base.ron", include_str!("../../models/base.ron")),
    ("models/large.ron", include_str!("../../models/large.ron")),
];

/// The first line of every file that is made here.
pub const MADE: &str = "// Made by `w2vc compile --like`";

/// Why no model file can be made.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Unlike {
    #[error("`{field}` is {value}: {why}")]
    Field {
        field: &'static str,
        value: String,
        why: &'static str,
    },
}

type Result<T> = std::result::Result<T, Unlike>;

/// What a field may be where only one value can be described.
const FIXED: [(&str, &str, &str); 6] = [
    (
        "model_type",
        "\"wav2vec2\"",
        "only wav2vec 2.0 is described by the models here",
    ),
    ("hidden_act", "\"gelu\"", "the models here have the exact GELU alone"),
    (
        "feat_extract_activation",
        "\"gelu\"",
        "the models here have the exact GELU alone",
    ),
    (
        "add_adapter",
        "false",
        "the models here have no adapter after the transformer",
    ),
    (
        "adapter_attn_dim",
        "null",
        "the models here have no adapters in the layers",
    ),
    (
        "use_weighted_layer_sum",
        "false",
        "the models here have no sum over layers",
    ),
];

/// Numbers of a network, and the constants of a model that they are.
const CONSTANTS: [(&str, &str); 13] = [
    ("hidden_size", "hidden"),
    ("num_hidden_layers", "layers"),
    ("num_attention_heads", "heads"),
    ("intermediate_size", "ffn"),
    ("num_conv_pos_embeddings", "pos_kernel"),
    ("num_conv_pos_embedding_groups", "pos_groups"),
    ("num_codevector_groups", "groups"),
    ("num_codevectors_per_group", "codes"),
    ("proj_codevector_dim", "proj_dim"),
    ("num_negatives", "num_negatives"),
    ("contrastive_logits_temperature", "contrastive_temperature"),
    ("diversity_loss_weight", "diversity_weight"),
    ("layer_norm_eps", "norm_eps"),
];

/// Of these the ones that need not be whole.
const REAL: [&str; 3] = [
    "contrastive_logits_temperature",
    "diversity_loss_weight",
    "layer_norm_eps",
];

/// The convolutions of the published models: kernels and strides.
const KERNELS: [i64; 7] = [10, 3, 3, 3, 3, 2, 2];
const STRIDES: [i64; 7] = [5, 2, 2, 2, 2, 2, 2];

/// Norms of the convolutions have this epsilon whatever the others have.
const CONV_EPS: f64 = 1e-5;

/// The text of a model file for a network that a config.json describes, whose input is normalised or not where that is known.
///
/// # Errors
/// The first field that says what the models here cannot be.
pub fn describe(config: &Value, normalize: Option<bool>, name: &str, from: &str) -> Result<String> {
    for (field, only, why) in FIXED {
        let value = runtime::weights::field(config, field);
        // What is left out is what the models here have.
        if !value.is_null() && value.to_string() != only {
            return Err(unlike(field, &value, why));
        }
    }
    heads(config)?;
    let constants = constants(config)?;
    let convolutions = Convolutions::of(config)?;
    let stable = flag(config, "do_stable_layer_norm")?;
    let (parent, _) = BUILT_IN[stable as usize];
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '_'
        }
    };
    let name: String = name.chars().map(plain).collect();
    let mut text = format!(
        "{MADE} from {}.\n(\n    extends: \"{parent}\",\n    name: \"{name}\",\n\n",
        one_line(from)
    );
    text += "    constants: {\n";
    for (name, value) in constants {
        let _ = writeln!(text, "        \"{name}\": {value},");
    }
    let _ = writeln!(text, "        \"channels\": {},\n    }},", convolutions.channels());
    if let Some(vocab) = config.get("vocab_size").and_then(Value::as_u64).filter(|n| *n > 0) {
        let _ = writeln!(text, "\n    run_sizes: {{ \"vocab\": {vocab} }},");
    }
    let eps = field(config, "layer_norm_eps").as_f64();
    if !convolutions.are_those_of(stable) || eps != Some(CONV_EPS) {
        text += &convolutions.describe();
    }
    if let Some(normalize) = normalize {
        text += "\n    recipes: {\n";
        for task in ["pretrain", "finetune", "transcribe", "features"] {
            let _ = writeln!(text, "        \"{task}\": {{ \"normalize\": {normalize} }},");
        }
        text += "    },\n";
    }
    Ok(text + ")\n")
}

fn unlike(field: &'static str, value: &Value, why: &'static str) -> Unlike {
    Unlike::Field {
        field,
        value: value.to_string(),
        why,
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Heads for other ends than letters have parameters without a place.
fn heads(config: &Value) -> Result<()> {
    let others = ["ForSequenceClassification", "ForAudioFrameClassification", "ForXVector"];
    let given = field(config, "architectures");
    let other = given.as_array().into_iter().flatten().filter_map(Value::as_str);
    match other.into_iter().any(|a| others.iter().any(|o| a.ends_with(o))) {
        true => Err(unlike("architectures", &given, "the models here end in letters")),
        false => Ok(()),
    }
}

fn flag(config: &Value, name: &'static str) -> Result<bool> {
    let value = field(config, name);
    value
        .as_bool()
        .ok_or_else(|| unlike(name, &value, "expected true or false"))
}

/// A whole number above 0.
fn count(config: &Value, name: &'static str) -> Result<i64> {
    let value = field(config, name);
    let count = value.as_i64().filter(|n| *n > 0);
    count.ok_or_else(|| unlike(name, &value, "expected a whole number above 0"))
}

fn constants(config: &Value) -> Result<Vec<(&'static str, String)>> {
    let mut all = vec![];
    for (name, constant) in CONSTANTS {
        let value = field(config, name);
        let text = match REAL.contains(&name) {
            false => count(config, name)?.to_string(),
            true => {
                let number = value.as_f64().filter(|n| n.is_finite() && *n >= 0.0);
                let number = number.ok_or_else(|| unlike(name, &value, "expected a number, 0 or more"))?;
                format!("{number:?}")
            }
        };
        all.push((constant, text));
    }
    let whole = |of: &'static str, by: &'static str, why| match count(config, of)? % count(config, by)? {
        0 => Ok(()),
        _ => Err(unlike(of, &field(config, of), why)),
    };
    whole(
        "hidden_size",
        "num_attention_heads",
        "it is no multiple of `num_attention_heads`",
    )?;
    whole(
        "hidden_size",
        "num_conv_pos_embedding_groups",
        "it is no multiple of `num_conv_pos_embedding_groups`",
    )?;
    whole(
        "codevector_dim",
        "num_codevector_groups",
        "it is no multiple of `num_codevector_groups`",
    )?;
    let width = count(config, "codevector_dim")? / count(config, "num_codevector_groups")?;
    all.push(("code_dim", width.to_string()));
    Ok(all)
}

/// The convolutions over the waveform.
struct Convolutions {
    /// Channels, kernel and stride of each.
    layers: Vec<[i64; 3]>,
    bias: bool,
    /// Layer norm after each, instead of group norm after the first.
    by_layer: bool,
}

impl Convolutions {
    fn of(config: &Value) -> Result<Convolutions> {
        let list = |name: &'static str| {
            let value = field(config, name);
            let items = value
                .as_array()
                .map(|a| a.iter().map(|v| v.as_i64().filter(|n| *n > 0)).collect());
            let items: Option<Vec<i64>> = items.flatten();
            items
                .filter(|l| !l.is_empty() && l.len() <= 64)
                .ok_or_else(|| unlike(name, &value, "expected a list of whole numbers above 0"))
        };
        let (dims, kernels, strides) = (list("conv_dim")?, list("conv_kernel")?, list("conv_stride")?);
        for (name, own) in [("conv_kernel", &kernels), ("conv_stride", &strides)] {
            if own.len() != dims.len() {
                return Err(unlike(name, &field(config, name), "expected as many as `conv_dim` has"));
            }
        }
        let norm = field(config, "feat_extract_norm");
        let by_layer = match norm.as_str() {
            Some("group") => false,
            Some("layer") => true,
            _ => return Err(unlike("feat_extract_norm", &norm, "expected \"group\" or \"layer\"")),
        };
        let layers = (0..dims.len()).map(|i| [dims[i], kernels[i], strides[i]]).collect();
        Ok(Convolutions {
            layers,
            bias: flag(config, "conv_bias")?,
            by_layer,
        })
    }

    /// Channels of the features.
    fn channels(&self) -> i64 {
        self.layers[self.layers.len() - 1][0]
    }

    /// Whether the model that is extended has these.
    fn are_those_of(&self, large: bool) -> bool {
        let same = |of: usize, to: &[i64]| self.layers.iter().map(|l| l[of]).eq(to.iter().copied());
        let alike = self.layers.iter().all(|l| l[0] == self.channels());
        alike && self.bias == large && self.by_layer == large && same(1, &KERNELS) && same(2, &STRIDES)
    }

    /// Frames, blocks and configuration.
    fn describe(&self) -> String {
        let frames = self
            .layers
            .iter()
            .fold("N".to_string(), |n, [_, k, s]| match n.as_str() {
                "N" => format!("(N - {k}) / {s} + 1"),
                n => format!("(({n}) - {k}) / {s} + 1"),
            });
        let mut text = format!("\n    sizes: {{ \"T\": \"{frames}\" }},\n\n    blocks: {{\n");
        let normed = if self.by_layer {
            "layer_norm(y, layer_norm.weight, layer_norm.bias, eps: 1e-5)"
        } else {
            "y"
        };
        text += &self.block("conv_layer", self.by_layer, normed);
        if !self.by_layer {
            let normed = "group_norm(y, layer_norm.weight, layer_norm.bias, n, eps: 1e-5)";
            text += &self.block("conv_layer_group_norm", true, normed);
        }
        text += "        \"feature_encoder\": (\n            args: [\"wave\", \"lengths\"],\n            body: \"\n";
        text += "                x = reshape(wave, shape: [B, N, 1])\n                n = lengths\n";
        let mut width = 1;
        for (i, [channels, kernel, stride]) in self.layers.iter().enumerate() {
            let block = if i == 0 && !self.by_layer {
                "conv_layer_group_norm"
            } else {
                "conv_layer"
            };
            let _ = writeln!(
                text,
                "                (x, n) = {block}(x, n, I: {width}, O: {channels}, K: {kernel}, S: {stride}) as conv_layers.{i}"
            );
            width = *channels;
        }
        text += "            \",\n            returns: [\"x\", \"n\"],\n        ),\n    },\n";
        let column = |i: usize| {
            let items: Vec<String> = self.layers.iter().map(|l| l[i].to_string()).collect();
            format!("[{}]", items.join(", "))
        };
        let norm = if self.by_layer { "layer" } else { "group" };
        let _ = write!(
            text,
            "\n    export: {{\n        \"*\": {{\n            \"conv_dim\": {},\n            \"conv_kernel\": {},\n            \
             \"conv_stride\": {},\n            \"conv_bias\": {},\n            \"feat_extract_norm\": \"{norm}\",\n            \
             \"num_feat_extract_layers\": {},\n        }},\n    }},\n",
            column(0),
            column(1),
            column(2),
            self.bias,
            self.layers.len()
        );
        text
    }

    /// A convolution, what `normed` makes of it, and GELU.
    fn block(&self, name: &str, has_norm: bool, normed: &str) -> String {
        let mut params =
            "                \"conv.weight\": (shape: [\"O\", \"I\", \"K\"], init: KaimingNormal),\n".to_string();
        if self.bias {
            params += "                \"conv.bias\": (shape: [\"O\"], init: FanIn(\"I * K\")),\n";
        }
        if has_norm {
            params += "                \"layer_norm.weight\": (shape: [\"O\"], init: Ones),\n";
            params += "                \"layer_norm.bias\": (shape: [\"O\"], init: Zeros),\n";
        }
        let bias = if self.bias { " + conv.bias" } else { "" };
        format!(
            "        \"{name}\": (\n            args: [\"x\", \"lengths\"], dims: [\"I\", \"O\", \"K\", \"S\"],\n            \
             params: {{\n{params}            }},\n            body: \"\n                n = floor_div(lengths - K, S) + 1\n                \
             y = conv1d(x, conv.weight, stride: S){bias}\n                y = gelu({normed})\n            \",\n            \
             returns: [\"y\", \"n\"],\n        ),\n"
        )
    }
}
