//! The recipe's settings: what there is, what it is by default, and `--set NAME=VALUE`.
//!
//! A compiled model brings its own recipe; its values take the place of the defaults listed here, and every scalar input
//! of its programs that a setting is named after takes that setting's value.

use crate::error::Error;
use ir::artifact::{Artifact, Setting, SettingValue};
use std::collections::BTreeMap;

use SettingValue::{Flag, Number, Text};

/// Settings of one command.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    command: String,
    list: Vec<Setting>,
}

/// Whole numbers below this are exact.
const MOST: f64 = 9e15;

type Known = (&'static str, fn() -> SettingValue, &'static str);

macro_rules! known {
    ($($name:literal = $value:expr, $doc:literal;)*) => { &[$(($name, || $value, $doc)),*] };
}

/// What both kinds of training understand.
const TRAINING: &[Known] = known! {
    "seed" = Number(1.0), "seed of everything random";
    "lr" = Number(5e-4), "peak learning rate";
    "beta1" = Number(0.9), "Adam: decay of the first moment";
    "beta2" = Number(0.98), "Adam: decay of the second moment";
    "clip_norm" = Number(0.0), "gradients are scaled down to this norm; 0: never";
    "accumulate" = Number(1.0), "micro-batches per update";
    "max_tokens" = Number(1_400_000.0), "audio samples in a micro-batch, padding included";
    "max_batch" = Number(0.0), "clips in a micro-batch; 0: as many as max_tokens allows";
    "normalize" = Flag(false), "each clip to zero mean and unit variance";
    "mask_length" = Number(10.0), "frames in a masked span";
    "mask_min" = Number(2.0), "spans a clip has at least";
    "channel_mask_length" = Number(64.0), "channels in a masked span";
    "layerdrop" = Number(0.0), "probability with which a layer is skipped";
    "valid_fraction" = Number(0.05), "share of the data kept for validation where --valid is not given; 0: none";
    "save_every" = Number(1000.0), "updates between checkpoints";
    "validate_every" = Number(1000.0), "updates between validations";
    "log_every" = Number(10.0), "updates between lines in log.jsonl";
    "keep_checkpoints" = Number(2.0), "checkpoints kept, the newest first";
    "loaders" = Number(2.0), "threads that decode audio ahead of training";
    "on_nan" = Text("skip".into()), "an update whose loss or gradient is not finite: `skip` it or `stop`";
    "max_skips" = Number(10.0), "skipped updates in a row before training stops";
};

const PRETRAIN: &[Known] = known! {
    "updates" = Number(400_000.0), "updates in all";
    "warmup" = Number(32_000.0), "updates of linear warm-up";
    "eps" = Number(1e-6), "Adam: epsilon";
    "weight_decay" = Number(0.01), "Adam: decoupled weight decay";
    "max_samples" = Number(250_000.0), "a clip is cropped to so many samples";
    "min_samples" = Number(32_000.0), "shorter clips are dropped";
    "pad" = Flag(false), "pad the clips of a batch to the longest, rather than crop all to the shortest";
    "mask_prob" = Number(0.65), "share of frames that spans would cover if none overlapped";
    "channel_mask_prob" = Number(0.0), "the same for channels";
    "negatives" = Number(100.0), "distractors per masked frame";
    "temperature_start" = Number(2.0), "Gumbel temperature at the start";
    "temperature_decay" = Number(0.999995), "factor on the temperature per update";
    "temperature_floor" = Number(0.5), "lowest Gumbel temperature";
    "collapse_perplexity" = Number(1.5), "a code group below this perplexity is reported as collapsed";
};

const FINETUNE: &[Known] = known! {
    "updates" = Number(20_000.0), "updates in all";
    "warmup_share" = Number(0.1), "share of updates with rising rate";
    "hold_share" = Number(0.4), "share of updates at the peak rate";
    "decay_share" = Number(0.5), "share of updates with falling rate";
    "lr_start" = Number(0.01), "first rate as a share of the peak";
    "lr_end" = Number(0.05), "last rate as a share of the peak";
    "eps" = Number(1e-8), "Adam: epsilon";
    "weight_decay" = Number(0.0), "Adam: decoupled weight decay";
    "freeze_updates" = Number(10_000.0), "updates at the start in which only the new head trains";
    "max_samples" = Number(0.0), "longer clips are dropped; 0: none";
    "min_samples" = Number(400.0), "shorter clips are dropped";
    "mask_prob" = Number(0.65), "share of frames that spans would cover if none overlapped";
    "channel_mask_prob" = Number(0.25), "the same for channels";
};

