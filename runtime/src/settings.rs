//! A task's settings: what there is, what it is by default, and `--set NAME=VALUE`.
//!
//! A setting is declared once: by the model's task, or below where the engine reads it itself. A value outside its
//! range is refused where it is given: when a model is compiled, or on the command line before anything is read or
//! written.

use crate::error::Error;
use ir::artifact::{Artifact, SettingValue};
use ir::task::range::{EVERY, RATE, UPDATES};
use ir::task::{Amount, AtHours, Declared, Range};
use std::collections::BTreeMap;

use Range::{Above, Choice, Real, Switch, Whole};
use SettingValue::{Flag, Number, Text};

/// Settings of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    task: String,
    list: Vec<Declared>,
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

/// Settings of the engine that decide which clips there are to train on.
pub const OF_THE_DATA: [&str; 4] = ["seed", "valid_fraction", "valid_hours", "max_tokens"];

/// Where there is no upper limit.
const OPEN: f64 = f64::INFINITY;

macro_rules! declared {
    ($($name:literal = $value:expr, $range:expr, $doc:literal;)*) => {
        vec![$(Declared { name: $name.into(), value: $value, range: $range, doc: $doc.into() }),*]
    };
}

/// What the engine reads of every training task. A task may give other defaults.
pub fn of_training() -> Vec<Declared> {
    let words = |all: &[&str]| Choice(all.iter().map(|w| w.to_string()).collect());
    declared! {
        "seed" = Number(1.0), Whole(0.0, MOST), "seed of all random numbers";
        "updates" = Number(20_000.0), UPDATES, "number of updates";
        "beta1" = Number(0.9), RATE, "Adam: decay of the first moment";
        "beta2" = Number(0.98), RATE, "Adam: decay of the second moment";
        "eps" = Number(1e-8), Above(0.0, 1.0), "Adam: epsilon";
        "weight_decay" = Number(0.0), Real(0.0, 1e3), "Adam: decoupled weight decay";
        "clip_norm" = Number(0.0), Real(0.0, OPEN), "gradients are scaled down to this norm; 0: never";
        "accumulate" = Number(1.0), Whole(1.0, 1e6), "micro-batches per update";
        "max_tokens" = Number(1_400_000.0), Whole(1.0, 1e9), "audio samples in a micro-batch, padding included";
        "max_batch" = Number(0.0), Whole(0.0, 1e6), "clips in a micro-batch; 0: as many as max_tokens allows";
        "normalize" = Flag(false), Switch, "normalise each clip to zero mean and unit variance";
        "valid_fraction" = Number(0.05), RATE, "share of the data kept for validation without --valid; 0: none";
        "valid_hours" = Number(2.0), Real(0.0, 1e6), "maximum hours of validation data taken from it; 0: no limit";
        "save_every" = Number(1000.0), EVERY, "updates between checkpoints";
        "validate_every" = Number(1000.0), EVERY, "updates between validations";
        "log_every" = Number(10.0), EVERY, "updates between lines in log.jsonl";
        "keep_checkpoints" = Number(2.0), Whole(1.0, 1e6), "checkpoints kept, the newest first";
        "loaders" = Number(2.0), Whole(1.0, 1024.0), "threads that prefetch and decode audio";
        "on_nan" = Text("skip".into()), words(&["skip", "stop"]), "an update whose loss or gradient is not finite: `skip` it or `stop`";
        "estimate" = Flag(true), Switch, "time one step before training and print the expected duration";
        "shard" = Flag(false), Switch, "with several ranks: each holds the optimizer's moments of a part of the parameters";
        "overlap" = Text("auto".into()), words(&["auto", "always", "never"]), "with several ranks: sum gradients while others are computed; `auto`: where the processor has a spare core";
        "silence_seconds" = Number(30.0), Real(2.0, 1e6), "with several ranks: seconds of silence after which a rank counts as lost";
        "stall_seconds" = Number(1800.0), Real(60.0, 1e9), "with several ranks: seconds of waiting for a rank after which training stops";
        "max_skips" = Number(10.0), UPDATES, "consecutive skipped updates before training stops";
    }
}

/// What the engine reads where texts are learnt.
pub fn of_texts() -> Vec<Declared> {
    let words = |all: &[&str]| Choice(all.iter().map(|w| w.to_string()).collect());
    declared! {
        "nfc" = Flag(true), Switch, "convert tokens and texts to Unicode NFC";
        "fold_case" = Flag(true), Switch, "convert texts to the case of a vocabulary that has only one";
        "keep_punctuation" = Flag(false), Switch, "learn punctuation instead of dropping it";
        "units" = Text("letters".into()), words(&["letters", "jamo", "tokens"]), "unit of the vocabulary: letters, jamo (the letters of Korean syllables), or tokens separated by spaces (phonemes)";
    }
}

