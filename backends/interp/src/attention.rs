//! Attention and its gradients, one query at a time.

use crate::Error;
use crate::memory::Slots;
use ir::dim::Env;
use ir::kernel::{Attention, AttentionDropout, AttentionGrad, HeadView, Slot};
use ir::rng;

/// A [batch, time, head, head_dim] operand with its strides known.
struct View {
    slot: Slot,
    base: i64,
    batch: i64,
    time: i64,
    head: i64,
    head_dim: i64,
}

impl View {
    fn new(v: &HeadView, head_dim: i64, sizes: &Env) -> Result<View, Error> {
        let d = |d: &ir::dim::Dim| d.eval(sizes);
        let (base, batch, time, head) = (d(&v.base)?, d(&v.batch)?, d(&v.time)?, d(&v.head)?);
        Ok(View {
            slot: v.slot,
            base,
            batch,
            time,
            head,
            head_dim,
        })
    }

    fn at(&self, b: i64, t: i64, h: i64) -> i64 {
        self.base + self.batch * b + self.time * t + self.head * h
    }

    fn load(&self, (b, h): (i64, i64), t: i64, memory: &Slots) -> Result<Vec<f64>, Error> {
        (0..self.head_dim)
            .map(|e| memory.load(self.slot, self.at(b, t, h) + e))
            .collect()
    }

    /// All rows of one head.
    fn load_all(&self, head: (i64, i64), time: i64, memory: &Slots) -> Result<Vec<Vec<f64>>, Error> {
        (0..time).map(|t| self.load(head, t, memory)).collect()
    }

    fn store(&self, (b, h): (i64, i64), t: i64, row: &[f64], memory: &mut Slots) -> Result<(), Error> {
        row.iter()
            .enumerate()
            .try_for_each(|(e, v)| memory.store(self.slot, self.at(b, t, h) + e as i64, *v))
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// into += f * row
fn add_scaled(into: &mut [f64], f: f64, row: &[f64]) {
    into.iter_mut().zip(row).for_each(|(x, y)| *x += f * y);
}

/// What a probability is multiplied with: 0 where its random number is below the rate, else 1 / (1 - rate).
struct Dropout {
    rate: f64,
    keys: [u32; 2],
}

impl Dropout {
    fn new(d: &AttentionDropout, memory: &Slots, sizes: &Env) -> Result<Dropout, Error> {
        let keys = rng::keys(memory.seed(d.seed)?, d.site, crate::layer(sizes)?);
        Ok(Dropout {
            rate: memory.load(d.rate, 0)?,
            keys,
        })
    }

    fn factor(&self, index: i64) -> f64 {
        if (rng::uniform(self.keys, index as u32) as f64) < self.rate {
            0.0
        } else {
            1.0 / (1.0 - self.rate)
        }
    }
}

/// What both directions know.
struct Setting {
    batch: i64,
    time: i64,
    heads: i64,
    scale: f64,
    q: View,
    k: View,
    v: View,
    out: View,
    lengths: Slot,
    lse: Slot,
    dropout: Option<Dropout>,
}

impl Setting {
    fn new(a: &Attention, memory: &Slots, sizes: &Env) -> Result<Setting, Error> {
        let view = |v| View::new(v, a.head_dim, sizes);
        Ok(Setting {
            batch: a.batch.eval(sizes)?,
            time: a.time.eval(sizes)?,
            heads: a.heads,
            scale: f64::from_bits(a.scale),
            q: view(&a.q)?,
            k: view(&a.k)?,
            v: view(&a.v)?,
            out: view(&a.out)?,
            lengths: a.lengths,
            lse: a.lse,
            dropout: a.dropout.as_ref().map(|d| Dropout::new(d, memory, sizes)).transpose()?,
        })
    }

    /// Pairs of batch element and head.
    fn all_heads(&self) -> Vec<(i64, i64)> {
        (0..self.batch)
            .flat_map(|b| (0..self.heads).map(move |h| (b, h)))
            .collect()
    }

    /// Number of keys that count.
    fn length(&self, b: i64, memory: &Slots) -> Result<i64, Error> {
        Ok((memory.load(self.lengths, b)? as i64).clamp(0, self.time))
    }

    /// Number of a row, which is its place in `lse` and begins its random numbers.
    fn row(&self, (b, h): (i64, i64), i: i64) -> i64 {
        (b * self.heads + h) * self.time + i
    }

    fn factor(&self, head: (i64, i64), i: i64, j: usize) -> f64 {
        self.dropout
            .as_ref()
            .map_or(1.0, |d| d.factor(self.row(head, i) * self.time + j as i64))
    }
}

pub fn forward(a: &Attention, memory: &mut Slots, sizes: &Env) -> Result<(), Error> {
    let s = Setting::new(a, memory, sizes)?;
    for head in s.all_heads() {
        let length = s.length(head.0, memory)?;
        let (keys, values) = (s.k.load_all(head, length, memory)?, s.v.load_all(head, length, memory)?);
        for i in 0..s.time {
            let q = s.q.load(head, i, memory)?;
            let scores: Vec<f64> = keys.iter().map(|k| s.scale * dot(&q, k)).collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|x| (x - max).exp()).sum();
            let mut out = vec![0.0; s.out.head_dim as usize];
            for (j, (score, v)) in scores.iter().zip(&values).enumerate() {
                add_scaled(&mut out, s.factor(head, i, j) * (score - max).exp() / sum, v);
            }
            s.out.store(head, i, &out, memory)?;
            let lse = if length == 0 { f64::NEG_INFINITY } else { max + sum.ln() };
            memory.store(s.lse, s.row(head, i), lse)?;
        }
    }
    Ok(())
}

pub fn backward(g: &AttentionGrad, memory: &mut Slots, sizes: &Env) -> Result<(), Error> {
    let s = Setting::new(&g.forward, memory, sizes)?;
    let view = |v| View::new(v, g.forward.head_dim, sizes);
    let (d_out, dq_view, dk_view, dv_view) = (view(&g.d_out)?, view(&g.dq)?, view(&g.dk)?, view(&g.dv)?);
    let rows = || vec![vec![0.0; g.forward.head_dim as usize]; s.time as usize];
    for head in s.all_heads() {
        let length = s.length(head.0, memory)?;
        let (keys, values) = (s.k.load_all(head, length, memory)?, s.v.load_all(head, length, memory)?);
        let (mut dq, mut dk, mut dv) = (rows(), rows(), rows());
        for i in 0..s.time {
            let (q, out) = (s.q.load(head, i, memory)?, s.out.load(head, i, memory)?);
            let (d, lse) = (d_out.load(head, i, memory)?, memory.load(s.lse, s.row(head, i))?);
            // The softmax takes out the mean of the gradients of its probabilities.
            let mean = dot(&d, &out);
            for j in 0..keys.len() {
                let p = (s.scale * dot(&q, &keys[j]) - lse).exp();
                let factor = s.factor(head, i, j);
                add_scaled(&mut dv[j], p * factor, &d);
                let d_score = p * (factor * dot(&d, &values[j]) - mean);
                add_scaled(&mut dq[i as usize], s.scale * d_score, &keys[j]);
                add_scaled(&mut dk[j], s.scale * d_score, &q);
            }
        }
        for t in 0..s.time {
            dq_view.store(head, t, &dq[t as usize], memory)?;
            dk_view.store(head, t, &dk[t as usize], memory)?;
            dv_view.store(head, t, &dv[t as usize], memory)?;
        }
    }
    Ok(())
}
