//! Recordings to text: one line per recording, in the order given.

use crate::atomic::{Piece, Values, check_output, write_tensors};
use crate::audio::STDIN;
use crate::data::{Utterance, listing};
use crate::engine::{MOST_SAMPLES, together};
use crate::error::Error;
use crate::log::pace::duration;
use crate::log::{Progress, tell};
use crate::session::Session;
use crate::texts::{Finder, Frames, OutputFlags, SearchFlags, Writer};
use crate::trainer::{Sound, Transcriber, Transcript};
use crate::weights::{MODEL, for_language};
use clap::Args;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Recordings that wait to be transcribed together with others of like length, and samples they hold together.
const WAITING: usize = 32;
const MOST_WAITING: usize = 16_000 * 240;

/// Seconds of work of which nobody asks how fast it was.
const SHORT: f64 = 5.0;

/// Names of recordings in the last message.
const NAMED: usize = 10;

#[derive(Args)]
pub struct TranscribeArgs {
    /// A run, a Hugging Face folder, or a file of weights (.pt, .bin, .safetensors).
    #[arg(long, value_name = "DIR")]
    pub weights: PathBuf,
    /// Language of an adapter in the folder with weights, by its ISO 639-3 code: `fra` reads adapter.fra.safetensors.
    #[arg(long, value_name = "CODE")]
    pub language: Option<String>,
    /// Also write logits f32 [frames, classes], one tensor per recording, named by its path (`PATH#2` if it is repeated).
    #[arg(long, value_name = "FILE.safetensors")]
    pub logits: Option<PathBuf>,
    /// Change a setting; `info` lists them.
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub search: SearchFlags,
    #[command(flatten)]
    pub output: OutputFlags,
    /// Recordings, folders, manifests, tables, lists of paths, or `-` for a recording from standard input.
    #[arg(required = true, value_name = "RECORDING")]
    pub files: Vec<PathBuf>,
}

/// A recording on its way.
enum State {
    Waiting(Vec<f32>),
    Done(Box<Transcript>),
    Failed,
}

struct Job<'a, 'b> {
    transcriber: &'b mut Transcriber<'a>,
    finder: Finder,
    writer: Writer,
    say: &'b dyn Fn(&str) -> Result<(), Error>,
    progress: Progress,
    /// In the order given; what is done leaves at the front.
    queue: VecDeque<(PathBuf, State)>,
    failed: Vec<PathBuf>,
    done: usize,
    /// Seconds of audio that were heard.
    seconds: f64,
    /// Transcripts whose logits are kept.
    kept: Option<Vec<(PathBuf, Transcript)>>,
}

