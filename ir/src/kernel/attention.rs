//! Attention, without ever holding time x time values.

pub(crate) mod sample;
pub(crate) mod sums;

use super::*;
use crate::kernel_cost::{TRANSCENDENTAL, width};
use crate::kernel_text::{Strides, after, float, nonzero, number, numbered, parse_address, parse_float, pieces};
use crate::kernel_text::{slot_and_address, split};
use crate::kernel_verify::VerifyError;
use crate::lower::View;

/// A [batch, time, head, head_dim] operand; the stride of head_dim is 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HeadView {
    pub slot: Slot,
    pub base: Dim,
    pub batch: Dim,
    pub time: Dim,
    pub head: Dim,
}

/// Dropout on attention probabilities: the f32 rate is element 0 of `rate`. The random number of probability
/// (b, h, i, j) is that of index ((b*heads + h)*time + i)*time + j, as in `Value::Uniform`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AttentionDropout {
    pub rate: Slot,
    pub seed: Slot,
    pub site: u32,
}

/// out = dropout(softmax over j < lengths[b] of scale * <q_i, k_j>) v. Rows i at or beyond the length are computed like
/// any other; a length of 0 gives 0. `lse[b, h, i]` = log of the sum of exp(scale * <q_i, k_j>).
/// Never holds time x time values.
///
/// The slots of q, k, v and out hold all f32 or all bf16. Where they hold bf16, a backend may round the operands of every
/// inner product to bf16: the probabilities too, after dropout. Where they hold f32 it may not. Scores, with their scale, the
/// softmax and `lse` are in f32 either way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attention {
    pub batch: Dim,
    pub time: Dim,
    pub heads: i64,
    pub head_dim: i64,
    /// bits of an f64
    pub scale: u64,
    pub q: HeadView,
    pub k: HeadView,
    pub v: HeadView,
    /// i32 [batch]
    pub lengths: Slot,
    pub dropout: Option<AttentionDropout>,
    pub out: HeadView,
    /// f32 [batch, heads, time], written by `Attention`, read by `AttentionGrad`
    pub lse: Slot,
}

impl HeadView {
    /// A [batch, time, head, head_dim] tensor, or one part of a [batch, time, part, head, head_dim] one.
    pub fn new(view: View, part: Option<i64>) -> HeadView {
        let s = &view.strides;
        let (base, head) = match part {
            Some(part) => (view.base.clone() + s[2].clone() * Dim::from(part), s[3].clone()),
            None => (view.base.clone(), s[2].clone()),
        };
        HeadView {
            slot: view.slot,
            base,
            batch: s[0].clone(),
            time: s[1].clone(),
            head,
        }
    }

    fn text(&self) -> String {
        let strides = [(&self.batch, "b".into()), (&self.time, "t".into()), (&self.head, "h".into())];
        format!("s{}{}", self.slot, nonzero(&self.base, strides.into_iter()))
    }

    fn parse(s: &str) -> Parsed<HeadView> {
        let (slot, at) = slot_and_address(s)?;
        let (base, terms) = parse_address(at)?;
        let mut strides = Strides(terms);
        let (batch, time, head) = (strides.take("b"), strides.take("t"), strides.take("h"));
        strides.end()?;
        Ok(HeadView {
            slot,
            base,
            batch,
            time,
            head,
        })
    }

    /// The line of text of an operand.
    pub(super) fn line(&self, name: &str) -> String {
        format!("{name} = {}", self.text())
    }

    /// Reads what `line` writes.
    pub(super) fn field(lines: &mut Lines, name: &str) -> Parsed<HeadView> {
        HeadView::parse(lines.field(name)?)
    }

    pub(super) fn sizes(&self) -> [&Dim; 4] {
        [&self.base, &self.batch, &self.time, &self.head]
    }
}

impl AttentionDropout {
    fn parse(line: &str) -> Parsed<AttentionDropout> {
        match pieces(split(line, "=")?.1, ',')[..] {
            [rate, seed, site] => Ok(AttentionDropout {
                rate: numbered(after(rate, "rate")?, "s")?,
                seed: numbered(after(seed, "seed")?, "s")?,
                site: number(after(site, "site")?)?,
            }),
            _ => Err("dropout has a rate, a seed and a site".into()),
        }
    }
}

impl Attention {
    /// The operands of heads.
    pub fn views(&self) -> [&HeadView; 4] {
        [&self.q, &self.k, &self.v, &self.out]
    }

