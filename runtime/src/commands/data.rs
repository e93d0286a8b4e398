//! `data check`: what a data set holds, and what a training would leave out of it.

use crate::audio::RATE;
use crate::data::{
    Decoded, Listing, SILENT, Skipped, Utterance, decode_all, listing, repeated_note, table_of_reasons, too_many,
};
use crate::error::Error;
use crate::feeds::{Feeds, Target};
use crate::settings::Settings;
use crate::trainer::{Rules, letters};
use crate::vocab::{self, Vocab, make, readable};
use clap::{Args, Subcommand};
use ir::artifact::Artifact;
use ir::task::{Judge, Task};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct DataArgs {
    #[command(subcommand)]
    pub command: DataCommand,
}

#[derive(Subcommand)]
pub enum DataCommand {
    /// Report clips, hours, lengths and letters, and what would be left out and why. Decodes every recording to its end.
    #[command(
        after_help = "Data with texts are checked for fine-tuning, others for pretraining.\nExit code: 9 where \
                      more would be left out than a training allows by default.\nExamples:\n  OUT data check recordings/\n  \
                      OUT data check train.tsv --vocab vocab.json\n  OUT data check train.tsv --set units=jamo"
    )]
    Check(CheckArgs),
}

#[derive(Args)]
pub struct CheckArgs {
    /// Data sets, in any form that --data takes.
    #[arg(required = true, value_name = "DATA")]
    data: Vec<PathBuf>,
    /// Vocabulary (vocab.json or dict.ltr.txt) of the texts. By default, and with `auto`, the one that finetune
    /// would make of the texts.
    #[arg(long, value_name = "auto|FILE")]
    vocab: Option<PathBuf>,
    /// Change a setting of the task, such as min_samples; `info` lists them.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    /// The training it is for.
    command: String,
    /// It learns from texts or labels.
    #[serde(skip)]
    labelled: bool,
    clips: usize,
    hours: f64,
    without_text: usize,
    silent: usize,
    cancelling: usize,
    /// Seconds: shortest, median, longest.
    lengths: [f64; 3],
    /// From a length in seconds on, up to the next.
    histogram: Vec<(f64, usize)>,
    /// Tokens of the texts, the most frequent first.
    letters: Vec<(String, usize)>,
    /// Letters without a token, and how many texts have some.
    lacking: Vec<(String, usize)>,
    texts_lacking: usize,
    /// What normalisation drops of the texts.
    dropped: Vec<(String, usize)>,
    /// Where the tokens come from.
    vocabulary: String,
    usable: usize,
    usable_hours: f64,
    /// Recording and reason.
    left_out: Vec<(String, String)>,
    notes: Vec<String>,
}

/// Lower ends of the classes of the histogram, in seconds.
const CLASSES: [f64; 11] = [0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0];

/// Tokens that are shown one by one.
const SHOWN: usize = 200;

/// # Errors
/// Where the data cannot be listed, and at the end where more would be left out than is allowed by default.
pub fn run(artifact: &Artifact, args: &DataArgs, say: &dyn Fn(&str) -> Result<(), Error>) -> Result<(), Error> {
    let DataCommand::Check(args) = &args.command;
    let mut all = Listing::default();
    for place in &args.data {
        let own = listing(place)?;
        all.utterances.extend(own.utterances);
        for (kind, count) in own.unknown {
            *all.unknown.entry(kind).or_default() += count;
        }
    }
    let with_text = all.utterances.iter().filter(|u| u.text.is_some()).count();
    let task = training_for(artifact, with_text > 0)?;
    let settings = Settings::checked(artifact, &task.name, &args.set)?;
    let vocab = match task.training().and_then(|t| t.judge.as_ref()) {
        Some(Judge::Text { .. }) => Some(vocabulary(artifact, task, args, &all)?),
        _ => None,
    };
    let check = Check::new(artifact, task, &settings, vocab)?;
    let report = check.report(all)?;
    let text = match args.json {
        true => format!(
            "{}\n",
            serde_json::to_string(&report).expect("plain data always serialises")
        ),
        false => report.text(),
    };
    say(&text)?;
    let left_out = report.left_out.iter().filter(|(_, reason)| reason != SILENT).count();
    if report.usable == 0 || too_many(left_out, report.clips, crate::data::DEFAULT_SHARE) {
        return Err(Error::data(
            crate::data::show_places(&args.data),
            format!("{left_out} of {} clips would be left out", report.clips),
            "mend them, or train with --allow-skips",
        ));
    }
    Ok(())
}

