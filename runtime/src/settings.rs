//! The recipe's settings: what there is, what it is by default, and `--set NAME=VALUE`.
//!
//! A compiled model brings its own recipe; its values take the place of the defaults listed here, and every scalar input
//! of its programs that a setting is named after takes that setting's value. A value outside a setting's range is refused where
//! it is given: when a model is compiled, or on the command line before anything is read or written.

mod range;

pub use range::Range;

use crate::error::Error;
use ir::artifact::{Amount, Artifact, Setting, SettingValue};
use std::collections::BTreeMap;

use Range::{Above, Choice, Real, Whole};
use SettingValue::{Flag, Number, Text};
use range::{EVERY, RATE, SAMPLES, SHARE, SWITCH, UPDATES};

/// Settings of one command.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    command: String,
    list: Vec<Setting>,
}

/// The recipe that was chosen for an amount of data.
#[derive(Clone, Debug, PartialEq)]
pub struct ForHours {
    /// What it was written for.
    pub hours: f64,
    /// Settings and their values.
    pub taken: Vec<String>,
}

/// Whole numbers below this are exact.
const MOST: f64 = 9e15;

/// A setting's name, default, range and meaning.
struct Known {
    name: &'static str,
    value: fn() -> SettingValue,
    range: Range,
    doc: &'static str,
}

/// Settings that decide which clips there are to train on.
pub const OF_THE_DATA: [&str; 6] = [
    "seed",
    "valid_fraction",
    "valid_hours",
    "min_samples",
    "max_samples",
    "max_tokens",
];

/// Where there is no upper limit.
const OPEN: f64 = f64::INFINITY;

macro_rules! known {
    ($($name:literal = $value:expr, $range:expr, $doc:literal;)*) => {
        &[$(Known { name: $name, value: || $value, range: $range, doc: $doc }),*]
    };
}

/// What both kinds of training understand.
const TRAINING: &[Known] = known! {
    "seed" = Number(1.0), Whole(0.0, MOST), "seed of everything random";
    "lr" = Number(5e-4), Real(0.0, 1e3), "peak learning rate";
    "beta1" = Number(0.9), RATE, "Adam: decay of the first moment";
    "beta2" = Number(0.98), RATE, "Adam: decay of the second moment";
    "clip_norm" = Number(0.0), Real(0.0, OPEN), "gradients are scaled down to this norm; 0: never";
    "accumulate" = Number(1.0), Whole(1.0, 1e6), "micro-batches per update";
    "max_tokens" = Number(1_400_000.0), Whole(1.0, 1e9), "audio samples in a micro-batch, padding included";
    "max_batch" = Number(0.0), Whole(0.0, 1e6), "clips in a micro-batch; 0: as many as max_tokens allows";
    "normalize" = Flag(false), SWITCH, "each clip to zero mean and unit variance";
    "mask_length" = Number(10.0), Whole(1.0, 1e6), "frames in a masked span";
    "mask_min" = Number(2.0), Whole(0.0, 1e6), "spans a clip has at least";
    "channel_mask_length" = Number(64.0), Whole(1.0, 1e6), "channels in a masked span";
    "layerdrop" = Number(0.0), RATE, "probability with which a layer is skipped";
    "valid_fraction" = Number(0.05), RATE, "share of the data kept for validation where --valid is not given; 0: none";
    "valid_hours" = Number(2.0), Real(0.0, 1e6), "hours of it that are kept at most; 0: no limit";
    "save_every" = Number(1000.0), EVERY, "updates between checkpoints";
    "validate_every" = Number(1000.0), EVERY, "updates between validations";
    "log_every" = Number(10.0), EVERY, "updates between lines in log.jsonl";
    "keep_checkpoints" = Number(2.0), Whole(1.0, 1e6), "checkpoints kept, the newest first";
    "loaders" = Number(2.0), Whole(1.0, 1024.0), "threads that decode audio ahead of training";
    "on_nan" = Text("skip".into()), Choice(&["skip", "stop"]), "an update whose loss or gradient is not finite: `skip` it or `stop`";
    "estimate" = Flag(true), SWITCH, "time one step before training and say how long all will take";
    "max_skips" = Number(10.0), UPDATES, "skipped updates in a row before training stops";
};

