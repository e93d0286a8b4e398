//! What is known before the data are opened: settings, the run folder, first or restored weights; and how rank 0 tells the
//! others.

use super::predict::unread;
use super::prepare::Options;
use crate::data::Corpus;
use crate::error::Error;
use crate::interrupt::Signals;
use crate::run::{Run, Saved, State, decode_state, encode_state};
use crate::session::Session;
use crate::settings::{OF_THE_DATA, Settings, hours, show};
use crate::weights::{Folder, HeadRows, initialize};
use ir::artifact::{Artifact, SettingValue};
use ir::task::{Amount, DataRules, Task as Declared};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What is known before the data are opened.
pub(super) struct Start {
    pub artifact: Artifact,
    pub settings: Settings,
    /// Rank 0's alone.
    pub run: Option<Run>,
    pub state: Option<State>,
    pub notes: Vec<String>,
    /// Settings that are not those the resumed run was begun with: name, and what it was and is.
    pub changed: Vec<(String, String)>,
    pub signals: Signals,
    /// Weights to start from were given.
    pub from_weights: bool,
    /// The sizes of batches are the recipe's, and may be made to fit.
    pub fit_batches: bool,
}

/// Settings that change neither what is computed nor which model is kept.
const WITHOUT_EFFECT: [&str; 7] = [
    "loaders",
    "save_every",
    "keep_checkpoints",
    "log_every",
    "estimate",
    "silence_seconds",
    "stall_seconds",
];

pub(super) fn is_of_the_data(rules: &DataRules, name: &str) -> bool {
    let of_rules = [&rules.min, &rules.max]
        .into_iter()
        .any(|a| *a == Amount::Setting(name.into()));
    of_rules || OF_THE_DATA.contains(&name)
}

fn changed(settings: &Settings, begun: &Settings) -> Vec<(String, String)> {
    let pairs = settings.list().iter().zip(begun.list());
    pairs
        .filter(|(now, then)| now.value != then.value && !WITHOUT_EFFECT.contains(&now.name.as_str()))
        .map(|(now, then)| {
            let what = format!("`{}` was {} and is {}", now.name, show(&then.value), show(&now.value));
            (now.name.clone(), what)
        })
        .collect()
}

/// Settings of the sizes of batches.
const OF_BATCHES: [&str; 3] = ["max_tokens", "max_batch", "accumulate"];

/// Whether the command line sets one of these.
fn named(options: &Options, names: &[&str]) -> bool {
    let name = |s: &String| s.split('=').next().unwrap_or_default().trim().to_string();
    options.set.iter().any(|s| names.contains(&name(s).as_str()))
}