/// The vocabulary that the texts would be learnt with, and where it comes from.
fn vocabulary(artifact: &Artifact, task: &Task, args: &CheckArgs, all: &Listing) -> Result<(Vocab, String), Error> {
    let asked = args.vocab.as_deref().filter(|path| *path != Path::new(letters::AUTO));
    if let Some(path) = asked {
        let vocab = letters::read(path)?;
        let rules = letters::rules(artifact, task, &args.set, vocab.rules())?;
        return Ok((vocab.with_rules(rules), path.display().to_string()));
    }
    let texts: Vec<&str> = all.utterances.iter().filter_map(|u| u.text.as_deref()).collect();
    let rules = letters::rules(artifact, task, &args.set, vocab::Rules::default())?;
    Ok((make(&texts, rules, None), "made of the texts".into()))
}

/// The training that data are for: one that learns texts or labels, or one that needs none.
fn training_for(artifact: &Artifact, with_text: bool) -> Result<&Task, Error> {
    let mut any = None;
    for task in artifact.tasks.iter().filter(|t| t.training().is_some()) {
        let settings = Settings::new(artifact, &task.name)?;
        let feeds = Feeds::bind(artifact, task, &settings, Target::default())?;
        if feeds.label().is_some() == with_text {
            return Ok(task);
        }
        any = any.or(Some(task));
    }
    any.ok_or_else(|| Error::Usage(format!("`{}` has no task that trains", artifact.name)))
}

/// What a training asks of a clip.
struct Check {
    task: String,
    feeds: Feeds,
    rules: Rules,
    vocab: Option<(Vocab, String)>,
}

impl Check {
    fn new(
        artifact: &Artifact,
        task: &Task,
        settings: &Settings,
        vocab: Option<(Vocab, String)>,
    ) -> Result<Check, Error> {
        let training = task.training().ok_or_else(|| Error::no_task(artifact, &task.name))?;
        let target = Target {
            vocab: vocab.as_ref().map(|(v, _)| v),
            ..Target::default()
        };
        Ok(Check {
            task: task.name.clone(),
            feeds: Feeds::bind(artifact, task, settings, target)?,
            rules: Rules::bind(&training.data, settings)?,
            vocab,
        })
    }

    /// Why a clip would be left out.
    fn judge(&self, utterance: &Utterance, found: Decoded) -> Result<(), String> {
        self.rules
            .judge(&self.feeds, utterance, found.samples, self.vocab.is_some())?;
        if found.silent && self.rules.drop_silent {
            return Err(SILENT.into());
        }
        match (self.feeds.label(), &utterance.text) {
            (Some(_), None) => Err("it has no text".into()),
            _ => Ok(()),
        }
    }

