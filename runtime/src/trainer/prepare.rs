//! From options to a trainer: settings, data, run folder, first or restored weights.

use super::Trainer;
use super::course::Course;
use super::fit::fit;
use super::judge::Judge;
use super::optimize::overlap;
use super::predict::unread;
use super::rules::Rules;
use super::target::Target;
use crate::data::{
    Batcher, Corpus, DEFAULT_SHARE, Opened, Position, Skipped, Task, enough_left, show_places, table_of_reasons,
};
use crate::digest::Digest;
use crate::error::Error;
use crate::feeds::{self, Feeds};
use crate::identity::{Clips, Identity};
use crate::interrupt::Signals;
use crate::log::Log;
use crate::memory::Guard;
use crate::ranks::{Ranks, Share};
use crate::run::{Known, Run, Saved, State, decode_state, encode_state};
use crate::session::Session;
use crate::settings::{OF_THE_DATA, Settings, hours, show};
use crate::weights::{Folder, HeadRows, Texts, export_texts, initialize};
use ir::artifact::{Artifact, SettingValue};
use ir::task::{Amount, DataRules, Task as Declared, Training};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
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
    /// Processes that train together.
    pub ranks: Ranks,
}

impl Options {
    /// What has to be the same on every rank.
    fn words(&self, task: &str) -> String {
        let Options {
            data,
            valid,
            out,
            init,
            vocab,
            resume,
            set,
            ..
        } = self;
        format!("{task} {data:?} {valid:?} {out:?} {init:?} {vocab:?} {resume} {set:?}")
    }
}

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

/// Recordings that a rank looks for at the start, to know that it has the same as rank 0.
const LOOKED_FOR: usize = 16;

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

/// Data for training and validation, and why the rest is left out.
#[derive(Serialize, Deserialize)]
pub(super) struct Corpora {
    pub train: Corpus,
    pub valid: Corpus,
    pub skipped: Vec<Skipped>,
    /// Share of the clips that may be left out.
    pub allowed: f64,
    pub notes: Vec<String>,
}

impl Corpora {
    /// Fails where recordings that rank 0 has found are not found here: some of them are looked for.
    fn are_here(&self, ranks: &Ranks) -> Result<(), Error> {
        if ranks.is_first() {
            return Ok(());
        }
        for corpus in [&self.train, &self.valid] {
            let step = (corpus.len() / LOOKED_FOR).max(1);
            for clip in corpus.utterances.iter().step_by(step) {
                std::fs::metadata(&clip.path).map_err(|e| {
                    Error::data(
                        clip.path.display(),
                        format!("rank 0 has it, and this rank cannot open it ({e})"),
                        "let every machine have the recordings under the same path",
                    )
                })?;
            }
        }
        Ok(())
    }

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
    let ranks = &options.ranks;
    ranks.compare("command line", &ranks.gather(options.words(task))?)?;
    let joined = if ranks.several() { session.join(ranks)? } else { None };
    let mut target = choose(session, &declared, options)?;
    let mut start = Start::together(session, options, &declared, target.head())?;
    start.notes.append(&mut target.notes);
    start.notes.extend(joined);
    let (artifact, settings) = (&start.artifact, &start.settings);
    let feeds = Feeds::bind(artifact, &declared, settings, target.of_feeds())?;
    let rules = Rules::bind(&training.data, settings)?;
    let open = || Corpora::open(options, settings, &|u, samples| rules.judge(&feeds, u, samples, true));
    let corpora = ranks.from_first(open)?;
    corpora.are_here(ranks)?;
    // The recipe for as many hours as there are decides what the rest is bound to.
    start.choose_amount(options, &corpora.train)?;
    let (artifact, settings) = (&start.artifact, &start.settings);
    let feeds = Feeds::bind(artifact, &declared, settings, target.of_feeds())?;
    let course = Course::bind(artifact, &declared, training, settings)?;
    run(
        (session, ranks),
        (&declared, training),
        (feeds, course, rules),
        start,
        corpora,
        &target,
    )
}

