//! What validation makes of predictions: texts against texts, labels against labels.

use super::opening::histogram;
use crate::data::Clip;
use crate::error::Error;
use crate::feeds::Batch;
use crate::metrics::ErrorRates;
use crate::session::Tensor;
use crate::vocab::{Vocab, best_path};
use ir::task;
use serde_json::{Map, Value};

/// Validation clips whose predictions go into the log.
const SAMPLES: usize = 8;

/// What a judge says after a validation.
#[derive(Default)]
pub(super) struct Verdict {
    pub fields: Vec<(String, f64)>,
    /// Things to name: (name, message).
    pub warnings: Vec<(String, String)>,
    /// Lines for the log alone: (kind, fields).
    pub records: Vec<(&'static str, Map<String, Value>)>,
}

/// Compares predictions with what they should be, clip by clip.
pub(super) enum Judge {
    Text(Texts),
    Label(Labels),
}

impl Judge {
    /// A judge of texts reads by `vocab`, with the blank as class 0; one of labels by their `names`.
    pub fn bind(declared: &task::Judge, vocab: Option<&Vocab>, names: &[String]) -> Judge {
        match declared {
            task::Judge::Text { logits } => Judge::Text(Texts {
                logits: logits.clone(),
                vocab: vocab.cloned().unwrap_or_default(),
                ..Texts::default()
            }),
            task::Judge::Label { logits } => Judge::Label(Labels {
                logits: logits.clone(),
                names: names.to_vec(),
                ..Labels::default()
            }),
        }
    }

    /// Notes what a validation batch has shown.
    pub fn observe(
        &mut self,
        program: &str,
        clips: &[Clip],
        labels: &[Vec<i32>],
        batch: &Batch,
        outputs: &[(String, Tensor)],
    ) -> Result<(), Error> {
        let logits = match self {
            Judge::Text(t) => &t.logits,
            Judge::Label(l) => &l.logits,
        };
        let found = outputs.iter().find(|(n, _)| n == logits).map(|(_, t)| t);
        let Some((tensor, values)) = found.and_then(|t| Some((t, t.as_f32()?))) else {
            let what = format!("it has no output `{logits}` to validate by");
            return Err(Error::program(program, what));
        };
        let shape = &tensor.shape;
        match self {
            Judge::Text(t) => t.observe(clips, &batch.frames, (shape[1], shape[2], values)),
            Judge::Label(l) => l.observe(clips, labels, (shape[1], values)),
        }
        Ok(())
    }

    /// What was observed since the last verdict.
    pub fn verdict(&mut self) -> Verdict {
        match self {
            Judge::Text(t) => t.verdict(),
            Judge::Label(l) => l.verdict(),
        }
    }
}

/// The record of one clip.
fn sample(clip: &Clip, reference: &str, hypothesis: &str) -> Map<String, Value> {
    let fields = [
        ("path", clip.path.display().to_string()),
        ("reference", reference.to_string()),
        ("hypothesis", hypothesis.to_string()),
    ];
    fields.map(|(n, v)| (n.to_string(), v.into())).into_iter().collect()
}

/// The text that greedy decoding finds.
#[derive(Default)]
pub(super) struct Texts {
    logits: String,
    vocab: Vocab,
    rates: ErrorRates,
    /// Whether any hypothesis had a letter.
    spoke: bool,
    samples: Vec<Map<String, Value>>,
    /// The letter error rate of every clip in percent.
    clip_rates: Vec<f64>,
}

impl Texts {
    fn observe(&mut self, clips: &[Clip], lengths: &[usize], (frames, classes, values): (usize, usize, &[f32])) {
        for (row, clip) in clips.iter().enumerate() {
            let own = &values[row * frames * classes..][..lengths[row] * classes];
            let hypothesis = self.vocab.decode(&best_path(own, classes));
            self.spoke |= !hypothesis.is_empty();
            let reference = self.vocab.normalize(clip.text.as_deref().unwrap_or_default());
            self.rates.add(&reference, &hypothesis);
            let mut own = ErrorRates::default();
            own.add(&reference, &hypothesis);
            self.clip_rates.push(100.0 * own.cer());
            if self.samples.len() < SAMPLES {
                self.samples.push(sample(clip, &reference, &hypothesis));
            }
        }
    }

    fn verdict(&mut self) -> Verdict {
        let (rates, spoke) = (std::mem::take(&mut self.rates), std::mem::take(&mut self.spoke));
        let message = "every validation clip is transcribed as nothing: usual at first; if it stays, more updates, a higher \
                       lr or longer pretraining are needed";
        let warnings = match spoke {
            true => vec![],
            false => vec![("blanks only".to_string(), message.to_string())],
        };
        let samples = std::mem::take(&mut self.samples).into_iter().map(|s| ("sample", s));
        let clip_rates = std::mem::take(&mut self.clip_rates);
        let title = "letter error rate of validation clips, percent";
        let shown = (!clip_rates.is_empty()).then(|| ("histogram", histogram(title, &clip_rates)));
        Verdict {
            records: samples.chain(shown).collect(),
            fields: vec![("wer".into(), rates.wer()), ("cer".into(), rates.cer())],
            warnings,
        }
    }
}

/// The likeliest label.
#[derive(Default)]
pub(super) struct Labels {
    logits: String,
    names: Vec<String>,
    clips: usize,
    right: usize,
    samples: Vec<Map<String, Value>>,
}

impl Labels {
    fn observe(&mut self, clips: &[Clip], labels: &[Vec<i32>], (classes, values): (usize, &[f32])) {
        for ((row, clip), label) in values.chunks(classes.max(1)).zip(clips).zip(labels) {
            let best = likeliest(row);
            self.clips += 1;
            self.right += usize::from(label.first() == Some(&(best as i32)));
            if self.samples.len() < SAMPLES {
                let name = |class: usize| self.names.get(class).map_or("", String::as_str);
                let truth = label.first().map_or("", |l| name(*l as usize));
                let one = sample(clip, truth, name(best));
                self.samples.push(one);
            }
        }
    }

    fn verdict(&mut self) -> Verdict {
        let (clips, right) = (std::mem::take(&mut self.clips), std::mem::take(&mut self.right));
        let samples = std::mem::take(&mut self.samples).into_iter().map(|s| ("sample", s));
        Verdict {
            fields: vec![("accuracy".into(), right as f64 / clips.max(1) as f64)],
            records: samples.collect(),
            warnings: vec![],
        }
    }
}

/// The class with the greatest value, the first of equals.
pub(super) fn likeliest(row: &[f32]) -> usize {
    let better = |best: usize, i: usize| if row[i] > row[best] { i } else { best };
    (1..row.len()).fold(0, better)
}