    fn report(&self, all: Listing) -> Result<Report, Error> {
        let decoded = decode_all(&all.utterances)?;
        let mut notes: Vec<String> = all.unknown_note().into_iter().collect();
        notes.extend(repeated_note(&all.utterances));
        let (mut samples, mut usable, mut usable_samples) = (vec![], 0, 0);
        let (mut silent, mut cancelling, mut left_out) = (0, 0, vec![]);
        let texts = all.utterances.iter().filter_map(|u| u.text.as_deref());
        let coverage = self.vocab.as_ref().map(|(v, _)| v.coverage(texts)).unwrap_or_default();
        for (utterance, outcome) in all.utterances.iter().zip(decoded) {
            let judged = outcome.and_then(|found| {
                samples.push(found.samples);
                silent += usize::from(found.silent);
                cancelling += usize::from(found.cancels);
                self.judge(utterance, found).map(|()| found.samples)
            });
            match judged {
                Ok(n) => (usable, usable_samples) = (usable + 1, usable_samples + n),
                Err(reason) => left_out.push((utterance.name().display().to_string(), reason)),
            }
        }
        samples.sort_unstable();
        let seconds = |n: usize| n as f64 / RATE as f64;
        let at = |i: usize| samples.get(i).map_or(0.0, |n| seconds(*n));
        let class = |i: usize| {
            let end = CLASSES.get(i + 1).copied().unwrap_or(f64::INFINITY);
            let within = |n: &&usize| (CLASSES[i]..end).contains(&seconds(**n));
            (CLASSES[i], samples.iter().filter(within).count())
        };
        Ok(Report {
            command: self.task.clone(),
            labelled: self.feeds.label().is_some(),
            clips: all.utterances.len(),
            hours: seconds(samples.iter().sum()) / 3600.0,
            without_text: all.utterances.iter().filter(|u| u.text.is_none()).count(),
            silent,
            cancelling,
            lengths: [at(0), at(samples.len() / 2), at(samples.len().saturating_sub(1))],
            histogram: (0..CLASSES.len()).map(class).collect(),
            letters: frequent(coverage.found),
            lacking: frequent(coverage.lacking),
            texts_lacking: coverage.affected,
            dropped: frequent(coverage.dropped.into_iter().map(|(c, n)| (c.to_string(), n)).collect()),
            vocabulary: self.vocab.as_ref().map_or(String::new(), |(_, from)| from.clone()),
            usable,
            usable_hours: seconds(usable_samples) / 3600.0,
            left_out,
            notes,
        })
    }
}

/// The most frequent first.
fn frequent(counts: BTreeMap<String, usize>) -> Vec<(String, usize)> {
    let mut list: Vec<(String, usize)> = counts.into_iter().collect();
    list.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    list
}

/// Tokens with their counts, in one line; of thousands the most frequent.
fn counted(list: &[(String, usize)]) -> String {
    let show = |(token, n): &(String, usize)| match token.chars().all(char::is_alphanumeric) {
        true => format!("{token} {n}"),
        false => format!("{} {n}", readable(token)),
    };
    let shown: Vec<String> = list.iter().take(SHOWN).map(show).collect();
    match list.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{}, and {more} more (--json has all)", shown.join(", ")),
    }
}

