//! Fine-tuning: letters by connectionist temporal classification.

use super::letters::Letters;
use super::objective::{Objective, Score, Totals, need, sum_of};
use super::opening::histogram;
use super::prepare::{Corpora, Options, Start, limits, train};
use crate::batch::{Batch, Clips, Occasion, build};
use crate::data::{Clip, Utterance};
use crate::error::Error;
use crate::geometry::Geometry;
use crate::metrics::ErrorRates;
use crate::schedule::TriStage;
use crate::session::{Session, Tensor};
use crate::settings::Settings;
use crate::vocab::{Vocab, best_path, frames_needed};
use crate::weights::Missing;
use ir::artifact::{Artifact, Program};
use serde_json::{Map, Value};
use std::f64::consts::LN_2;

/// Validation clips whose texts go into the log.
const SAMPLES: usize = 8;

/// Fine-tunes, into a run folder; returns the updates done.
pub fn finetune(session: &mut dyn Session, options: &Options) -> Result<u64, Error> {
    let mut letters = Letters::choose(session, options)?;
    let vocab = letters.trained.clone();
    let mut start = Start::new(
        session,
        options,
        "finetune",
        Missing::HeadAndQuantizer,
        Some(&letters.head),
    )?;
    start.notes.append(&mut letters.notes);
    let settings = &start.settings;
    let geometry = Geometry::new(&start.artifact)?;
    let least = settings.count("min_samples", 0)? as usize;
    let tokens = settings.count("max_tokens", 1)? as usize;
    let most = match settings.count("max_samples", 0)? as usize {
        0 => tokens,
        n => n.min(tokens),
    };
    let keep = |u: &Utterance, length: usize| {
        if length < least {
            return Err(format!("it has {length} samples and min_samples is {least}"));
        }
        if geometry.frames(length) < super::LEAST_FRAMES {
            return Err(format!("it has {length} samples, too few to train on"));
        }
        if length > most {
            return Err(format!(
                "it has {length} samples and max_samples or max_tokens is {most}; cut it into sentences"
            ));
        }
        labels(&vocab, u.text.as_deref(), geometry.frames(length)).map(|_| ())
    };
    let corpora = Corpora::open(options, settings, &keep)?;
    start.choose_amount(options, &corpora.train)?;
    let mut objective = Finetuning::new(&start.settings, &start.artifact, vocab.clone(), letters.order)?;
    let limits = limits(&start.settings, usize::MAX, false)?;
    train(session, &mut objective, start, corpora, limits, Some(&letters.written))
}

/// The labels of a text, or why it cannot be learnt from.
fn labels(vocab: &Vocab, text: Option<&str>, frames: usize) -> Result<Vec<i32>, String> {
    let Some(text) = text else {
        return Err("it has no text".into());
    };
    let labels = vocab.encode(text).map_err(|c| {
        format!(
            "its text has `{c}`, which is not in the vocabulary; write it in letters (7 as seven), or give --vocab auto"
        )
    })?;
    let needed = frames_needed(&labels);
    if needed > frames {
        return Err(format!(
            "labels longer than frames: its text needs {needed} frames and it has {frames}; check that the text belongs \
             to the recording"
        ));
    }
    Ok(labels)
}

struct Finetuning {
    schedule: TriStage,
    /// Updates in which only the head trains; 0 where the model has no such program.
    frozen: u64,
    /// With the blank as class 0.
    vocab: Vocab,
    /// The number of each class in files.
    order: Vec<usize>,
    geometry: Geometry,
    /// Gives logits where the validating program has none.
    transcribe: Option<Program>,
    transcription: Settings,
    rates: ErrorRates,
    /// Whether any validation hypothesis had a letter.
    spoke: bool,
    /// The first clips of the validation, and the letter error rate of every clip in percent.
    samples: Vec<Map<String, Value>>,
    clip_rates: Vec<f64>,
}

impl Finetuning {
    fn new(s: &Settings, artifact: &Artifact, vocab: Vocab, order: Vec<usize>) -> Result<Finetuning, Error> {
        let has = |name: &str| artifact.programs.iter().any(|p| p.name == name);
        let frozen = s.count("freeze_updates", 0)?;
        if frozen > 0 && !has("finetune_head") {
            let remedy = "was compiled without the program `finetune_head`; use --set freeze_updates=0";
            return Err(Error::Setting(format!(
                "`freeze_updates` is {frozen} and `{}` {remedy}",
                artifact.name
            )));
        }
        Ok(Finetuning {
            schedule: TriStage {
                peak: s.number("lr")?,
                total: s.count("updates", 0)?,
                shares: [
                    s.share("warmup_share")?,
                    s.share("hold_share")?,
                    s.share("decay_share")?,
                ],
                start: s.number("lr_start")?,
                end: s.number("lr_end")?,
            },
            frozen,
            vocab,
            order,
            geometry: Geometry::new(artifact)?,
            transcribe: artifact.programs.iter().find(|p| p.name == "transcribe").cloned(),
            transcription: Settings::new(artifact, "transcribe")?,
            rates: ErrorRates::default(),
            spoke: false,
            samples: vec![],
            clip_rates: vec![],
        })
    }
}