const TRANSCRIBE: &[Known] = known! {
    "normalize" = Flag(false), "each clip to zero mean and unit variance, where preprocessor_config.json does not say";
    "window_seconds" = Number(0.0), "cut longer clips into windows of this length; 0: never";
    "context_seconds" = Number(2.0), "how far neighbouring windows overlap, on each side";
};

fn known(command: &str) -> impl Iterator<Item = &'static Known> {
    let (own, shared): (&[Known], &[Known]) = match command {
        "pretrain" => (PRETRAIN, TRAINING),
        "finetune" => (FINETUNE, TRAINING),
        _ => (TRANSCRIBE, &[]),
    };
    own.iter().chain(shared)
}

fn kind(value: &SettingValue) -> &'static str {
    match value {
        Number(_) => "a number",
        Text(_) => "a word",
        Flag(_) => "true or false",
    }
}

pub fn show(value: &SettingValue) -> String {
    match value {
        Number(n) => n.to_string(),
        Text(t) => t.clone(),
        Flag(f) => f.to_string(),
    }
}

/// Every setting of a command by name: the defaults, a recipe's own over them.
///
/// # Errors
/// Where a recipe gives a setting another kind of value.
pub fn complete(command: &str, recipe: &[Setting]) -> Result<Vec<Setting>, Error> {
    let mut list: Vec<Setting> = known(command)
        .map(|(name, value, doc)| Setting {
            name: name.to_string(),
            value: value(),
            doc: doc.to_string(),
        })
        .collect();
    for own in recipe {
        match list.iter_mut().find(|s| s.name == own.name) {
            Some(s) if kind(&s.value) == kind(&own.value) => {
                s.value = own.value.clone();
                if !own.doc.is_empty() {
                    s.doc = own.doc.clone();
                }
            }
            Some(s) => {
                let want = kind(&s.value);
                return Err(Error::Setting(format!(
                    "`{}` of the model's recipe must be {want}",
                    own.name
                )));
            }
            None => list.push(own.clone()),
        }
    }
    list.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(list)
}

impl Settings {
    /// Defaults of a command, the model's own recipe over them.
    pub fn new(artifact: &Artifact, command: &str) -> Result<Settings, Error> {
        let own = artifact.recipes.get(command).map(Vec::as_slice).unwrap_or_default();
        Ok(Settings {
            command: command.into(),
            list: complete(command, own)?,
        })
    }

    pub fn command(&self) -> &str {
        &self.command
    }

    pub fn list(&self) -> &[Setting] {
        &self.list
    }

    /// Applies `NAME=VALUE`.
    pub fn set(&mut self, assignment: &str) -> Result<(), Error> {
        let Some((name, value)) = assignment.split_once('=') else {
            return Err(Error::Setting(format!("`{assignment}`: write --set NAME=VALUE")));
        };
        let (name, value) = (name.trim(), value.trim());
        let Some(at) = self.list.iter().position(|s| s.name == name) else {
            let near = nearest(name, self.list.iter().map(|s| s.name.as_str()));
            let hint = near.map_or("`info` lists them".into(), |n| format!("did you mean `{n}`?"));
            return Err(Error::Setting(format!(
                "`{name}` is not known to `{}`; {hint}",
                self.command
            )));
        };
        let place = &mut self.list[at].value;
        let wrong = |want: &str| Error::Setting(format!("`{name}` takes {want}, not `{value}`"));
        *place = match place {
            Number(_) => Number(
                value
                    .replace('_', "")
                    .parse()
                    .ok()
                    .filter(|n: &f64| n.is_finite())
                    .ok_or_else(|| wrong("a number"))?,
            ),
            Flag(_) => Flag(match value {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return Err(wrong("true or false")),
            }),
            Text(_) => Text(value.into()),
        };
        Ok(())
    }

    /// Values by name, to be kept with a run.
    pub fn values(&self) -> BTreeMap<String, SettingValue> {
        self.list.iter().map(|s| (s.name.clone(), s.value.clone())).collect()
    }

    /// Takes kept values over; what is no longer known is left out.
    pub fn restore(&mut self, values: &BTreeMap<String, SettingValue>) {
        for s in &mut self.list {
            if let Some(v) = values.get(&s.name).filter(|v| kind(v) == kind(&s.value)) {
                s.value = v.clone();
            }
        }
    }

    /// A number or a flag as a number, where there is such a setting.
    pub fn scalar(&self, name: &str) -> Option<f64> {
        match self.list.iter().find(|s| s.name == name)?.value {
            Number(n) => Some(n),
            Flag(f) => Some(f as u8 as f64),
            Text(_) => None,
        }
    }

