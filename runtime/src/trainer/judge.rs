//! Judges predictions in validation: texts against texts, labels against labels.

use super::opening::histogram;
use crate::data::Clip;
use crate::error::Error;
use crate::feeds::Batch;
use crate::metrics::ErrorRates;
use crate::session::Tensor;
use crate::vocab::{Vocab, best_path};
use ir::task;
use serde::{Deserialize, Serialize};
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

/// A clip that goes into the log: its path, what it should be, and what was found.
type Sample = (String, String, String);

/// What was seen in some batches: other ranks' is joined to it in the order of the batches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    rates: ErrorRates,
    /// Whether any text that was found had a letter.
    spoke: bool,
    /// The letter error rate of every clip in percent.
    clip_rates: Vec<f64>,
    clips: usize,
    /// Clips whose label was found.
    right: usize,
    samples: Vec<Sample>,
}

impl Seen {
    fn join(&mut self, other: Seen) {
        self.rates.join(&other.rates);
        self.spoke |= other.spoke;
        self.clip_rates.extend(other.clip_rates);
        self.clips += other.clips;
        self.right += other.right;
        let room = SAMPLES.saturating_sub(self.samples.len());
        self.samples.extend(other.samples.into_iter().take(room));
    }

    fn sample(&mut self, clip: &Clip, reference: &str, hypothesis: &str) {
        if self.samples.len() < SAMPLES {
            let path = clip.path.display().to_string();
            self.samples.push((path, reference.into(), hypothesis.into()));
        }
    }

    fn records(&self) -> Vec<(&'static str, Map<String, Value>)> {
        let record = |(path, reference, hypothesis): &Sample| {
            let fields = [("path", path), ("reference", reference), ("hypothesis", hypothesis)];
            fields
                .map(|(n, v)| (n.to_string(), v.clone().into()))
                .into_iter()
                .collect()
        };
        self.samples.iter().map(|s| ("sample", record(s))).collect()
    }
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
            }),
            task::Judge::Label { logits } => Judge::Label(Labels {
                logits: logits.clone(),
                names: names.to_vec(),
            }),
        }
    }

    /// What a validation batch has shown.
    pub fn observe(
        &self,
        program: &str,
        clips: &[Clip],
        labels: &[Vec<i32>],
        batch: &Batch,
        outputs: &[(String, Tensor)],
    ) -> Result<Seen, Error> {
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
        Ok(match self {
            Judge::Text(t) => t.observe(clips, &batch.frames, (shape[1], shape[2], values)),
            Judge::Label(l) => l.observe(clips, labels, (shape[1], values)),
        })
    }

    /// What all batches have shown, in their order.
    pub fn verdict(&self, batches: impl IntoIterator<Item = Seen>) -> Verdict {
        let mut all = Seen::default();
        batches.into_iter().for_each(|seen| all.join(seen));
        match self {
            Judge::Text(_) => Texts::verdict(&all),
            Judge::Label(_) => Labels::verdict(&all),
        }
    }
}

/// The text that greedy decoding finds.
pub(super) struct Texts {
    logits: String,
    vocab: Vocab,
}

impl Texts {
    fn observe(&self, clips: &[Clip], lengths: &[usize], (frames, classes, values): (usize, usize, &[f32])) -> Seen {
        let mut seen = Seen::default();
        for (row, clip) in clips.iter().enumerate() {
            let own = &values[row * frames * classes..][..lengths[row] * classes];
            let hypothesis = self.vocab.decode(&best_path(own, classes));
            seen.spoke |= !hypothesis.is_empty();
            let reference = self.vocab.normalize(clip.text.as_deref().unwrap_or_default());
            seen.rates.add(&reference, &hypothesis);
            let mut own = ErrorRates::default();
            own.add(&reference, &hypothesis);
            seen.clip_rates.push(100.0 * own.cer());
            seen.sample(clip, &reference, &hypothesis);
        }
        seen
    }

    fn verdict(seen: &Seen) -> Verdict {
        let message = "every validation clip is transcribed as nothing: usual at first; if it stays, more updates, a higher \
                       lr or longer pretraining are needed";
        let warnings = match seen.spoke {
            true => vec![],
            false => vec![("blanks only".to_string(), message.to_string())],
        };
        let title = "letter error rate of validation clips, percent";
        let shown = (!seen.clip_rates.is_empty()).then(|| ("histogram", histogram(title, &seen.clip_rates)));
        Verdict {
            records: seen.records().into_iter().chain(shown).collect(),
            fields: vec![("wer".into(), seen.rates.wer()), ("cer".into(), seen.rates.cer())],
            warnings,
        }
    }
}

/// The likeliest label.
pub(super) struct Labels {
    logits: String,
    names: Vec<String>,
}

impl Labels {
    fn observe(&self, clips: &[Clip], labels: &[Vec<i32>], (classes, values): (usize, &[f32])) -> Seen {
        let mut seen = Seen::default();
        for ((row, clip), label) in values.chunks(classes.max(1)).zip(clips).zip(labels) {
            let best = likeliest(row);
            seen.clips += 1;
            seen.right += usize::from(label.first() == Some(&(best as i32)));
            let name = |class: usize| self.names.get(class).map_or("", String::as_str);
            let truth = label.first().map_or("", |l| name(*l as usize));
            seen.sample(clip, truth, name(best));
        }
        seen
    }

    fn verdict(seen: &Seen) -> Verdict {
        Verdict {
            fields: vec![("accuracy".into(), seen.right as f64 / seen.clips.max(1) as f64)],
            records: seen.records(),
            warnings: vec![],
        }
    }
}

/// The class with the greatest value, the first of equals.
pub(super) fn likeliest(row: &[f32]) -> usize {
    let better = |best: usize, i: usize| if row[i] > row[best] { i } else { best };
    (1..row.len()).fold(0, better)
}