impl Objective for Finetuning {
    fn command(&self) -> &'static str {
        "finetune"
    }

    fn program(&self, update: u64) -> &'static str {
        if update < self.frozen {
            "finetune_head"
        } else {
            "finetune"
        }
    }

    fn lr(&self, update: u64) -> f64 {
        self.schedule.at(update)
    }

    fn temperature(&self, _: u64) -> Option<f64> {
        None
    }

    fn labels(&self, clip: &Clip, frames: usize) -> Result<Vec<i32>, String> {
        labels(&self.vocab, clip.text.as_deref(), frames)
    }

    fn read(&self, batch: &Batch, outputs: &[(String, Tensor)]) -> Result<Totals, Error> {
        let loss = need(outputs, "finetune", "loss")?;
        let frames = batch.frames.iter().sum::<usize>() as f64;
        let sums = [
            ("loss", loss),
            ("ctc", sum_of(outputs, "ctc").unwrap_or(loss)),
            ("frames", frames),
        ];
        Ok(Totals::of(
            batch.frames.len() as f64,
            sums.map(|(n, v)| (n.to_string(), v)).to_vec(),
        ))
    }

    fn report(&self, totals: &Totals) -> Vec<(String, f64)> {
        vec![
            // Per sentence, as it is optimised, and per frame, which can be compared between data sets.
            ("loss_bits".into(), totals.get("loss") / totals.weight / LN_2),
            ("frame_bits".into(), totals.get("ctc") / totals.get("frames") / LN_2),
            ("sentences".into(), totals.weight / totals.batches.max(1.0)),
        ]
    }

    fn warnings(&mut self, _: u64, _: &Totals) -> Vec<(&'static str, String)> {
        vec![]
    }

    fn masks_in_validation(&self) -> bool {
        false
    }

    fn class_order(&self) -> Option<&[usize]> {
        Some(&self.order)
    }

    fn observe(
        &mut self,
        session: &mut dyn Session,
        clips: &[Clip],
        batch: &Batch,
        outputs: &[(String, Tensor)],
    ) -> Result<(), Error> {
        let find = |o: &[(String, Tensor)]| o.iter().find(|(n, _)| n == "logits").map(|(_, t)| t.clone());
        let logits = match (find(outputs), &self.transcribe) {
            (Some(own), _) => Some(own),
            (None, Some(program)) => {
                let waves: Vec<&[f32]> = clips.iter().map(|c| c.wave.as_slice()).collect();
                let clips = Clips {
                    waves: &waves,
                    labels: &[],
                };
                let own = build(program, &self.geometry, &self.transcription, clips, Occasion::STILL)?;
                find(&session.run(&program.name, &own.inputs.refs())?)
            }
            _ => None,
        };
        let Some((logits, values)) = logits.as_ref().and_then(|t| Some((t, t.as_f32()?))) else {
            return Err(Error::program(
                "finetune",
                "neither it nor `transcribe` gives logits to validate by",
            ));
        };
        let (frames, classes) = (logits.shape[1], logits.shape[2]);
        for (row, clip) in clips.iter().enumerate() {
            let own = &values[row * frames * classes..][..batch.frames[row] * classes];
            let hypothesis = self.vocab.decode(&best_path(own, classes));
            self.spoke |= !hypothesis.is_empty();
            let reference = self.vocab.normalize(clip.text.as_deref().unwrap_or_default());
            self.rates.add(&reference, &hypothesis);
            let mut own = ErrorRates::default();
            own.add(&reference, &hypothesis);
            self.clip_rates.push(100.0 * own.cer());
            if self.samples.len() < SAMPLES {
                let fields = [
                    ("path", clip.path.display().to_string()),
                    ("reference", reference),
                    ("hypothesis", hypothesis),
                ];
                self.samples
                    .push(fields.map(|(n, v)| (n.to_string(), v.into())).into_iter().collect());
            }
        }
        Ok(())
    }

    fn score(&mut self, totals: &Totals) -> Score {
        let (rates, spoke) = (std::mem::take(&mut self.rates), std::mem::take(&mut self.spoke));
        let mut fields = self.report(totals);
        fields.extend([("wer".to_string(), rates.wer()), ("cer".into(), rates.cer())]);
        let message = "every validation clip is transcribed as nothing: usual at first; if it stays, more updates, a higher \
                       lr or longer pretraining are needed";
        let warnings = if spoke {
            vec![]
        } else {
            vec![("blanks only", message.to_string())]
        };
        let samples = std::mem::take(&mut self.samples).into_iter().map(|s| ("sample", s));
        let clip_rates = std::mem::take(&mut self.clip_rates);
        let shown = (!clip_rates.is_empty()).then(|| {
            (
                "histogram",
                histogram("letter error rate of validation clips, percent", &clip_rates),
            )
        });
        Score {
            records: samples.chain(shown).collect(),
            key: vec![rates.wer(), rates.cer(), totals.get("loss") / totals.weight],
            fields,
            warnings,
        }
    }
}
