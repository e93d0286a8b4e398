//! From options to a trainer: settings, data, run folder, first or restored weights.

use super::Trainer;
use super::course::Course;
use super::fit::fit;
use super::judge::Judge;
use super::rules::Rules;
use super::target::Target;
use crate::data::{Corpus, DEFAULT_SHARE, Opened, Position, Skipped, Task, enough_left, show_places, table_of_reasons};
use crate::digest::Digest;
use crate::error::Error;
use crate::feeds::{self, Feeds};
use crate::identity::{Clips, Identity};
use crate::interrupt::Signals;
use crate::log::Log;
use crate::memory::Guard;
use crate::run::{Known, Run, State};
use crate::session::Session;
use crate::settings::{OF_THE_DATA, Settings, hours, show};
use crate::weights::{Folder, HeadRows, Texts, export_texts, initialize};
use ir::artifact::Artifact;
use ir::task::{Amount, DataRules, Task as Declared, Training};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// What a user asks of a training.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Data sets to train on, together.
    pub data: Vec<PathBuf>,
    /// Validation data; where there are none, a share of `data`.
    pub valid: Vec<PathBuf>,
    /// Share of the clips that may be left out; by default a few percent.
    pub allow_skips: Option<f64>,
    pub out: PathBuf,
    /// Weights to start from; otherwise random ones.
    pub init: Option<PathBuf>,
    /// A vocabulary's file, or `auto` for one made of the texts; otherwise that of `init`, or one made where that has none.
    pub vocab: Option<PathBuf>,
    pub resume: bool,
    /// `NAME=VALUE`.
    pub set: Vec<String>,
    /// What signals ask for; `None`: those of this process are watched for.
    pub signals: Option<Signals>,
}

