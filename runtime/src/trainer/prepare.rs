//! From options to a trainer: data for training and validation, then the trainer over what `start` opened.

use super::Trainer;
use super::course::Course;
use super::fit::fit;
use super::judge::Judge;
use super::optimize::overlap;
use super::rules::Rules;
use super::start::{Start, is_of_the_data, list};
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
use crate::run::{Known, State};
use crate::session::Session;
use crate::settings::Settings;
use crate::weights::{Texts, export_texts};
use ir::artifact::Artifact;
use ir::task::{Task as Declared, Training};
use serde::{Deserialize, Serialize};
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

/// Recordings that a rank looks for at the start, to know that it has the same as rank 0.
const LOOKED_FOR: usize = 16;

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