/// Puts the parts together, writes the texts of the run folder, and trains.
fn run(
    (session, ranks): (&mut dyn Session, &Ranks),
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
            (session, ranks),
            (&feeds, &program),
            &mut settings,
            &mut limits,
            &corpora.train,
        )?);
    }
    let resumed = state.is_some();
    notes.extend(enough_for_all(ranks, &mut settings, resumed)?);
    // Others have no run folder to compare it with.
    let identity = match &run {
        Some(_) => Identity {
            train: Clips::of(&corpora.train)?,
            valid: Clips::of(&corpora.valid)?,
            vocabulary: target.words(),
        },
        None => Identity::default(),
    };
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
    if let (Some(run), Some(what)) = (&run, identity.difference(&state.identity, corpora.train.fingerprint())) {
        let mut of_data = changed;
        of_data.retain(|(name, _)| is_of_the_data(&training.data, name));
        if !of_data.is_empty() {
            return Err(Error::run(
                run.dir(),
                format!(
                    "settings that choose the clips differ from those it was begun with: {}",
                    list(&of_data)
                ),
                "leave them as they were, or start again with --init this folder and another --out",
            ));
        }
        let remedy = "give the same as before, or start again with --init this folder and another --out";
        return Err(Error::run(run.dir(), what, remedy));
    }
    if let Some(run) = &run {
        run.describe(command, digests(&identity, &artifact, &settings, command))?;
    }
    let saved = resumed.then(|| state.clone());
    state.identity = Known::Now(identity);
    state.settings = settings.values();
    let normalize = settings.flag("normalize")?;
    let texts = Texts {
        task,
        vocab: target.vocab(),
        settings: &settings,
    };
    if let Some(run) = &run {
        export_texts(run.dir(), &artifact, &texts)?;
        target.write(run.dir())?;
    }
    signals.arm()?;
    let (done, total) = (state.update, settings.count("updates", 0)?);
    let mut log = match &run {
        Some(run) => Log::open(run.dir(), done, total)?,
        None => Log::mute(done, total),
    };
    ranks.set_limits(settings.number("silence_seconds")?, settings.number("stall_seconds")?);
    if ranks.several() {
        notes.push(format!("{} ranks: {}", ranks.size(), ranks.places()));
    }
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
    let share = Share {
        rank: ranks.rank(),
        ranks: ranks.size(),
        group: settings.count("accumulate", 1)?,
    };
    let in_epoch = Batcher::new(train.lengths.clone(), limits, task.seed, true)
        .epoch(0)
        .len() as u64;
    if in_epoch < ranks.size() as u64 {
        let what = format!(
            "its clips make {in_epoch} batch(es), and there are {} ranks",
            ranks.size()
        );
        let remedy = "start fewer ranks, give more data, or lower --set max_tokens=N";
        return Err(Error::data("training", what, remedy));
    }
    let mut trainer = Trainer {
        ranks: ranks.clone(),
        share,
        in_epoch,
        first: 0,
        cursor: share.next(0),
        last_norm: 0,
        divided_by: None,
        overlap: overlap(ranks, &settings)?,
        wish: None,
        spread: Default::default(),
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

/// Chooses what predictions mean on rank 0, whose files decide, and how many classes there are on every rank.
fn choose(session: &mut dyn Session, task: &Declared, options: &Options) -> Result<Target, Error> {
    let ranks = &options.ranks;
    let sizes = |session: &dyn Session| -> Vec<(String, i64)> {
        let sizes = session.artifact().run_sizes.iter();
        sizes.map(|s| (s.name.to_string(), s.value)).collect()
    };
    let (target, chosen) = ranks.from_first(|| {
        let target = Target::choose(session, task, options)?;
        Ok((target, sizes(session)))
    })?;
    let own = sizes(session);
    let differ: Vec<(&str, i64)> = chosen
        .iter()
        .filter(|one| !own.contains(one))
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    if !differ.is_empty() {
        session.choose(&differ)?;
    }
    Ok(target)
}

/// An update has a plan for every rank; what was changed for that in a run that begins.
fn enough_for_all(ranks: &Ranks, settings: &mut Settings, resumed: bool) -> Result<Option<String>, Error> {
    let (group, size) = (settings.count("accumulate", 1)?, ranks.size() as u64);
    if group >= size {
        let even = group.next_multiple_of(size);
        let text = format!(
            "an update has {group} micro-batches for {size} ranks: some wait for others (--set accumulate={even} would be even)"
        );
        return Ok((even != group).then_some(text));
    }
    if resumed {
        return Err(Error::Setting(format!(
            "`accumulate` is {group} and there are {size} ranks, some of which would have nothing to do: start {group} at most, or \
             give --set accumulate={size} (another update than the run was begun with)"
        )));
    }
    settings.force("accumulate", size as f64);
    Ok(Some(format!(
        "an update has {size} micro-batches and not {group}: one for each rank (--set accumulate=N)"
    )))
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
