//! A model file for the weights of others: what a config.json says of a network, in constants of the published model that it
//! is nearest to. What the models here say of their own config.json is all that is known of one.

use frontend::Model;
use runtime::weights::same;
use serde_json::{Map, Value};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The models that others extend, by where their files lie beside such a one.
pub const BUILT_IN: [(&str, &str); 16] = [
    ("models/base.ron", include_str!("../../models/base.ron")),
    ("models/large.ron", include_str!("../../models/large.ron")),
    ("models/xlsr.ron", include_str!("../../models/xlsr.ron")),
    ("models/mms.ron", include_str!("../../models/mms.ron")),
    ("models/letters.ron", include_str!("../../models/letters.ron")),
    ("models/hubert-base.ron", include_str!("../../models/hubert-base.ron")),
    ("models/hubert-large.ron", include_str!("../../models/hubert-large.ron")),
    ("models/wavlm-base.ron", include_str!("../../models/wavlm-base.ron")),
    ("models/wavlm-large.ron", include_str!("../../models/wavlm-large.ron")),
    (
        "models/data2vec-audio-base.ron",
        include_str!("../../models/data2vec-audio-base.ron"),
    ),
    ("models/unispeech.ron", include_str!("../../models/unispeech.ron")),
    (
        "models/unispeech-sat.ron",
        include_str!("../../models/unispeech-sat.ron"),
    ),
    ("models/sew.ron", include_str!("../../models/sew.ron")),
    ("models/sew-d.ron", include_str!("../../models/sew-d.ron")),
    (
        "models/conformer-rotary.ron",
        include_str!("../../models/conformer-rotary.ron"),
    ),
    (
        "models/conformer-relative.ron",
        include_str!("../../models/conformer-relative.ron"),
    ),
];

/// The first line of every file that is made here.
pub const MADE: &str = "// Made by `w2vc compile --like`";

/// Why no model file can be made.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Unlike {
    #[error("`{field}` is {value}: {why}")]
    Field { field: String, value: String, why: String },
    #[error("no model file can be written: {0}")]
    File(String),
}

type Result<T> = std::result::Result<T, Unlike>;

/// A model file, and what it is.
#[derive(Debug)]
pub struct Made {
    pub text: String,
    /// Files of [`BUILT_IN`] that it needs beside it, by their names.
    pub needs: Vec<&'static str>,
    /// The published model that it is nearest to.
    pub nearest: String,
    /// Constants in which it differs from that.
    pub changed: Vec<String>,
}

/// A model that a folder's may be made from.
struct Candidate {
    file: &'static str,
    model: Model,
    defaults: Map<String, Value>,
    /// What it writes itself.
    own: Value,
}

/// A model file for a network that a config.json describes, whose input is normalised or not where that is known.
///
/// # Errors
/// The first field that says what none of the models here can be.
pub fn describe(config: &Value, normalize: Option<bool>, name: &str, from: &str) -> Result<Made> {
    heads(config)?;
    let folder = tempfile::tempdir().map_err(|e| Unlike::File(e.to_string()))?;
    let candidates = candidates(config, folder.path())?;
    let mut tried: Vec<(usize, Result<Vec<Change>>)> = vec![];
    for (i, candidate) in candidates.iter().enumerate() {
        tried.push((i, changes(candidate, config)));
    }
    // The fewest changes; where none will do, what stands in the way of the first.
    tried.sort_by_key(|(_, changes)| changes.as_ref().map_or(usize::MAX, Vec::len));
    let (nearest, changes) = tried
        .into_iter()
        .next()
        .ok_or_else(|| Unlike::File("there are no models".into()))?;
    let (nearest, changes) = (&candidates[nearest], changes?);
    whole(config, nearest)?;
    let text = write(nearest, &changes, normalize, name, from);
    let file = folder.path().join("made.ron");
    std::fs::write(&file, &text).map_err(|e| Unlike::File(e.to_string()))?;
    frontend::load_programs(&file, &[]).map_err(|wrong| refused(&changes, &wrong))?;
    Ok(Made {
        text,
        needs: chain(nearest.file),
        nearest: nearest.model.name.clone(),
        changed: changes
            .into_iter()
            .map(|c| format!("{} {}", c.constant, c.value))
            .collect(),
    })
}

/// What a constant must be.
struct Change {
    field: String,
    constant: String,
    /// As the model language has it.
    value: String,
}

