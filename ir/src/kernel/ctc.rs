//! Connectionist temporal classification: loss and gradient.

use super::*;
use crate::kernel_cost::TRANSCENDENTAL;
use crate::kernel_sample::Draw;

/// Connectionist temporal classification (Graves et al. 2006), blank = 0, one item of work per utterance.
/// In: log-probabilities f32 [batch, time, vocab], lengths i32 [batch], labels i32 [batch, labels];
/// a length counts as at most `time` and at least 0, and labels outside 1..vocab (the blank among them) are padding, wherever
/// they stand. `vocab` is at least 1.
/// Out: loss f32 [batch] = -log p(labels); grad f32 [batch, time, vocab] = d loss / d log-probability (minus the
/// posterior of each symbol; 0 beyond the length). Where no alignment exists both are 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ctc {
    pub batch: Dim,
    pub time: Dim,
    pub vocab: Dim,
    pub labels: Dim,
    pub log_probs: Slot,
    pub lengths: Slot,
    pub label_ids: Slot,
    pub loss: Slot,
    pub grad: Slot,
}

impl Ctc {
    fn slots(&self) -> [(&'static str, Slot); 5] {
        [
            ("log_probs", self.log_probs),
            ("lengths", self.lengths),
            ("label_ids", self.label_ids),
            ("loss", self.loss),
            ("grad", self.grad),
        ]
    }
}

impl BodyDef for Ctc {
    fn extents(&self) -> String {
        format!(
            "batch {}, time {}, vocab {}, labels {}",
            self.batch, self.time, self.vocab, self.labels
        )
    }

    fn operands(&self) -> Vec<String> {
        self.slots().map(|(name, s)| format!("{name} = s{s}")).to_vec()
    }

    fn parse(of: Extents, lines: &mut Lines) -> Parsed<(Vec<SlotDecl>, Self)> {
        let (batch, time) = (of.dim(0, "batch")?, of.dim(1, "time")?);
        let (vocab, labels) = (of.dim(2, "vocab")?, of.dim(3, "labels")?);
        let slots = lines.slots()?;
        let body = Ctc {
            batch,
            time,
            vocab,
            labels,
            log_probs: lines.slot("log_probs")?,
            lengths: lines.slot("lengths")?,
            label_ids: lines.slot("label_ids")?,
            loss: lines.slot("loss")?,
            grad: lines.slot("grad")?,
        };
        Ok((slots, body))
    }

    fn sizes(&self) -> Vec<&Dim> {
        vec![&self.batch, &self.time, &self.vocab, &self.labels]
    }

    fn verify(&self, v: &mut Verifier) -> Checked {
        v.reads("the log-probabilities", self.log_probs, DType::F32)?;
        v.reads("the lengths", self.lengths, DType::I32)?;
        v.reads("the labels", self.label_ids, DType::I32)?;
        v.writes("the loss", self.loss, DType::F32)?;
        v.writes("the gradient", self.grad, DType::F32)
    }

    fn cost(&self, _slots: &[SlotDecl]) -> Cost {
        let frames = self.batch.clone() * self.time.clone();
        let cells = frames.clone() * (Dim::from(2) * self.labels.clone() + Dim::from(1));
        Cost {
            // Two sums of three exponentials and one posterior.
            flops: cells * Dim::from(9 * TRANSCENDENTAL),
            bytes: Dim::from(8) * frames * self.vocab.clone(),
        }
    }

    fn describe(&self) -> String {
        format!("CTC over {} classes", self.vocab)
    }

    fn kept_wide(&self) -> Vec<(Slot, Wide)> {
        self.slots().map(|(_, slot)| (slot, Wide::Ctc)).to_vec()
    }

    fn sample(seed: u32) -> Sample {
        let mut d = Draw::new(seed);
        let (batch, time) = (d.extent(&[1, 2, 4]), d.extent(&[1, 5, 20]));
        let (vocab, labels) = (d.extent(&[2, 5, 32]), d.extent(&[1, 2, 6]));
        // Log-probabilities need not sum to one.
        let log_probs = d.slot(DType::F32, Access::Read, batch.size * time.size * vocab.size, |r| {
            -(r.int(1, 32) as f64) / 8.0
        });
        let lengths = d.slot(DType::I32, Access::Read, batch.size, |r| r.int(0, time.size) as f64);
        let symbols = vocab.size - 1;
        let label_ids = d.slot(DType::I32, Access::Read, batch.size * labels.size, |r| {
            r.int(1, symbols.max(1)) as f64
        });
        // Padding: from some label on all are negative. A vocabulary of the blank alone has no labels.
        for b in 0..batch.size {
            let used = if symbols == 0 { 0 } else { d.rand.int(0, labels.size) };
            let (from, to) = (b * labels.size + used, (b + 1) * labels.size);
            d.operands[label_ids].values[from as usize..to as usize].fill(-1.0);
        }
        let loss = d.floats(Access::Write, batch.size);
        let grad = d.floats(Access::Write, batch.size * time.size * vocab.size);
        d.operands[loss].tolerance = 2e-5 * time.size as f64;
        d.operands[grad].tolerance = 1e-5 * time.size as f64;
        let (batch, time, vocab, labels) = (batch.dim, time.dim, vocab.dim, labels.dim);
        d.sample(Ctc {
            batch,
            time,
            vocab,
            labels,
            log_probs,
            lengths,
            label_ids,
            loss,
            grad,
        })
    }

    fn narrow_sample(&self, _sample: &mut Sample, _r: &mut Rand) {}

    fn spreads_nan(&self) -> bool {
        false
    }

    /// The blank and the labels stay.
    fn may_be_resized(&self, from: &Env, to: &Env) -> bool {
        self.vocab.eval(from) == self.vocab.eval(to)
    }
}
