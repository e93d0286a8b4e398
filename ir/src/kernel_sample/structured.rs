//! Kernels without expressions: attention, scatter, CTC.

use super::{Draw, Extent, Sample};
use crate::dim::Dim;
use crate::kernel::*;
use crate::scalar::DType;

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
    d.sample(Body::Attention(body))
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
    d.sample(Body::AttentionGrad(Box::new(body)))
}

pub fn scatter(seed: u32) -> Sample {
    let mut d = Draw::new(seed);
    let (rows, count) = (d.extent(&[1, 2, 4]), d.extent(&[1, 3, 10]));
    let (into, width) = (d.extent(&[1, 2, 6]), d.extent(&[1, 3, 8, 17]));
    let from = d.floats(Access::Read, rows.size * count.size * width.size);
    let index = d.slot(DType::I32, Access::Read, rows.size * count.size, |r| {
        r.int(-1, into.size - 1) as f64
    });
    // Sums of eighths are exact.
    let out = d.floats(Access::Write, rows.size * into.size * width.size);
    let (rows, count, into, width) = (rows.dim, count.dim, into.dim, width.dim);
    d.sample(Body::Scatter(Scatter {
        rows,
        count,
        into,
        width,
        from,
        index,
        out,
    }))
}

pub fn ctc(seed: u32) -> Sample {
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
    d.sample(Body::Ctc(Ctc {
        batch,
        time,
        vocab,
        labels,
        log_probs,
        lengths,
        label_ids,
        loss,
        grad,
    }))
}