pub(super) fn list(changed: &[(String, String)]) -> String {
    changed
        .iter()
        .map(|(_, what)| what.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Fails where a new run would lie in or on the folder that its first weights are read from.
fn apart(options: &Options) -> Result<(), Error> {
    let Some(init) = options.init.as_deref().and_then(|p| p.canonicalize().ok()) else {
        return Ok(());
    };
    // The folder need not be there yet: of its parents, the nearest that is.
    let known = options.out.ancestors().find_map(|p| match p.as_os_str().is_empty() {
        true => std::env::current_dir().ok(),
        false => p.canonicalize().ok(),
    });
    if known.is_some_and(|out| out.starts_with(&init)) {
        return Err(Error::run(
            &options.out,
            "it is, or is inside, the folder of --init, which is never written to",
            "choose another folder with --out",
        ));
    }
    Ok(())
}

impl Start {
    /// Opens the run folder, and fills the session's parameters from a checkpoint, from `init`, or at random. `head` says which
    /// rows of the head of `init` serve.
    pub fn new(
        session: &mut dyn Session,
        options: &Options,
        task: &Declared,
        head: Option<&HeadRows>,
    ) -> Result<Start, Error> {
        let command = task.name.as_str();
        let signals = options.signals.clone().map_or_else(Signals::watch, Ok)?;
        let artifact = session.artifact().clone();
        let mut settings = Settings::new(&artifact, command)?;
        let init = options.init.as_deref().map(Folder::open).transpose()?;
        if let Some(normalize) = init.as_ref().map(Folder::normalize).transpose()?.flatten() {
            settings.force("normalize", normalize as u8 as f64);
        }
        // Slips in --set are found before anything is written.
        options.set.iter().try_for_each(|s| settings.clone().set(s))?;
        if !options.resume {
            apart(options)?;
        }
        let run = Run::open(&options.out, options.resume, command)?;
        let state = if options.resume {
            run.restore(session, command)?
        } else {
            None
        };
        let mut notes = run.take_notes();
        if let Some(state) = &state {
            // What a run was begun with before there was such a limit.
            settings.force("valid_hours", 0.0);
            settings.restore(&state.settings);
        }
        let begun = settings.clone();
        options.set.iter().try_for_each(|s| settings.set(s))?;
        settings.agree(&artifact)?;
        let changed = match &state {
            Some(_) => changed(&settings, &begun),
            None => vec![],
        };
        if !changed.is_empty() {
            notes.push(format!(
                "settings changed on resuming ({}): the results differ from those of an uninterrupted run",
                list(&changed)
            ));
        }
        if state.is_none() {
            initialize(&artifact, session.params()?, settings.count("seed", 0)?, &|_| true);
            if let Some(folder) = &init {
                let absent = folder.load(&artifact, task, session.params()?, head)?;
                notes.extend(unread(&folder, &artifact));
                if !absent.is_empty() {
                    notes.push(format!(
                        "start at random, being absent from the given weights: {}",
                        absent.join(", ")
                    ));
                }
            }
        }
        Ok(Start {
            artifact,
            settings,
            run: Some(run),
            state,
            notes,
            changed,
            signals,
            from_weights: init.is_some(),
            fit_batches: !options.resume && !named(options, &OF_BATCHES),
        })
    }

    /// As [`Start::new`] on rank 0, which then tells the others what they need of it: none of them opens a file.
    pub fn together(
        session: &mut dyn Session,
        options: &Options,
        task: &Declared,
        head: Option<&HeadRows>,
    ) -> Result<Start, Error> {
        let ranks = &options.ranks;
        let mut own = None;
        let told = ranks.from_first(|| {
            let start = Start::new(session, options, task, head)?;
            let told = Told::of(&start, ranks.several());
            own = Some(start);
            Ok(told)
        })?;
        let start = match own {
            Some(start) => start,
            None => told.start(session, options, task)?,
        };
        ranks.spread(session.params()?)?;
        if ranks.several() && start.state.is_some() {
            let (first, second) = session.moments()?;
            ranks.spread(first)?;
            ranks.spread(second)?;
        }
        Ok(start)
    }

    /// Takes the recipe for as much data as was found, in a run that begins.
    pub fn choose_amount(&mut self, options: &Options, train: &Corpus) -> Result<(), Error> {
        if self.state.is_some() {
            return Ok(());
        }
        let seconds = train.lengths.iter().sum::<usize>() as f64 / crate::audio::RATE as f64;
        if let Some(chosen) = self
            .settings
            .for_hours(&self.artifact, seconds / 3600.0, &options.set)?
        {
            let values = match chosen.taken.is_empty() {
                true => String::new(),
                false => format!(": {}", chosen.taken.join(", ")),
            };
            self.notes.push(format!(
                "{} to train on: the recipe for {}{values}; --set changes any of it",
                hours(seconds / 3600.0),
                hours(chosen.hours)
            ));
        }
        Ok(())
    }
}

/// What rank 0 tells the others of a start.
#[derive(Default, Serialize, Deserialize)]
struct Told {
    settings: BTreeMap<String, SettingValue>,
    /// As it is written to a checkpoint.
    state: Option<String>,
    from_weights: bool,
}

impl Told {
    fn of(start: &Start, others: bool) -> Told {
        if !others {
            return Told::default();
        }
        let text = |state: &State| {
            encode_state(&Saved {
                state: state.clone(),
                files: BTreeMap::new(),
            })
        };
        Told {
            settings: start.settings.values(),
            state: start.state.as_ref().map(text),
            from_weights: start.from_weights,
        }
    }

    fn start(self, session: &mut dyn Session, options: &Options, task: &Declared) -> Result<Start, Error> {
        let artifact = session.artifact().clone();
        let mut settings = Settings::new(&artifact, &task.name)?;
        settings.restore(&self.settings);
        let read = |text: String| decode_state(Path::new("the state from rank 0"), text.as_bytes()).map(|s| s.state);
        Ok(Start {
            artifact,
            settings,
            run: None,
            state: self.state.map(read).transpose()?,
            notes: vec![],
            changed: vec![],
            signals: options.signals.clone().map_or_else(Signals::watch, Ok)?,
            from_weights: self.from_weights,
            fit_batches: !options.resume && !named(options, &OF_BATCHES),
        })
    }
}