impl Report {
    fn text(&self) -> String {
        let [shortest, median, longest] = self.lengths;
        let mut out = format!(
            "{} clips, {:.2} h; shortest {shortest:.2} s, median {median:.2} s, longest {longest:.2} s\n",
            self.clips, self.hours
        );
        let most = self.histogram.iter().map(|(_, n)| *n).max().unwrap_or(0).max(1);
        for (from, count) in self.histogram.iter().filter(|(_, n)| *n > 0) {
            out += &format!(
                "  from {from:>4} s {count:>8}  {}\n",
                "#".repeat((40 * count).div_ceil(most))
            );
        }
        let mut note = |count: usize, what: &str| {
            if count > 0 {
                out += &format!("{count} clips {what}\n");
            }
        };
        if self.labelled {
            note(self.without_text, "have no text");
        }
        note(self.silent, "are silent");
        note(
            self.cancelling,
            "have channels that cancel each other: their mean, which is what is used, is nearly silent",
        );
        for note in &self.notes {
            out += &format!("{note}\n");
        }
        if !self.letters.is_empty() {
            let (count, from) = (self.letters.len(), &self.vocabulary);
            out += &format!("{count} different tokens ({from}): {}\n", counted(&self.letters));
        }
        if !self.dropped.is_empty() {
            out += &format!(
                "normalisation drops {} (--set keep_punctuation=true learns them)\n",
                counted(&self.dropped)
            );
        }
        if !self.lacking.is_empty() {
            out += &format!(
                "{} texts have letters without a token: {} (write them in letters, or use --vocab auto)\n",
                self.texts_lacking,
                counted(&self.lacking)
            );
        }
        out += &format!(
            "{} would use {} clips, {:.2} h",
            self.command, self.usable, self.usable_hours
        );
        match self.left_out.len() {
            0 => out + " and leave out none\n",
            n => {
                let skip = |(path, reason): &(String, String)| Skipped {
                    path: path.into(),
                    reason: reason.clone(),
                };
                let skipped: Vec<Skipped> = self.left_out.iter().map(skip).collect();
                out + &format!(" and leave out {n}:{}\n", table_of_reasons(&skipped))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::path::Path;

    fn wav(path: &Path, samples: impl Iterator<Item = i16>) {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 16_000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut w = hound::WavWriter::create(path, spec).unwrap();
        samples.for_each(|s| w.write_sample(s).unwrap());
        w.finalize().unwrap();
    }

    #[test]
    fn a_check_counts_and_says_what_would_be_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        wav(&at("a.wav"), (0..24_000).map(|i| (i * 31 % 999) as i16));
        wav(&at("b.wav"), (0..48_000).map(|i| (i * 37 % 999) as i16));
        wav(&at("short.wav"), (0..50).map(|i| i as i16));
        wav(&at("quiet.wav"), (0..20_000).map(|_| 5));
        std::fs::write(at("odd.xyz"), "?").unwrap();
        let said = RefCell::new(String::new());
        let with = |data: PathBuf, vocab: Option<PathBuf>, json: bool| {
            said.borrow_mut().clear();
            let args = DataArgs {
                command: DataCommand::Check(CheckArgs {
                    data: vec![data],
                    vocab,
                    set: vec!["min_samples=100".into()],
                    json,
                }),
            };
            let say = |text: &str| {
                said.borrow_mut().push_str(text);
                Ok(())
            };
            run(&crate::fake::artifact(), &args, &say)
        };
        let call = |data: PathBuf, json: bool| with(data, None, json);
        // One that is too short always may be, and silence is no damage.
        call(dir.path().into(), false).unwrap();
        let text = said.borrow().clone();
        for part in [
            "4 clips",
            "1 clips are silent",
            "1 .xyz",
            "use 2 clips",
            "leave out 2",
            "short.wav",
            "quiet.wav",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        std::fs::write(at("cut.wav"), "RIFF").unwrap();
        assert_eq!(call(dir.path().into(), false).unwrap_err().exit_code(), 9);
        std::fs::write(at("t.tsv"), "a.wav\tone two\nb.wav\teno\n").unwrap();
        call(at("t.tsv"), true).unwrap();
        let found: serde_json::Value = serde_json::from_str(&said.borrow()).unwrap();
        assert_eq!((&found["command"], &found["usable"]), (&"finetune".into(), &2.into()));
        assert_eq!(found["letters"][0], serde_json::json!(["o", 3]));
        assert!((found["hours"].as_f64().unwrap() - 4.5 / 3600.0).abs() < 1e-9);

        // Normalised, with what is dropped and what lacks, by a vocabulary of their own and by one that is given.
        std::fs::write(at("u.tsv"), "a.wav\tOne, one\nb.wav\tone two!\n").unwrap();
        call(at("u.tsv"), false).unwrap();
        let text = said.borrow().clone();
        assert!(text.contains("5 different tokens (made of the texts): o 4"), "{text}");
        assert!(
            text.contains("drops") && text.contains("`,` 1") && text.contains("`!` 1"),
            "{text}"
        );
        std::fs::write(at("v.json"), r#"{"<pad>": 0, "|": 1, "o": 2, "n": 3, "e": 4}"#).unwrap();
        // One clip may always be left out.
        with(at("u.tsv"), Some(at("v.json")), false).unwrap();
        let text = said.borrow().clone();
        for part in [
            "1 texts have letters without a token: t 1, w 1",
            "v.json): e 3, n 3, o 3",
            "`t`",
            "leave out 1",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