/// What is known before the data are opened.
pub(super) struct Start {
    pub artifact: Artifact,
    pub settings: Settings,
    pub run: Run,
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
const WITHOUT_EFFECT: [&str; 5] = ["loaders", "save_every", "keep_checkpoints", "log_every", "estimate"];

fn is_of_the_data(rules: &DataRules, name: &str) -> bool {
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

fn list(changed: &[(String, String)]) -> String {
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
            "it is, or lies in, the folder of --init, whose weights are read and not written",
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
            run,
            state,
            notes,
            changed,
            signals,
            from_weights: init.is_some(),
            fit_batches: !options.resume && !named(options, &OF_BATCHES),
        })
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

/// Data for training and validation, and why the rest is left out.
pub(super) struct Corpora {
    pub train: Corpus,
    pub valid: Corpus,
    pub skipped: Vec<Skipped>,
    /// Share of the clips that may be left out.
    pub allowed: f64,
    pub notes: Vec<String>,
}

impl Corpora {
    /// Opens the data, drops what `keep` refuses, and sets validation data apart.
    ///
    /// # Errors
    /// Where nothing is left, or more is left out than may be: before anything is trained.
    pub fn open(
        options: &Options,
        settings: &Settings,
        keep: &dyn Fn(&crate::data::Utterance, usize) -> Result<(), String>,
    ) -> Result<Corpora, Error> {
        let allowed = options.allow_skips.unwrap_or(DEFAULT_SHARE);
        let mut notes = vec![];
        let mut open = |places: &[PathBuf]| -> Result<(Corpus, Vec<Skipped>), Error> {
            let Opened {
                mut corpus,
                mut skipped,
                notes: more,
            } = Corpus::open(places)?;
            notes.extend(more);
            skipped.extend(corpus.retain(keep));
            let place = show_places(places);
            if corpus.is_empty() {
                return Err(Error::data(
                    place,
                    format!("none of its clips can be used:{}\n ", table_of_reasons(&skipped)),
                    "see the settings by `info`",
                ));
            }
            let hours = corpus.lengths.iter().sum::<usize>() as f64 / crate::audio::RATE as f64 / 3600.0;
            enough_left(&place, &skipped, (corpus.len(), hours), allowed)?;
            Ok((corpus, skipped))
        };
        let (all, mut skipped) = open(&options.data)?;
        let (train, valid) = match options.valid.is_empty() {
            false => {
                let (valid, more) = open(&options.valid)?;
                skipped.extend(more);
                (all, valid)
            }
            true => {
                let most = match settings.number("valid_hours")? {
                    0.0 => usize::MAX,
                    hours => (hours * 3600.0 * crate::audio::RATE as f64) as usize,
                };
                all.split(settings.share("valid_fraction")?, most, settings.count("seed", 0)?)
            }
        };
        let of_training: BTreeSet<PathBuf> = train.utterances.iter().map(|u| u.name()).collect();
        let shared = valid
            .utterances
            .iter()
            .filter(|u| of_training.contains(&u.name()))
            .count();
        if shared > 0 {
            notes.push(format!(
                "{shared} of the {} validation clips are trained on too: their score says nothing of other recordings",
                valid.len()
            ));
        }
        Ok(Corpora {
            train,
            valid,
            skipped,
            allowed,
            notes,
        })
    }
}

/// Whether a task's settings go together, and with what the model was compiled for: before anything is read or written.
///
/// # Errors
/// Where they do not.
pub fn check(artifact: &Artifact, settings: &Settings) -> Result<(), Error> {
    let task = artifact
        .task(settings.task())
        .ok_or_else(|| Error::no_task(artifact, settings.task()))?;
    Feeds::bind(artifact, task, settings, feeds::Target::default())?;
    if let Some(training) = task.training() {
        Course::bind(artifact, task, training, settings)?;
        Rules::bind(&training.data, settings)?;
    }
    Ok(())
}

/// Trains a task, into a run folder; returns the updates done.
///
/// # Errors
/// Where the model has no such task; settings, data or weights that cannot be used; what goes wrong on the way.
pub fn train(session: &mut dyn Session, task: &str, options: &Options) -> Result<u64, Error> {
    let artifact = session.artifact();
    let declared = artifact
        .task(task)
        .cloned()
        .ok_or_else(|| Error::no_task(artifact, task))?;
    let training = declared.training().ok_or_else(|| Error::no_task(artifact, task))?;
    let mut target = Target::choose(session, &declared, options)?;
    let mut start = Start::new(session, options, &declared, target.head())?;
    start.notes.append(&mut target.notes);
    let (artifact, settings) = (&start.artifact, &start.settings);
    let feeds = Feeds::bind(artifact, &declared, settings, target.of_feeds())?;
    let rules = Rules::bind(&training.data, settings)?;
    let corpora = Corpora::open(options, settings, &|u, samples| rules.judge(&feeds, u, samples, true))?;
    // The recipe for as many hours as there are decides what the rest is bound to.
    start.choose_amount(options, &corpora.train)?;
    let (artifact, settings) = (&start.artifact, &start.settings);
    let feeds = Feeds::bind(artifact, &declared, settings, target.of_feeds())?;
    let course = Course::bind(artifact, &declared, training, settings)?;
    run(
        session,
        (&declared, training),
        (feeds, course, rules),
        start,
        corpora,
        &target,
    )
}

/// Puts the parts together, writes the texts of the run folder, and trains.
fn run(
    session: &mut dyn Session,
    (task, training): (&Declared, &Training),
    (feeds, course, rules): (Feeds, Course, Rules),
    start: Start,
    corpora: Corpora,
    target: &Target,
) -> Result<u64, Error> {
    let Start {
        artifact,
        mut settings,
        run,
        state,
        mut notes,
        changed,
        signals,
        from_weights,
        fit_batches,
    } = start;
    let command = task.name.as_str();
    let mut limits = rules.limits();
    if fit_batches {
        let program = course.program(settings.count("updates", 0)?.saturating_sub(1)).clone();
        notes.extend(fit(
            session,
            (&feeds, &program),
            &mut settings,
            &mut limits,
            &corpora.train,
        )?);
    }
    let identity = Identity {
        train: Clips::of(&corpora.train)?,
        valid: Clips::of(&corpora.valid)?,
        vocabulary: target.words(),
    };
    let resumed = state.is_some();
    let mut state = state.unwrap_or_else(|| State {
        command: command.into(),
        update: 0,
        skips: 0,
        due: false,
        position: Position::default(),
        best: None,
        settings: settings.values(),
        identity: Known::Now(identity.clone()),
        constants: artifact.constants.clone(),
        graphs: Default::default(),
        config: artifact.config(command).unwrap_or_default(),
    });
    // A run that was begun before digests of programs were kept has it from now on.
    state.graphs = artifact.graphs_of(command);
    if let Some(what) = identity.difference(&state.identity, corpora.train.fingerprint()) {
        let mut of_data = changed;
        of_data.retain(|(name, _)| is_of_the_data(&training.data, name));
        if !of_data.is_empty() {
            return Err(Error::run(
                run.dir(),
                format!(
                    "settings that choose the clips differ from those it was begun with: {}",
                    list(&of_data)
                ),
                "leave them as they were, or start anew with --init this folder and another --out",
            ));
        }
        let remedy = "give the same as before, or start anew with --init this folder and another --out";
        return Err(Error::run(run.dir(), what, remedy));
    }
    run.describe(command, digests(&identity, &artifact, &settings, command))?;
    let saved = resumed.then(|| state.clone());
    state.identity = Known::Now(identity);
    state.settings = settings.values();
    let normalize = settings.flag("normalize")?;
    let texts = Texts {
        task,
        vocab: target.vocab(),
        settings: &settings,
    };
    export_texts(run.dir(), &artifact, &texts)?;
    target.write(run.dir())?;
    signals.arm()?;
    let mut log = Log::open(run.dir(), state.update, settings.count("updates", 0)?)?;
    for note in notes.iter().chain(&corpora.notes) {
        log.event(state.update, "note", note)?;
    }
    let seconds = |c: &Corpus| c.lengths.iter().sum::<usize>() as f64 / crate::audio::RATE as f64;
    let (train, valid) = (corpora.train, corpora.valid);
    let fields = [
        ("train_clips".to_string(), train.len() as f64),
        ("train_seconds".into(), seconds(&train)),
        ("valid_clips".into(), valid.len() as f64),
        ("valid_seconds".into(), seconds(&valid)),
        ("clips_left_out".into(), corpora.skipped.len() as f64),
    ];
    log.report(state.update, if resumed { "resume" } else { "start" }, &fields)?;
    let limits = rules.limits();
    let judge = training.judge.as_ref();
    let letters = target.letters.as_ref();
    let order = letters.map(|l| (training.heads.clone(), l.order.clone()));
    let judge = judge.map(|j| Judge::bind(j, target.of_feeds().vocab, &target.names));
    let task = Task {
        seed: settings.count("seed", 0)?,
        min_samples: rules.least(&feeds),
        max_tokens: limits.max_tokens,
        equal: limits.crop_to_shortest,
        normalize,
        drop_silent: rules.drop_silent,
    };
    let clips = train.len() + valid.len() + corpora.skipped.len();
    let mut trainer = Trainer {
        session,
        artifact,
        settings,
        feeds,
        course,
        judge,
        order,
        run,
        log,
        state,
        train: Arc::new(train),
        valid: Arc::new(valid),
        limits,
        task,
        guard: Guard::default(),
        skipped: Default::default(),
        barren_since: None,
        ahead: None,
        left_out: vec![],
        signals,
        saved,
        proven: None,
        owed: false,
        clips,
        allowed: corpora.allowed,
        untold: vec![],
        silent: 0,
        silent_told: false,
    };
    trainer.skip(corpora.skipped)?;
    trainer.tell_skipped()?;
    trainer.introduce(from_weights || resumed)?;
    trainer.train()
}

/// What a run is about, as its marker says it.
fn digests(
    identity: &Identity,
    artifact: &Artifact,
    settings: &Settings,
    command: &str,
) -> std::collections::BTreeMap<String, String> {
    let of = |value: String| Digest::of(value.as_bytes());
    let model = format!(
        "{:?}{:?}{:?}{:?}",
        artifact.constants,
        artifact.params,
        artifact.graphs_of(command),
        artifact.config(command)
    );
    let entries = [
        ("recordings", Some(identity.train.recordings.clone())),
        ("texts", Some(identity.train.texts.clone())),
        ("validation", Some(identity.valid.recordings.clone())),
        ("vocabulary", identity.vocabulary.as_ref().map(|v| of(format!("{v:?}")))),
        ("recipe", Some(of(format!("{:?}", settings.values())))),
        ("model", Some(of(model))),
    ];
    let text = |(name, digest): (&str, Option<Digest>)| Some((name.to_string(), digest?.to_string()));
    entries.into_iter().filter_map(text).collect()
}
