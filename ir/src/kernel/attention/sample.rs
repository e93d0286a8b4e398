//! Random attention, in both directions.

use super::sums::{self, Magnitudes};
use crate::dim::Dim;
use crate::kernel::*;
use crate::kernel_sample::{Draw, EPS, Extent, narrow};

/// What both directions of attention draw.
pub struct Heads {
    pub batch: Extent,
    pub time: Extent,
    pub heads: i64,
    pub head_dim: i64,
}

impl Heads {
    fn new(d: &mut Draw) -> Heads {
        let time = d.extent(&[1, 2, 7, 16, 33, 33, 70, 130]);
        let batch = d.extent_to(if time.size > 20 { 2 } else { 12 }, &[1, 2]);
        Heads {
            batch,
            time,
            heads: d.rand.int(1, 3),
            head_dim: *d.rand.pick(&[1, 4, 8, 16, 24]),
        }
    }

    pub fn elements(&self) -> i64 {
        self.batch.size * self.time.size * self.heads * self.head_dim
    }

    /// Operand `part` of `parts` that share rows of a slot.
    pub fn view(&self, slot: Slot, part: i64, parts: i64) -> HeadView {
        let width = self.heads * self.head_dim;
        HeadView {
            slot,
            base: Dim::from(part * width),
            batch: Dim::from(parts * width) * self.time.dim.clone(),
            time: Dim::from(parts * width),
            head: Dim::from(self.head_dim),
        }
    }

    /// Three operands in slots of their own or in one.
    pub fn three(&self, d: &mut Draw, access: Access) -> [HeadView; 3] {
        if d.rand.flag() {
            let slot = d.floats(access, 3 * self.elements());
            [0, 1, 2].map(|part| self.view(slot, part, 3))
        } else {
            [0, 1, 2].map(|_| {
                let slot = d.floats(access, self.elements());
                self.view(slot, 0, 1)
            })
        }
    }

    pub fn forward(&self, d: &mut Draw, outputs: Access) -> Attention {
        let [q, k, v] = self.three(d, Access::Read);
        let time = self.time.size;
        let lengths = d.slot(DType::I32, Access::Read, self.batch.size, |r| r.int(0, time) as f64);
        let dropout = d.rand.flag().then(|| AttentionDropout {
            rate: d.slot(DType::F32, Access::Read, 1, |r| r.int(0, 3) as f64 / 4.0),
            seed: d.slot(DType::I32, Access::Read, 2, |r| r.bits() as i32 as f64),
            site: d.rand.bits() % 100,
        });
        let out = d.floats(outputs, self.elements());
        let lse = d.slot(DType::F32, outputs, self.batch.size * self.heads * time, |r| {
            r.int(0, 8) as f64 / 8.0
        });
        let (batch, time) = (self.batch.dim.clone(), self.time.dim.clone());
        let scale = (1.0 / (self.head_dim as f64).sqrt()).to_bits();
        let (heads, head_dim, out) = (self.heads, self.head_dim, self.view(out, 0, 1));
        Attention {
            batch,
            time,
            heads,
            head_dim,
            scale,
            q,
            k,
            v,
            lengths,
            dropout,
            out,
            lse,
        }
    }

    pub fn backward(&self, d: &mut Draw) -> AttentionGrad {
        let forward = self.forward(d, Access::Read);
        let grad = d.floats(Access::Read, self.elements());
        let d_out = self.view(grad, 0, 1);
        let [dq, dk, dv] = self.three(d, Access::Write);
        AttentionGrad {
            forward,
            d_out,
            dq,
            dk,
            dv,
        }
    }
}

pub fn attention(seed: u32) -> Sample {
    let mut d = Draw::new(seed);
    let heads = Heads::new(&mut d);
    let body = heads.forward(&mut d, Access::Write);
    // Outputs are averages of eighths up to 1, scaled by 4 at most by dropout.
    d.operands[body.out.slot].tolerance = 1e-5;
    d.operands[body.lse].tolerance = 1e-5;
    d.sample(body)
}