const PRETRAIN: &[Known] = known! {
    "updates" = Number(400_000.0), UPDATES, "updates in all";
    "warmup" = Number(32_000.0), UPDATES, "updates of linear warm-up";
    "eps" = Number(1e-6), Above(0.0, 1.0), "Adam: epsilon";
    "weight_decay" = Number(0.01), Real(0.0, 1e3), "Adam: decoupled weight decay";
    "max_samples" = Number(250_000.0), Whole(1.0, 1e9), "a clip is cropped to so many samples";
    "min_samples" = Number(32_000.0), SAMPLES, "shorter clips are dropped";
    "pad" = Flag(false), SWITCH, "pad the clips of a batch to the longest, rather than crop all to the shortest";
    "mask_prob" = Number(0.65), SHARE, "share of frames that spans would cover if none overlapped";
    "channel_mask_prob" = Number(0.0), SHARE, "the same for channels";
    "negatives" = Number(100.0), Whole(1.0, 1e6), "distractors per masked frame";
    "temperature_start" = Number(2.0), Above(0.0, 1e6), "Gumbel temperature at the start";
    "temperature_decay" = Number(0.999995), Above(0.0, 1.0), "factor on the temperature per update";
    "temperature_floor" = Number(0.5), Above(0.0, 1e6), "lowest Gumbel temperature";
    "collapse_perplexity" = Number(1.5), Real(0.0, OPEN), "a code group below this perplexity is reported as collapsed";
};

const FINETUNE: &[Known] = known! {
    "updates" = Number(20_000.0), UPDATES, "updates in all";
    "warmup_share" = Number(0.1), SHARE, "share of updates with rising rate";
    "hold_share" = Number(0.4), SHARE, "share of updates at the peak rate";
    "decay_share" = Number(0.5), SHARE, "share of updates with falling rate";
    "lr_start" = Number(0.01), Above(0.0, 1.0), "first rate as a share of the peak";
    "lr_end" = Number(0.05), Above(0.0, 1.0), "last rate as a share of the peak";
    "eps" = Number(1e-8), Above(0.0, 1.0), "Adam: epsilon";
    "weight_decay" = Number(0.0), Real(0.0, 1e3), "Adam: decoupled weight decay";
    "freeze_updates" = Number(10_000.0), UPDATES, "updates at the start in which only the new head trains";
    "max_samples" = Number(0.0), SAMPLES, "longer clips are dropped; 0: none";
    "min_samples" = Number(400.0), SAMPLES, "shorter clips are dropped";
    "mask_prob" = Number(0.65), SHARE, "share of frames that spans would cover if none overlapped";
    "channel_mask_prob" = Number(0.25), SHARE, "the same for channels";
    "nfc" = Flag(true), SWITCH, "tokens and texts in Unicode's composed normal form";
    "fold_case" = Flag(true), SWITCH, "texts take the case of a vocabulary that has one case";
    "keep_punctuation" = Flag(false), SWITCH, "punctuation is learnt instead of dropped";
    "units" = Text("letters".into()), Choice(&["letters", "jamo", "tokens"]), "what a token stands for: letters, jamo (the letters of Korean syllables), or tokens separated by spaces (phonemes)";
};

const TRANSCRIBE: &[Known] = known! {
    "normalize" = Flag(false), SWITCH, "each clip to zero mean and unit variance, where preprocessor_config.json does not say";
    "window_seconds" = Number(0.0), Real(0.0, 1e6), "cut longer clips into windows of this length; 0: never";
    "max_hours" = Number(12.0), Real(0.0, 24.0), "a longer recording is refused: a few bytes can claim days of silence";
    "context_seconds" = Number(2.0), Real(0.0, 1e6), "how far neighbouring windows overlap, on each side";
};

