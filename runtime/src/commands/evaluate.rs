//! `evaluate`: transcribes recordings with known texts, and scores the transcripts.

use super::score::Lists;
use crate::atomic::write_text;
use crate::error::Error;
use crate::log::pace::duration;
use crate::log::{Progress, tell};
use crate::score::{Pair, Score, score};
use crate::session::Session;
use crate::trainer::Transcriber;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Args)]
pub struct EvaluateArgs {
    /// A run, a Hugging Face folder, or a file of weights (.pt, .bin, .safetensors).
    #[arg(long, value_name = "DIR")]
    pub weights: PathBuf,
    /// Recordings with texts, in any of the forms that finetune takes.
    #[arg(long, value_name = "D")]
    pub data: PathBuf,
    /// Also write the transcripts, `path<TAB>text` per recording; `score` reads them.
    #[arg(long, value_name = "FILE")]
    pub hyp: Option<PathBuf>,
    /// Compare with the texts as they are instead of normalising them to the vocabulary.
    #[arg(long)]
    pub raw: bool,
    /// Change a setting of `transcribe`; `info` lists them.
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub lists: Lists,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Evaluation {
    #[serde(flatten)]
    score: Score,
    /// Seconds of audio, and seconds that its transcription took.
    audio_seconds: f64,
    seconds: f64,
    without_text: usize,
    /// Recordings that could not be read, with the reason.
    failed: BTreeMap<String, String>,
    /// Letters of the texts that the vocabulary lacks, with the texts that have them: these are always errors.
    unknown_letters: BTreeMap<String, usize>,
}

/// Transcribes and scores; `say` prints to the standard output.
///
/// # Errors
/// Beside those of transcribing: where no recording has a text, and at the end where some could not be read.
pub fn run(
    session: &mut dyn Session,
    args: &EvaluateArgs,
    say: &dyn Fn(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    let all = crate::data::open(&args.data)?;
    let count = all.len();
    let with_text: Vec<_> = all.into_iter().filter(|u| u.text.is_some()).collect();
    if with_text.is_empty() {
        let what = format!("none of its {count} recordings has a text");
        return Err(Error::data(args.data.display(), what, "give a table `path<TAB>text`"));
    }
    let mut transcriber = Transcriber::new(session, &args.weights, &args.set)?;
    let mut progress = Progress::new("recordings transcribed", with_text.len());
    let mut found = Evaluation {
        score: score(&[], 0, 0),
        audio_seconds: 0.0,
        seconds: 0.0,
        without_text: count - with_text.len(),
        failed: BTreeMap::new(),
        unknown_letters: BTreeMap::new(),
    };
    let mut pairs = vec![];
    for utterance in &with_text {
        let name = utterance.name().display().to_string();
        match transcriber.utterance(utterance) {
            Ok(heard) => {
                let text = utterance.text.as_deref().unwrap_or_default();
                if let Some(letter) = transcriber.unknown_letter(text) {
                    *found.unknown_letters.entry(letter).or_default() += 1;
                }
                let reference = match args.raw {
                    true => text.to_string(),
                    false => transcriber.normalize(text),
                };
                found.audio_seconds += heard.seconds;
                pairs.push(Pair {
                    name,
                    reference,
                    hypothesis: heard.text,
                });
            }
            Err(e) => {
                progress.suspend(|| tell(&format!("error: {e}")));
                found.failed.insert(name, e.to_string());
            }
        }
        progress.step();
    }
    found.seconds = progress.seconds();
    drop(progress);
    if let Some(path) = &args.hyp {
        let table: String = pairs
            .iter()
            .map(|p| format!("{}\t{}\n", p.name, p.hypothesis))
            .collect();
        write_text(path, &table)?;
    }
    found.score = score(&pairs, args.lists.top, args.lists.seed);
    if args.lists.json {
        say(&format!(
            "{}\n",
            serde_json::to_string(&found).expect("plain data always serialises")
        ))?;
    } else {
        say(&found.text())?;
    }
    match found.failed.len() {
        0 => Ok(()),
        n => {
            let what = format!(
                "{n} of its {} recordings could not be transcribed and are not scored",
                with_text.len()
            );
            Err(Error::data(
                args.data.display(),
                what,
                "repair them or take them out of the list",
            ))
        }
    }
}

impl Evaluation {
    fn text(&self) -> String {
        let mut page = self.score.to_string();
        let speed = self.audio_seconds / self.seconds.max(1e-9);
        page += &format!(
            "\n{} of audio transcribed in {}: {speed:.1} times as fast as it plays\n",
            duration(self.audio_seconds),
            duration(self.seconds)
        );
        if self.without_text > 0 {
            page += &format!("{} recordings without a text were left out\n", self.without_text);
        }
        if !self.unknown_letters.is_empty() {
            let list: Vec<String> = self
                .unknown_letters
                .iter()
                .map(|(c, n)| format!("`{c}` ({n} texts)"))
                .collect();
            let list = list.join(", ");
            page += &format!("letters that the vocabulary lacks, so that they are always errors: {list}\n");
        }
        page
    }
}