/// Transcribes recordings; `say` prints to the standard output.
///
/// # Errors
/// Beside those that concern all recordings: at the end, where some could not be transcribed.
pub fn run(
    session: &mut dyn Session,
    task: &str,
    args: &TranscribeArgs,
    say: &dyn Fn(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    if let Some(output) = &args.logits {
        check_output(output, &[&args.files[..], &[args.weights.join(MODEL)]].concat())?;
    }
    let mut transcriber = Transcriber::of(
        session,
        task,
        &for_language(&args.weights, args.language.as_deref())?,
        &args.set,
    )?;
    let finder = transcriber.finder(&args.search, &args.output)?;
    transcriber.keep_logits(args.logits.is_some() || finder.needs_logits());
    let (named, failed) = expand(&args.files);
    let writer = Writer::new(&args.output, named.len())?;
    let mut job = Job {
        transcriber: &mut transcriber,
        finder,
        writer,
        say,
        progress: Progress::new("recordings transcribed", named.len()),
        queue: VecDeque::new(),
        failed,
        done: 0,
        seconds: 0.0,
        kept: args.logits.is_some().then(Vec::new),
    };
    for utterance in &named {
        job.take(utterance)?;
    }
    while job.waiting().0 > 0 {
        job.batch()?;
    }
    job.flush()?;
    job.writer.finish(say)?;
    job.tell_speed();
    let Job { failed, done, kept, .. } = job;
    if let (Some(path), Some(kept)) = (&args.logits, kept) {
        write_logits(path, &kept)?;
    }
    if failed.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = failed.iter().take(NAMED).map(|p| p.display().to_string()).collect();
    let more = if failed.len() > NAMED { ", ..." } else { "" };
    Err(Error::data(
        format!("{} of {}", failed.len(), failed.len() + done),
        format!("could not be transcribed: {}{more}", names.join(", ")),
        "the messages above say why",
    ))
}

/// The recordings that the arguments name, and the arguments that name none that could be found.
pub(super) fn expand(files: &[PathBuf]) -> (Vec<Utterance>, Vec<PathBuf>) {
    const TABLES: [&str; 10] = [
        "tsv", "csv", "txt", "lst", "list", "scp", "json", "jsonl", "ndjson", "manifest",
    ];
    let (mut named, mut failed) = (vec![], vec![]);
    for path in files {
        let kind = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        let table = kind.is_some_and(|k| TABLES.contains(&k.as_str()));
        if path == Path::new(STDIN) || !path.is_dir() && !table {
            named.push(Utterance {
                path: path.clone(),
                ..Utterance::default()
            });
            continue;
        }
        match listing(path) {
            Ok(found) => {
                if let Some(note) = found.unknown_note() {
                    tell(&format!("note: {}: {note}", path.display()));
                }
                named.extend(found.utterances);
            }
            Err(e) => {
                tell(&format!("error: {e}"));
                failed.push(path.clone());
            }
        }
    }
    (named, failed)
}

impl Job<'_, '_> {
    /// Reads a recording, and transcribes what has waited long enough.
    fn take(&mut self, utterance: &Utterance) -> Result<(), Error> {
        let name = utterance.name();
        match self.transcriber.read(utterance) {
            Ok(Sound::Short(wave)) if wave.len() <= MOST_SAMPLES / 2 => {
                self.queue.push_back((name, State::Waiting(wave)));
            }
            Ok(sound) => {
                let outcome = self.long(utterance, sound);
                let state = self.settle(outcome)?;
                self.queue.push_back((name, state));
            }
            Err(e) => {
                let state = self.settle(Err(e))?;
                self.queue.push_back((name, state));
            }
        }
        loop {
            let (count, samples) = self.waiting();
            if count < WAITING && samples < MOST_WAITING {
                break;
            }
            self.batch()?;
        }
        self.flush()
    }

    /// Transcribes a recording of several windows, saying how far it is.
    fn long(&mut self, utterance: &Utterance, sound: Sound) -> Result<Transcript, Error> {
        let (begun, progress) = (Instant::now(), &mut self.progress);
        let name = utterance.name().display().to_string();
        let outcome = self.transcriber.hear(utterance, sound, &mut |part| {
            progress.within(&name, (part.done, part.total), begun.elapsed().as_secs_f64());
            Ok(())
        });
        self.progress.over();
        outcome
    }

    /// Recordings that wait, and their samples.
    fn waiting(&self) -> (usize, usize) {
        let sizes = self.queue.iter().filter_map(|(_, s)| match s {
            State::Waiting(wave) => Some(wave.len()),
            _ => None,
        });
        sizes.fold((0, 0), |(n, all), size| (n + 1, all + size))
    }

    /// Transcribes the first that waits, together with those most like it in length.
    fn batch(&mut self) -> Result<(), Error> {
        let mut waiting: Vec<(usize, usize)> = vec![];
        for (at, (_, state)) in self.queue.iter().enumerate() {
            if let State::Waiting(wave) = state {
                waiting.push((at, wave.len()));
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
        let sizes: Vec<usize> = waiting.iter().map(|(_, size)| *size).collect();
        let chosen: Vec<usize> = together(&sizes).into_iter().map(|i| waiting[i].0).collect();
        let mut clips: Vec<(PathBuf, Vec<f32>)> = vec![];
        for at in &chosen {
            let (name, state) = &mut self.queue[*at];
            if let State::Waiting(wave) = std::mem::replace(state, State::Failed) {
                clips.push((name.clone(), wave));
            }
        }
        for (at, outcome) in chosen.into_iter().zip(self.together(&clips)?) {
            self.queue[at].1 = self.settle(outcome)?;
        }
        self.flush()
    }

    /// Together where there is memory for it, else one by one.
    fn together(&mut self, clips: &[(PathBuf, Vec<f32>)]) -> Result<Vec<Result<Transcript, Error>>, Error> {
        let all: Vec<(&Path, &[f32])> = clips.iter().map(|(p, w)| (p.as_path(), w.as_slice())).collect();
        match self.transcriber.together(&all) {
            Err(Error::Memory { .. } | Error::DeviceMemory(_)) if all.len() > 1 => {}
            Err(e) if e.is_of_one() && all.len() == 1 => return Ok(vec![Err(e)]),
            outcome => return outcome,
        }
        let alone = |clip: &(&Path, &[f32])| match self.transcriber.together(std::slice::from_ref(clip)) {
            Ok(mut one) => Ok(one.pop().expect("one recording gives one outcome")),
            Err(e) if e.is_of_one() => Ok(Err(e)),
            Err(e) => Err(e),
        };
        all.iter().map(alone).collect()
    }

    /// Tells an error that concerns one recording; others end all.
    fn settle(&mut self, outcome: Result<Transcript, Error>) -> Result<State, Error> {
        match outcome {
            Ok(heard) => Ok(State::Done(Box::new(heard))),
            Err(e) if e.is_of_one() => {
                self.progress.suspend(|| tell(&format!("error: {e}")));
                Ok(State::Failed)
            }
            Err(e) => Err(e),
        }
    }

    /// Prints what is known at the front of the queue.
    fn flush(&mut self) -> Result<(), Error> {
        while let Some((name, state)) = self.queue.pop_front() {
            match state {
                State::Waiting(wave) => {
                    self.queue.push_front((name, State::Waiting(wave)));
                    break;
                }
                State::Failed => self.failed.push(name),
                State::Done(heard) => {
                    self.done += 1;
                    self.seconds += heard.seconds;
                    let found = self.texts(&name, &heard)?;
                    self.progress.suspend(|| self.writer.write(&found, self.say))?;
                    if let Some(kept) = &mut self.kept {
                        kept.push((name, *heard));
                    }
                }
            }
            self.progress.step();
        }
        Ok(())
    }
}

impl Job<'_, '_> {
    /// Says how fast it was, where that took long enough to be asked.
    fn tell_speed(&self) {
        let took = self.progress.seconds();
        if took >= SHORT && self.seconds > 0.0 {
            let (audio, all) = (duration(self.seconds), duration(took));
            self.progress.suspend(|| {
                tell(&format!(
                    "{audio} of audio in {all}: {:.0} times as fast as it was spoken",
                    self.seconds / took
                ));
            });
        }
    }

    fn texts(&self, name: &Path, heard: &Transcript) -> Result<decode::output::Transcript, Error> {
        let name = name.display().to_string();
        let frames = Frames {
            name: &name,
            logits: &heard.logits,
            classes: heard.classes,
            duration: heard.seconds,
        };
        if self.finder.needs_logits() {
            return self.finder.find(&frames);
        }
        Ok(decode::output::Transcript {
            name: name.clone(),
            text: heard.text.clone(),
            ..decode::output::Transcript::default()
        })
    }
}

fn write_logits(path: &Path, kept: &[(PathBuf, Transcript)]) -> Result<(), Error> {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    let mut used: BTreeSet<String> = BTreeSet::new();
    let mut pieces: Vec<(String, Piece)> = vec![];
    for (name, heard) in kept {
        let plain = name.display().to_string();
        let name = loop {
            let n = count.entry(plain.clone()).or_default();
            *n += 1;
            let name = if *n == 1 { plain.clone() } else { format!("{plain}#{n}") };
            if used.insert(name.clone()) {
                break name;
            }
        };
        let piece = Piece {
            shape: vec![heard.frames, heard.classes],
            values: Values::F32(&heard.logits),
        };
        pieces.push((name, piece));
    }
    pieces.sort_by(|a, b| a.0.cmp(&b.0));
    write_tensors(path, pieces)
}