/// What the programs of the models take besides: no command has these unless the model's recipe names them.
const PROGRAMS: &[(&str, Range)] = &[
    ("dropout", RATE),
    ("attention_dropout", RATE),
    ("activation_dropout", RATE),
    ("input_dropout", RATE),
    ("feature_dropout", RATE),
    ("final_dropout", RATE),
];

/// The commands that a model may have a recipe for.
pub const COMMANDS: [&str; 3] = ["pretrain", "finetune", "transcribe"];

/// Names of the settings that a command knows by itself. A recipe may also name scalar inputs of the model's programs.
pub fn names(command: &str) -> impl Iterator<Item = &'static str> {
    known(command).map(|k| k.name)
}

/// The values that a setting of a command takes.
pub fn range(command: &str, name: &str) -> Range {
    let own = known(command).find(|k| k.name == name).map(|k| k.range);
    let of_programs = || PROGRAMS.iter().find(|(n, _)| *n == name).map(|(_, r)| *r);
    own.or_else(of_programs).unwrap_or(Range::Any)
}

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
/// Where a recipe gives a setting another kind of value, or one outside its range.
pub fn complete(command: &str, recipe: &[Setting]) -> Result<Vec<Setting>, Error> {
    let mut list: Vec<Setting> = known(command)
        .map(|k| Setting {
            name: k.name.to_string(),
            value: (k.value)(),
            doc: k.doc.to_string(),
        })
        .collect();
    for own in recipe {
        let range = range(command, &own.name);
        if !range.holds(&own.value) {
            return Err(Error::Setting(format!(
                "`{}` of the model's recipe for `{command}` takes {}, not {}",
                own.name,
                range.words(),
                show(&own.value)
            )));
        }
        match list.iter_mut().find(|s| s.name == own.name) {
            // Of the same kind: its range holds it.
            Some(s) => {
                s.value = own.value.clone();
                if !own.doc.is_empty() {
                    s.doc = own.doc.clone();
                }
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

    /// As [`Settings::new`] with these assignments, all of which are checked before this returns: for a command line, before
    /// anything is read or written.
    ///
    /// # Errors
    /// An unknown name, a value of another kind or outside its range, and values that exclude each other.
    pub fn checked(artifact: &Artifact, command: &str, set: &[String]) -> Result<Settings, Error> {
        let mut settings = Settings::new(artifact, command)?;
        set.iter().try_for_each(|s| settings.set(s))?;
        settings.agree(artifact)?;
        Ok(settings)
    }

    /// Whether values go together, and with what the model was compiled for.
    pub fn agree(&self, artifact: &Artifact) -> Result<(), Error> {
        let value = |name: &str| self.scalar(name);
        let shares = ["warmup_share", "hold_share", "decay_share"];
        let sum: f64 = shares.iter().filter_map(|n| value(n)).sum();
        if sum > 1.0 + 1e-9 {
            let what = format!("{} together are {sum}, and there is 1 to share out", shares.join(", "));
            return Err(Error::Setting(what));
        }
        // In pretraining longer clips are cropped, so that the least may be above the most.
        if let (Some(least), Some(most)) = (value("min_samples"), value("max_samples").filter(|m| *m > 0.0))
            && self.command == "finetune"
            && least > most
        {
            let what = format!("`min_samples` is {least} and `max_samples` is {most}: no clip could be used");
            return Err(Error::Setting(what));
        }
        if let (Some(window), Some(context)) = (value("window_seconds"), value("context_seconds"))
            && window > 0.0
            && window <= 2.0 * context
        {
            let what = "`window_seconds` must be more than twice `context_seconds`";
            return Err(Error::Setting(what.into()));
        }
        self.fit(artifact)
    }

    fn fit(&self, artifact: &Artifact) -> Result<(), Error> {
        let inputs = artifact
            .programs
            .iter()
            .filter(|p| p.name == self.command)
            .flat_map(|p| &p.inputs);
        let fixed = inputs
            .filter(|p| p.name == "negatives")
            .find_map(|p| p.shape.get(2)?.as_const());
        match (fixed, self.scalar("negatives")) {
            (Some(fixed), Some(wanted)) if fixed as f64 != wanted => {
                let what = format!("`negatives` is {wanted}, and this model was compiled for {fixed}; use that number");
                Err(Error::Setting(what))
            }
            _ => Ok(()),
        }
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
        let range = match (range(&self.command, name), &place) {
            // Of the model's own: what kind it is, is all that is known.
            (Range::Any, Flag(_)) => SWITCH,
            (known, _) => known,
        };
        let given = match place {
            Number(_) => value.replace('_', "").parse().ok().map(Number),
            Flag(_) => match value {
                "true" | "1" => Some(Flag(true)),
                "false" | "0" => Some(Flag(false)),
                _ => None,
            },
            Text(_) => Some(Text(value.into())),
        };
        let Some(given) = given.filter(|v| range.holds(v)) else {
            let hint = match range {
                Choice(words) => nearest(value, words.iter().copied()),
                _ => None,
            };
            let hint = hint.map_or(String::new(), |n| format!("; did you mean `{n}`?"));
            let want = match (range, &place) {
                (Range::Any, Number(_)) => "a number".into(),
                _ => range.words(),
            };
            return Err(Error::Setting(format!("`{name}` takes {want}, not `{value}`{hint}")));
        };
        *place = given;
        Ok(())
    }

    /// Takes the settings for the amount that is nearest to these hours of data, save those that `set` names.
    ///
    /// # Errors
    /// Where values do not go together then.
    pub fn for_hours(&mut self, artifact: &Artifact, hours: f64, set: &[String]) -> Result<Option<ForHours>, Error> {
        let amounts = artifact
            .by_hours
            .get(&self.command)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let far = |a: &Amount| (a.hours / hours).ln().abs();
        let Some(nearest) = amounts.iter().min_by(|a, b| far(a).total_cmp(&far(b))) else {
            return Ok(None);
        };
        let named = |name: &str| set.iter().any(|s| s.split('=').next().map(str::trim) == Some(name));
        let mut taken = vec![];
        for own in nearest.settings.iter().filter(|s| !named(&s.name)) {
            if let Some(s) = self.list.iter_mut().find(|s| s.name == own.name) {
                s.value = own.value.clone();
                taken.push(format!("{} {}", s.name, show(&s.value)));
            }
        }
        self.agree(artifact)?;
        Ok(Some(ForHours {
            hours: nearest.hours,
            taken,
        }))
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
    use super::Range::Below;
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
    fn the_recipe_for_the_nearest_amount_is_taken_and_what_is_set_stays() {
        let mut artifact = fake::artifact();
        let number = |name: &str, value: f64| Setting {
            name: name.into(),
            value: Number(value),
            doc: String::new(),
        };
        let amount = |hours, updates| Amount {
            hours,
            settings: vec![number("updates", updates), number("lr", hours)],
        };
        let amounts = vec![amount(1.0, 13.0), amount(10.0, 20.0), amount(100.0, 80.0)];
        artifact.by_hours.insert("finetune".into(), amounts);
        for (hours, updates) in [
            (0.01, 13.0),
            (3.1, 13.0),
            (3.2, 20.0),
            (31.0, 20.0),
            (32.0, 80.0),
            (5000.0, 80.0),
        ] {
            let mut s = Settings::new(&artifact, "finetune").unwrap();
            let chosen = s.for_hours(&artifact, hours, &["lr = 0.5".into()]).unwrap().unwrap();
            assert_eq!(s.number("updates").unwrap(), updates, "{hours} h");
            assert_eq!(chosen.taken, [format!("updates {updates}")]);
            assert_eq!(s.number("lr").unwrap(), 5e-4);
        }
        let mut s = Settings::new(&artifact, "pretrain").unwrap();
        assert_eq!(s.for_hours(&artifact, 1.0, &[]).unwrap(), None);
    }

    #[test]
    fn slips_are_named_with_a_suggestion() {
        let mut s = Settings::new(&fake::artifact(), "finetune").unwrap();
        let error = |s: &mut Settings, a: &str| s.set(a).unwrap_err().to_string();
        assert!(error(&mut s, "freeze_update=3").contains("did you mean `freeze_updates`?"));
        assert!(error(&mut s, "lr=fast").contains("takes a number"));
        assert!(error(&mut s, "normalize=2").contains("true or false"));
        assert!(error(&mut s, "lr").contains("NAME=VALUE"));
        assert!(error(&mut s, "accumulate=0").contains("takes a whole number, 1 to 1e6"));
        assert!(error(&mut s, "on_nan=stpo").contains("skip or stop, not `stpo`; did you mean `stop`?"));
    }

    /// A value beyond its range is refused for every setting of every command, whichever way it is beyond it.
    #[test]
    fn no_setting_takes_a_value_outside_its_range() {
        let mut artifact = fake::artifact();
        let dropout = |value| Setting {
            name: "dropout".into(),
            value: Number(value),
            doc: String::new(),
        };
        artifact.recipes.insert("finetune".into(), vec![dropout(0.5)]);
        for command in COMMANDS {
            let settings = Settings::new(&artifact, command).unwrap();
            for setting in settings.list() {
                let range = range(command, &setting.name);
                assert!(range != Range::Any, "`{}` has no range", setting.name);
                assert!(range.holds(&setting.value), "default of `{}`", setting.name);
                let mut wrong: Vec<f64> = vec![-1.0, -1e-9, f64::NAN, f64::INFINITY, -f64::INFINITY];
                match range {
                    Whole(low, high) => wrong.extend([low - 1.0, high * 2.0, low + 0.5, 2f64.powi(63)]),
                    Real(_, high) => wrong.extend([high * 1.01 + 1.0]),
                    Above(low, high) => wrong.extend([low, high * 2.0]),
                    Below(_, high) => wrong.extend([high, high + 1.0]),
                    Range::Switch | Choice(_) => wrong = vec![2.0],
                    Range::Any => unreachable!("excluded above"),
                }
                for value in wrong.into_iter().filter(|v| !range.holds(&Number(*v))) {
                    let mut s = settings.clone();
                    let given = format!("{}={value}", setting.name);
                    assert!(s.set(&given).is_err(), "{command} takes {given}");
                    assert_eq!(s, settings, "{given} was refused and yet changed something");
                }
                for word in ["", "fast", "stpo", "0x10", "1,5"] {
                    let given = format!("{}={word}", setting.name);
                    assert!(settings.clone().set(&given).is_err(), "{command} takes {given}");
                }
            }
        }
        artifact.recipes.insert("finetune".into(), vec![dropout(1.5)]);
        let error = Settings::new(&artifact, "finetune").unwrap_err().to_string();
        assert!(error.contains("`dropout`") && error.contains("finetune"), "{error}");
    }

    #[test]
    fn values_that_exclude_each_other_are_refused() {
        let artifact = fake::artifact();
        let error = |command: &str, set: &[&str]| {
            let set: Vec<String> = set.iter().map(|s| s.to_string()).collect();
            Settings::checked(&artifact, command, &set)
                .map(|_| ())
                .map_err(|e| e.to_string())
        };
        assert!(
            error("finetune", &["hold_share=0.6"])
                .unwrap_err()
                .contains("hold_share")
        );
        error("finetune", &["hold_share=0.6", "decay_share=0.3"]).unwrap();
        assert!(
            error("finetune", &["max_samples=300", "min_samples=301"])
                .unwrap_err()
                .contains("min_samples")
        );
        error("finetune", &["max_samples=0"]).unwrap();
        assert!(
            error("transcribe", &["window_seconds=4"])
                .unwrap_err()
                .contains("twice")
        );
        let negatives = error("pretrain", &["negatives=6"]).unwrap_err();
        assert!(negatives.contains("compiled for 5"), "{negatives}");
    }
}