/// All models of the kind that a config.json names.
fn candidates(config: &Value, folder: &Path) -> Result<Vec<Candidate>> {
    let file = |e: std::io::Error| Unlike::File(e.to_string());
    std::fs::create_dir_all(folder.join("models")).map_err(file)?;
    for (name, text) in BUILT_IN {
        std::fs::write(folder.join(name), text).map_err(file)?;
    }
    let asked = config.get("model_type").filter(|v| !v.is_null()).cloned();
    let asked = asked.unwrap_or_else(|| Value::from("wav2vec2"));
    let kinds: Vec<(&str, &str)> = BUILT_IN
        .iter()
        .filter(|(file, _)| *file != COMMON)
        .filter_map(|(file, _)| Some((*file, kind(file)?)))
        .collect();
    let mut all = vec![];
    for (file, _) in kinds.iter().filter(|(_, kind)| asked == *kind) {
        let model = frontend::load_programs(&folder.join(file), &[]).map_err(|e| Unlike::File(e.to_string()))?;
        let text = model
            .export
            .get("finetune")
            .map(|t| ir::artifact::fill_in(t, &model.run_sizes));
        let own = text.and_then(|t| serde_json::from_str(&t).ok());
        all.push(Candidate {
            file,
            defaults: serde_json::from_str(&model.config.defaults).unwrap_or_default(),
            own: own.unwrap_or_default(),
            model,
        });
    }
    if all.is_empty() {
        let mut known: Vec<&str> = kinds.into_iter().map(|(_, kind)| kind).collect();
        known.sort();
        known.dedup();
        let why = format!("the models here are {}", known.join(", "));
        return Err(unlike("model_type", &asked, why));
    }
    Ok(all)
}

/// What several models extend, and no model by itself.
const COMMON: &str = "models/letters.ron";

/// The `model_type` of a built-in file, its own or that of the file it extends, without reading it as a model.
fn kind(file: &'static str) -> Option<&'static str> {
    let text = |file: &str| BUILT_IN.iter().find(|(name, _)| *name == file).map(|(_, text)| *text);
    chain(file).into_iter().find_map(|file| {
        let (_, defaults) = text(file)?.split_once("config_defaults: {")?;
        let (_, own) = defaults.split_once("\"model_type\": \"")?;
        own.split_once('"').map(|(kind, _)| kind)
    })
}

fn unlike(field: &str, value: &Value, why: impl Into<String>) -> Unlike {
    Unlike::Field {
        field: field.into(),
        value: value.to_string(),
        why: why.into(),
    }
}

/// How a candidate's constants must change for it to be what a config.json says.
fn changes(candidate: &Candidate, config: &Value) -> Result<Vec<Change>> {
    let mut changes = vec![];
    let constants = &candidate.model.config_constants;
    let others = constants
        .iter()
        .map(|(f, _)| f)
        .filter(|f| !candidate.defaults.contains_key(*f));
    for field in candidate.defaults.keys().chain(others) {
        let silent = || candidate.defaults.get(field);
        let Some(given) = config.get(field).filter(|v| !v.is_null()).or_else(silent) else {
            continue;
        };
        let own = candidate.own.get(field).or_else(silent).unwrap_or(&Value::Null);
        if same(given, own) {
            continue;
        }
        let Some((_, constant)) = constants.iter().find(|(f, _)| f == field) else {
            return Err(unlike(
                field,
                given,
                format!("the model `{}` has {own}", candidate.model.name),
            ));
        };
        let run_size = candidate.model.run_sizes.iter().any(|s| *s.name == **constant);
        // A folder without a head says nothing of letters.
        if run_size && given.as_f64() == Some(0.0) {
            continue;
        }
        changes.push(Change {
            field: field.clone(),
            constant: constant.clone(),
            value: value(field, given, own)?,
        });
    }
    Ok(changes)
}

/// A JSON value of the kind that the model has, as the model language has it.
fn value(field: &str, given: &Value, own: &Value) -> Result<String> {
    let plain = |t: &str| t.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let wrong = |what: &str| Err(unlike(field, given, format!("expected {what}")));
    Ok(match (given, own) {
        (Value::Number(n), Value::Number(o)) if o.is_f64() => match n.as_f64() {
            Some(n) if n.is_finite() && n >= 0.0 => format!("{n:?}"),
            _ => return wrong("a number, 0 or more"),
        },
        // What may be absent is a whole number where it is there.
        (Value::Number(n), Value::Number(_) | Value::Null) => match n.as_i64().filter(|n| *n > 0) {
            Some(n) => n.to_string(),
            None => return wrong("a whole number above 0"),
        },
        (Value::Null, _) => "none".into(),
        (Value::Bool(b), Value::Bool(_)) => b.to_string(),
        (Value::String(t), Value::String(_)) if plain(t) => format!("'{t}'"),
        (Value::Array(items), Value::Array(o)) if !items.is_empty() && items.len() <= 64 => {
            let one = o.first().unwrap_or(&Value::Null);
            let items: Vec<String> = items
                .iter()
                .map(|v| value(field, v, one))
                .collect::<Result<_>>()
                .or_else(|_| Err(unlike(field, given, "expected a list of whole numbers above 0")))?;
            format!("[{}]", items.join(", "))
        }
        (_, Value::Bool(_)) => return wrong("true or false"),
        (_, Value::String(_)) => return wrong("a word"),
        (_, Value::Array(_)) => return wrong("a list of whole numbers above 0"),
        (_, Value::Number(o)) if o.is_f64() => return wrong("a number, 0 or more"),
        _ => return wrong("a whole number above 0"),
    })
}

/// Numbers that must be multiples of others, and lists that belong together.
fn whole(config: &Value, of: &Candidate) -> Result<()> {
    let field = |name: &str| {
        let own = config.get(name).filter(|v| !v.is_null());
        own.or_else(|| of.defaults.get(name)).cloned().unwrap_or_default()
    };
    for (name, by) in [
        ("hidden_size", "num_attention_heads"),
        ("hidden_size", "num_conv_pos_embedding_groups"),
        ("codevector_dim", "num_codevector_groups"),
    ] {
        let own = |name: &str| field(name).as_i64().or_else(|| of.own.get(name)?.as_i64());
        if let (Some(a), Some(b)) = (own(name), own(by))
            && a % b != 0
        {
            return Err(unlike(name, &field(name), format!("it is no multiple of `{by}`")));
        }
    }
    let long = |name: &str| field(name).as_array().map(Vec::len);
    for name in ["conv_kernel", "conv_stride"] {
        if long(name) != long("conv_dim") {
            return Err(unlike(name, &field(name), "expected as many as `conv_dim` has"));
        }
    }
    Ok(())
}

/// Why the language does not take a model that was made: the field whose value is told of, or all of it.
fn refused(changes: &[Change], wrong: &frontend::Diagnostics) -> Unlike {
    let message = wrong
        .list
        .first()
        .map_or(String::new(), |d| format!("{}; {}", d.message, d.label));
    let word =
        |c: &&Change| c.value.starts_with('\'') && message.contains(&format!("`{}`", c.value.trim_matches('\'')));
    match changes.iter().find(word) {
        Some(c) => Unlike::Field {
            field: c.field.clone(),
            value: format!("\"{}\"", c.value.trim_matches('\'')),
            why: message,
        },
        None => Unlike::File(message),
    }
}

fn write(of: &Candidate, changes: &[Change], normalize: Option<bool>, name: &str, from: &str) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() || "-_.".contains(c) {
        true => c,
        false => '_',
    };
    let name: String = name.chars().map(plain).collect();
    let mut text = format!(
        "{MADE} from {}.\n(\n    extends: \"{}\",\n    name: \"{name}\",\n",
        one_line(from),
        of.file
    );
    if !changes.is_empty() {
        text += "\n    constants: {\n";
        for c in changes {
            let quoted = if c.value.starts_with(['\'', '[']) { "\"" } else { "" };
            let _ = writeln!(text, "        \"{}\": {quoted}{}{quoted},", c.constant, c.value);
        }
        text += "    },\n";
    }
    if let Some(normalize) = normalize {
        text += "\n    recipes: {\n";
        let all = ["pretrain", "finetune", "transcribe", "features"];
        for task in all
            .iter()
            .filter(|t| **t != "pretrain" || of.model.program("pretrain").is_some())
        {
            let _ = writeln!(text, "        \"{task}\": {{ \"normalize\": {normalize} }},");
        }
        text += "    },\n";
    }
    text + ")\n"
}