/// What the engine reads of every task that listens to recordings.
pub fn of_prediction() -> Vec<Declared> {
    declared! {
        "normalize" = Flag(false), Switch, "normalise each clip to zero mean and unit variance, unless preprocessor_config.json decides";
        "window_seconds" = Number(30.0), Real(0.0, 1e6), "longer clips are processed in windows of this length, and their logits joined; 0: never";
        "max_hours" = Number(12.0), Real(0.0, 24.0), "longer recordings are refused: a few bytes can claim days of silence";
        "context_seconds" = Number(2.0), Real(0.0, 1e6), "overlap of neighbouring windows, on each side";
    }
}

/// Hours of audio as people say them.
pub fn hours(hours: f64) -> String {
    match hours < 1.0 {
        true => format!("{:.0} min", hours * 60.0),
        false => format!("{} h", (hours * 10.0).round() / 10.0),
    }
}

pub fn show(value: &SettingValue) -> String {
    match value {
        Number(n) => n.to_string(),
        Text(t) => t.clone(),
        Flag(f) => f.to_string(),
    }
}

fn same_kind(a: &SettingValue, b: &SettingValue) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

impl Settings {
    /// A task's settings at their defaults.
    ///
    /// # Errors
    /// Where the model has no such task.
    pub fn new(artifact: &Artifact, task: &str) -> Result<Settings, Error> {
        let found = artifact.task(task).ok_or_else(|| Error::no_task(artifact, task))?;
        Ok(Settings {
            task: task.into(),
            list: found.settings.clone(),
        })
    }

    /// As [`Settings::new`] with these assignments, all of which are checked before this returns: for a command line, before
    /// anything is read or written.
    ///
    /// # Errors
    /// An unknown name, a value of another kind or outside its range, and values that exclude each other.
    pub fn checked(artifact: &Artifact, task: &str, set: &[String]) -> Result<Settings, Error> {
        let mut settings = Settings::new(artifact, task)?;
        set.iter().try_for_each(|s| settings.set(s))?;
        settings.agree(artifact)?;
        Ok(settings)
    }

    /// Whether values go together, and with what the model was compiled for.
    pub fn agree(&self, artifact: &Artifact) -> Result<(), Error> {
        crate::trainer::check(artifact, self)?;
        if let (Some(window), Some(context)) = (self.scalar("window_seconds"), self.scalar("context_seconds"))
            && window > 0.0
            && window <= 2.0 * context
        {
            let what = "`window_seconds` must be more than twice `context_seconds`";
            return Err(Error::Setting(what.into()));
        }
        Ok(())
    }

    pub fn task(&self) -> &str {
        &self.task
    }

    pub fn list(&self) -> &[Declared] {
        &self.list
    }

    /// The value of an amount.
    pub fn amount(&self, amount: &Amount) -> Result<f64, Error> {
        match amount {
            Amount::Fixed(value) => Ok(*value),
            Amount::Setting(name) => self
                .scalar(name)
                .ok_or_else(|| Error::Setting(format!("`{name}` is none of `{}`", self.task))),
        }
    }