/// Of a result and log-sum-exps that need not be those of the forward pass: both are only data here.
pub fn attention_grad(seed: u32) -> Sample {
    let mut d = Draw::new(seed);
    let heads = Heads::new(&mut d);
    let body = heads.backward(&mut d);
    let forward = &body.forward;
    // Scores are at most sqrt(head_dim) in size; log-sum-exps above keep probabilities below 1.
    let above = (heads.head_dim as f64).sqrt();
    d.operands[forward.lse]
        .values
        .iter_mut()
        .for_each(|v| *v = (*v + above) as f32 as f64);
    let tolerance = 1e-6 * (heads.time.size * heads.head_dim) as f64;
    [&body.dq, &body.dk, &body.dv]
        .iter()
        .for_each(|v| d.operands[v.slot].tolerance = tolerance.max(1e-5));
    d.sample(Box::new(body))
}

/// Four clips, among them one without keys, one with a single key and one that is full.
fn long_heads(d: &mut Draw) -> Heads {
    let head_dim = *d.rand.pick(&[16, 32, 64, 80]);
    Heads {
        batch: d.extent_to(0, &[4]),
        time: d.extent_to(0, &[31, 64, 65, 97, 128, 129, 150]),
        heads: if head_dim < 64 { d.rand.int(1, 2) } else { 1 },
        head_dim,
    }
}

fn set_lengths(d: &mut Draw, slot: Slot, time: i64) {
    let turn = d.rand.int(0, 3) as usize;
    let lengths = [0, 1, time, d.rand.int(2, time)];
    for (b, length) in d.operands[slot].values.iter_mut().enumerate() {
        *length = lengths[(b + turn) % 4] as f64;
    }
}

/// Relative error of terms that are made of an exponential of a score and sums of head_dim and of time terms. A score is
/// sqrt(head_dim) at most, as is what is taken from it before the exponential; each step there adds EPS of that, and that
/// is what the exponential is off by. Its expansion and the rest is a few units.
fn relative(heads: &Heads) -> f64 {
    let d = heads.head_dim as f64;
    EPS * (8.0 * d.sqrt() + d + heads.time.size as f64 + 16.0)
}

fn tolerate(sample: &mut Sample, sums: Magnitudes, relative: f64) {
    for (slot, sums) in sums.terms {
        sample.operands[slot].tolerate(&sums, relative);
    }
}

/// Attention with up to 150 positions.
pub fn attention_large(seed: u32) -> Sample {
    let mut d = Draw::new(seed);
    let heads = long_heads(&mut d);
    let body = heads.forward(&mut d, Access::Write);
    set_lengths(&mut d, body.lengths, heads.time.size);
    d.operands[body.lse].tolerance = relative(&heads);
    let mut sample = d.sample(body.clone());
    let sums = sums::forward(&body, &sample);
    tolerate(&mut sample, sums, relative(&heads));
    sample
}

/// The gradients of attention with up to 150 positions, of log-sum-exps as the forward direction gives them.
pub fn attention_grad_large(seed: u32) -> Sample {
    let mut d = Draw::new(seed);
    let heads = long_heads(&mut d);
    let body = heads.backward(&mut d);
    let (lse, lengths, forward) = (body.forward.lse, body.forward.lengths, body.forward.clone());
    set_lengths(&mut d, lengths, heads.time.size);
    let mut sample = d.sample(Box::new(body.clone()));
    sample.operands[lse].values = sums::forward_lse(&forward, &sample);
    let sums = sums::backward(&body, &sample);
    tolerate(&mut sample, sums, relative(&heads));
    sample
}

/// Keeps all operands of heads of a sample in bf16, most times. `sums` come from the rounded operands.
pub fn narrow_heads(sample: &mut Sample, r: &mut Rand, heads: &[Slot], sums: impl FnOnce(&Sample) -> Magnitudes) {
    if r.int(0, 3) == 0 {
        return;
    }
    heads.iter().for_each(|slot| narrow(sample, *slot));
    for (slot, sums) in sums(sample).rounded {
        sample.operands[slot].tolerate(&sums, 2f64.powi(-8));
    }
}