/// A built-in file and those that it extends.
fn chain(file: &'static str) -> Vec<&'static str> {
    let mut all = vec![file];
    while let Some((_, text)) = BUILT_IN.iter().find(|(name, _)| *name == all[all.len() - 1]) {
        let base = text
            .split_once("extends: \"")
            .and_then(|(_, rest)| rest.split_once('"'));
        let next = base.and_then(|(base, _)| {
            let path = PathBuf::from("models").join(base);
            BUILT_IN.iter().find(|(name, _)| Path::new(name) == path)
        });
        match next {
            Some((name, _)) if !all.contains(name) => all.push(name),
            _ => break,
        }
    }
    all
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Heads for other ends than letters have parameters without a place.
fn heads(config: &Value) -> Result<()> {
    let others = ["ForSequenceClassification", "ForAudioFrameClassification", "ForXVector"];
    let given = config.get("architectures").cloned().unwrap_or_default();
    let other = given.as_array().into_iter().flatten().filter_map(Value::as_str);
    if other.into_iter().any(|a| others.iter().any(|o| a.ends_with(o))) {
        return Err(unlike("architectures", &given, "the models here end in letters"));
    }
    let sum = config
        .get("use_weighted_layer_sum")
        .filter(|v| *v == &Value::Bool(true));
    sum.map_or(Ok(()), |v| {
        Err(unlike(
            "use_weighted_layer_sum",
            v,
            "the models here have no sum over layers",
        ))
    })
}