    /// An amount that is a whole number of at least 0.
    pub fn whole(&self, amount: &Amount) -> Result<u64, Error> {
        let value = self.amount(amount)?;
        if value.fract() != 0.0 || !(0.0..MOST).contains(&value) {
            return Err(Error::Setting(format!(
                "`{}` must be a whole number, not {value}",
                name_of(amount)
            )));
        }
        Ok(value as u64)
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
                self.task
            )));
        };
        let Declared {
            value: place, range, ..
        } = &mut self.list[at];
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
                Choice(words) => nearest(value, words.iter().map(String::as_str)),
                _ => None,
            };
            let hint = hint.map_or(String::new(), |n| format!("; did you mean `{n}`?"));
            let want = range.words();
            return Err(Error::Setting(format!("`{name}` takes {want}, not `{value}`{hint}")));
        };
        *place = given;
        Ok(())
    }

    /// Takes the values for the amount that is nearest to these hours of data, save those that `set` names.
    ///
    /// # Errors
    /// Where values do not go together then.
    pub fn for_hours(&mut self, artifact: &Artifact, hours: f64, set: &[String]) -> Result<Option<ForHours>, Error> {
        let amounts = artifact.task(&self.task).map_or(&[][..], |t| &t.by_hours);
        let far = |a: &AtHours| (a.hours / hours).ln().abs();
        let Some(nearest) = amounts.iter().min_by(|a, b| far(a).total_cmp(&far(b))) else {
            return Ok(None);
        };
        let named = |name: &str| set.iter().any(|s| s.split('=').next().map(str::trim) == Some(name));
        let mut taken = vec![];
        for (name, value) in nearest.values.iter().filter(|(name, _)| !named(name)) {
            if let Some(s) = self.list.iter_mut().find(|s| s.name == *name) {
                s.value = value.clone();
                taken.push(format!("{name} {}", show(value)));
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
            if let Some(v) = values.get(&s.name).filter(|v| same_kind(v, &s.value)) {
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

    fn need(&self, name: &str, low: f64, high: f64) -> Result<f64, Error> {
        let value = self
            .scalar(name)
            .ok_or_else(|| Error::Setting(format!("`{name}` is missing from the task `{}`", self.task)))?;
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

/// An amount as a message names it: its setting, or the number that it is.
pub fn name_of(amount: &Amount) -> String {
    match amount {
        Amount::Fixed(value) => value.to_string(),
        Amount::Setting(name) => name.clone(),
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
    use Range::Below;

    #[test]
    fn set_overrides_defaults_and_values_are_kept() {
        let artifact = fake::artifact();
        let mut s = Settings::new(&artifact, "pretrain").unwrap();
        assert_eq!((s.number("lr").unwrap(), s.number("beta2").unwrap()), (5e-4, 0.98));
        s.set("lr=1e-3").unwrap();
        s.set("normalize=true").unwrap();
        s.set("max_tokens=1_000").unwrap();
        assert_eq!((s.number("lr").unwrap(), s.flag("normalize").unwrap()), (1e-3, true));
        assert_eq!(s.count("max_tokens", 1).unwrap(), 1000);
        let mut other = Settings::new(&artifact, "pretrain").unwrap();
        other.restore(&s.values());
        assert_eq!(other, s);
        let error = Settings::new(&artifact, "pretrian").unwrap_err().to_string();
        assert!(error.contains("did you mean `pretrain`?"), "{error}");
    }

    #[test]
    fn the_recipe_for_the_nearest_amount_is_taken_and_what_is_set_stays() {
        let mut artifact = fake::artifact();
        let amount = |hours, updates| AtHours {
            hours,
            values: vec![("updates".into(), Number(updates)), ("lr".into(), Number(hours))],
        };
        let amounts = vec![amount(1.0, 13.0), amount(10.0, 20.0), amount(100.0, 80.0)];
        let task = artifact.tasks.iter_mut().find(|t| t.name == "finetune").unwrap();
        task.by_hours = amounts;
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

    /// A value beyond its range is refused for every setting of every task, whichever way it is beyond it.
    #[test]
    fn no_setting_takes_a_value_outside_its_range() {
        let artifact = fake::artifact();
        for task in &artifact.tasks {
            let settings = Settings::new(&artifact, &task.name).unwrap();
            for Declared { name, value, range, .. } in settings.list() {
                assert!(range.holds(value), "default of `{name}`");
                let mut wrong: Vec<f64> = vec![-1.0, -1e-9, f64::NAN, f64::INFINITY, -f64::INFINITY];
                match range {
                    Whole(low, high) => wrong.extend([low - 1.0, high * 2.0, low + 0.5, 2f64.powi(63)]),
                    Real(_, high) => wrong.extend([high * 1.01 + 1.0]),
                    Above(low, high) => wrong.extend([*low, high * 2.0]),
                    Below(_, high) => wrong.extend([*high, high + 1.0]),
                    Switch | Choice(_) => wrong = vec![2.0],
                }
                for value in wrong.into_iter().filter(|v| !range.holds(&Number(*v))) {
                    let mut s = settings.clone();
                    let given = format!("{name}={value}");
                    assert!(s.set(&given).is_err(), "{} takes {given}", task.name);
                    assert_eq!(s, settings, "{given} was refused and yet changed something");
                }
                for word in ["", "fast", "stpo", "0x10", "1,5"] {
                    let given = format!("{name}={word}");
                    assert!(settings.clone().set(&given).is_err(), "{} takes {given}", task.name);
                }
            }
        }
    }

    #[test]
    fn values_that_exclude_each_other_are_refused() {
        let artifact = fake::artifact();
        let error = |task: &str, set: &[&str]| {
            let set: Vec<String> = set.iter().map(|s| s.to_string()).collect();
            Settings::checked(&artifact, task, &set)
                .map(|_| ())
                .map_err(|e| e.to_string())
        };
        let shares = error("finetune", &["hold_share=0.6"]).unwrap_err();
        assert!(shares.contains("hold_share"), "{shares}");
        error("finetune", &["hold_share=0.6", "decay_share=0.3"]).unwrap();
        let samples = error("finetune", &["max_samples=300", "min_samples=301"]).unwrap_err();
        assert!(samples.contains("min_samples"), "{samples}");
        error("finetune", &["max_samples=0"]).unwrap();
        let window = error("transcribe", &["window_seconds=4"]).unwrap_err();
        assert!(window.contains("twice"), "{window}");
        let negatives = error("pretrain", &["negatives=6"]).unwrap_err();
        assert!(negatives.contains("compiled for 5"), "{negatives}");
    }
}