    /// Overwrites a number, where there is such a setting.
    pub fn force(&mut self, name: &str, value: f64) {
        if let Some(s) = self.list.iter_mut().find(|s| s.name == name) {
            s.value = match s.value {
                Flag(_) => Flag(value != 0.0),
                _ => Number(value),
            };
        }
    }

    /// Dropout of every kind to 0, layerdrop included.
    pub fn without_dropout(&self) -> Settings {
        let mut quiet = self.clone();
        for s in &mut quiet.list {
            if s.name.contains("dropout") || s.name == "layerdrop" {
                s.value = Number(0.0);
            }
        }
        quiet
    }

    fn need(&self, name: &str, low: f64, high: f64) -> Result<f64, Error> {
        let value = self
            .scalar(name)
            .ok_or_else(|| Error::Setting(format!("`{name}` is missing from the recipe")))?;
        if value < low || value > high {
            let range = if high < MOST {
                format!("{low} to {high}")
            } else {
                format!("{low} or more")
            };
            return Err(Error::Setting(format!("`{name}` must be {range}, not {value}")));
        }
        Ok(value)
    }

    /// A number of at least 0.
    pub fn number(&self, name: &str) -> Result<f64, Error> {
        self.need(name, 0.0, f64::INFINITY)
    }

    /// A number in [0, 1].
    pub fn share(&self, name: &str) -> Result<f64, Error> {
        self.need(name, 0.0, 1.0)
    }

    /// A whole number of at least `least`.
    pub fn count(&self, name: &str, least: u64) -> Result<u64, Error> {
        let value = self.need(name, least as f64, MOST)?;
        if value.fract() != 0.0 {
            return Err(Error::Setting(format!("`{name}` must be a whole number, not {value}")));
        }
        Ok(value as u64)
    }

    pub fn flag(&self, name: &str) -> Result<bool, Error> {
        Ok(self.need(name, 0.0, 1.0)? != 0.0)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        match &self.list.iter().find(|s| s.name == name)?.value {
            Text(t) => Some(t),
            _ => None,
        }
    }
}

/// The nearest known name, if one is near enough to be a slip of the fingers.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |k: &str| crate::metrics::edit_distance(name.as_bytes(), k.as_bytes());
    known
        .map(|k| (distance(k), k))
        .min()
        .filter(|(d, _)| *d <= 1 + name.len() / 3)
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    #[test]
    fn the_recipe_overrides_defaults_and_set_overrides_the_recipe() {
        let mut artifact = fake::artifact();
        let own = |name: &str, value| Setting {
            name: name.into(),
            value,
            doc: "mine".into(),
        };
        artifact.recipes.insert(
            "pretrain".into(),
            vec![own("lr", Number(0.25)), own("feature_dropout", Number(0.1))],
        );
        let mut s = Settings::new(&artifact, "pretrain").unwrap();
        assert_eq!((s.number("lr").unwrap(), s.number("beta2").unwrap()), (0.25, 0.98));
        s.set("lr=1e-3").unwrap();
        s.set("normalize=true").unwrap();
        s.set("max_tokens=1_000").unwrap();
        assert_eq!((s.number("lr").unwrap(), s.flag("normalize").unwrap()), (1e-3, true));
        assert_eq!(s.count("max_tokens", 1).unwrap(), 1000);
        assert_eq!(s.without_dropout().scalar("feature_dropout"), Some(0.0));
        let mut other = Settings::new(&artifact, "pretrain").unwrap();
        other.restore(&s.values());
        assert_eq!(other, s);
        artifact
            .recipes
            .insert("pretrain".into(), vec![own("lr", Text("fast".into()))]);
        assert!(Settings::new(&artifact, "pretrain").is_err());
    }

    #[test]
    fn slips_are_named_with_a_suggestion() {
        let mut s = Settings::new(&fake::artifact(), "finetune").unwrap();
        let error = |s: &mut Settings, a: &str| s.set(a).unwrap_err().to_string();
        assert!(error(&mut s, "freeze_update=3").contains("did you mean `freeze_updates`?"));
        assert!(error(&mut s, "lr=fast").contains("takes a number"));
        assert!(error(&mut s, "normalize=2").contains("true or false"));
        assert!(error(&mut s, "lr").contains("NAME=VALUE"));
        s.set("accumulate=0").unwrap();
        assert!(s.count("accumulate", 1).unwrap_err().to_string().contains("1 or more"));
    }
}