    /// Checks the operands that both directions read; the dtype that all operands of heads share.
    pub(super) fn verify_inputs(&self, v: &mut Verifier) -> Checked<DType> {
        if self.heads < 1 || self.head_dim < 1 {
            return Err(VerifyError::NoHeads {
                heads: self.heads,
                head_dim: self.head_dim,
            });
        }
        let dtype = v.float_storage("the queries", self.q.slot)?;
        for (at, view) in [("the queries", &self.q), ("the keys", &self.k), ("the values", &self.v)] {
            v.reads(at, view.slot, dtype)?;
        }
        v.reads("the lengths", self.lengths, DType::I32)?;
        if let Some(d) = &self.dropout {
            v.reads("the dropout rate", d.rate, DType::F32)?;
            v.reads("the dropout seed", d.seed, DType::I32)?;
        }
        Ok(dtype)
    }

    /// The cost of `products` products of time x time, with `operands` that each hold all heads.
    pub(super) fn cost_of(&self, slots: &[SlotDecl], products: i64, operands: &[&HeadView]) -> Cost {
        let heads = self.batch.clone() * Dim::from(self.heads);
        let scores = heads.clone() * self.time.clone() * self.time.clone();
        let flops = scores * Dim::from(2 * products * self.head_dim + TRANSCENDENTAL);
        let elements = heads * self.time.clone() * Dim::from(self.head_dim);
        let bytes = operands
            .iter()
            .fold(Dim::default(), |sum, v| sum + elements.clone() * width(slots, v.slot));
        Cost { flops, bytes }
    }
}

impl BodyDef for Attention {
    fn extents(&self) -> String {
        let scale = float(f64::from_bits(self.scale));
        format!(
            "batch {}, time {}, heads {}, head_dim {}, scale {scale}",
            self.batch, self.time, self.heads, self.head_dim
        )
    }

    fn operands(&self) -> Vec<String> {
        let mut lines = vec![
            self.q.line("q"),
            self.k.line("k"),
            self.v.line("v"),
            format!("lengths = s{}", self.lengths),
        ];
        if let Some(d) = &self.dropout {
            lines.push(format!("dropout = rate s{}, seed s{}, site {}", d.rate, d.seed, d.site));
        }
        lines.extend([self.out.line("out"), format!("lse = s{}", self.lse)]);
        lines
    }

    fn parse(of: Extents, lines: &mut Lines) -> Parsed<(Vec<SlotDecl>, Self)> {
        let (batch, time) = (of.dim(0, "batch")?, of.dim(1, "time")?);
        let (heads, head_dim) = (number(of.text(2, "heads")?)?, number(of.text(3, "head_dim")?)?);
        let scale = parse_float(of.text(4, "scale")?)?.to_bits();
        let slots = lines.slots()?;
        let (q, k) = (HeadView::field(lines, "q")?, HeadView::field(lines, "k")?);
        let (v, lengths) = (HeadView::field(lines, "v")?, lines.slot("lengths")?);
        let dropout = lines.next_if(|l| l.starts_with("dropout "));
        let dropout = dropout.map(AttentionDropout::parse).transpose()?;
        let (out, lse) = (HeadView::field(lines, "out")?, lines.slot("lse")?);
        let body = Attention {
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
        };
        Ok((slots, body))
    }

    fn sizes(&self) -> Vec<&Dim> {
        let views = self.views().into_iter().flat_map(HeadView::sizes);
        [&self.batch, &self.time].into_iter().chain(views).collect()
    }

    fn verify(&self, v: &mut Verifier) -> Checked {
        let dtype = self.verify_inputs(v)?;
        v.writes("the result", self.out.slot, dtype)?;
        v.writes("the log-sum-exp", self.lse, DType::F32)
    }

    fn cost(&self, slots: &[SlotDecl]) -> Cost {
        self.cost_of(slots, 2, &self.views())
    }

    fn describe(&self) -> String {
        format!("attention of {} heads x {}", self.heads, self.head_dim)
    }

    fn factors(&self, slots: &[SlotDecl]) -> Factors {
        match slots[self.q.slot].dtype {
            DType::Bf16 => Factors::Bf16,
            _ => Factors::F32,
        }
    }

    fn multiplied(&self) -> Vec<Slot> {
        self.views().map(|v| v.slot).to_vec()
    }

    fn of_one_dtype(&self) -> Vec<Slot> {
        self.multiplied()
    }

    fn kept_wide(&self) -> Vec<(Slot, Wide)> {
        let rate = self.dropout.iter().map(|d| (d.rate, Wide::Statistic));
        std::iter::once((self.lse, Wide::LogSumExp)).chain(rate).collect()
    }

    fn sample(seed: u32) -> Sample {
        sample::attention(seed)
    }

    fn sample_large(seed: u32) -> Option<Sample> {
        Some(sample::attention_large(seed))
    }

    fn narrow_sample(&self, sample: &mut Sample, r: &mut Rand) {
        sample::narrow_heads(sample, r, &self.multiplied(), |s| sums::forward(self, s));
    }

    /// Whether a dropped NaN is multiplied by 0 or left out is a backend's choice.
    fn spreads_nan(&self) -> bool {
        self.dropout.is_none()
    }
}
