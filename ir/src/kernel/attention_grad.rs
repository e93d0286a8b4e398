//! The gradient of attention.

use super::attention::{sample, sums};
use super::*;

/// The gradients of `forward` (whose `out` and `lse` are read here) for the gradient `d_out` of its output.
///
/// The slots of d_out, dq, dk and dv hold what those of `forward` do. Where that is bf16, a backend may round the operands
/// of every inner product to bf16: probabilities and the gradients of scores too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AttentionGrad {
    pub forward: Attention,
    pub d_out: HeadView,
    pub dq: HeadView,
    pub dk: HeadView,
    pub dv: HeadView,
}

impl AttentionGrad {
    /// The operands of heads that the forward direction does not have.
    pub fn own_views(&self) -> [&HeadView; 4] {
        [&self.d_out, &self.dq, &self.dk, &self.dv]
    }

    fn views(&self) -> Vec<&HeadView> {
        [self.forward.views(), self.own_views()].concat()
    }
}

impl BodyDef for Box<AttentionGrad> {
    fn extents(&self) -> String {
        self.forward.extents()
    }

    fn operands(&self) -> Vec<String> {
        let named = [("d_out", &self.d_out), ("dq", &self.dq), ("dk", &self.dk), ("dv", &self.dv)];
        let own = named.map(|(name, view)| view.line(name));
        self.forward.operands().into_iter().chain(own).collect()
    }

    fn parse(of: Extents, lines: &mut Lines) -> Parsed<(Vec<SlotDecl>, Self)> {
        let (slots, forward) = Attention::parse(of, lines)?;
        let body = AttentionGrad {
            forward,
            d_out: HeadView::field(lines, "d_out")?,
            dq: HeadView::field(lines, "dq")?,
            dk: HeadView::field(lines, "dk")?,
            dv: HeadView::field(lines, "dv")?,
        };
        Ok((slots, Box::new(body)))
    }

    fn sizes(&self) -> Vec<&Dim> {
        let own = self.own_views().into_iter().flat_map(HeadView::sizes);
        self.forward.sizes().into_iter().chain(own).collect()
    }

    fn verify(&self, v: &mut Verifier) -> Checked {
        let dtype = self.forward.verify_inputs(v)?;
        v.reads("the result", self.forward.out.slot, dtype)?;
        v.reads("the log-sum-exp", self.forward.lse, DType::F32)?;
        v.reads("the gradient of the result", self.d_out.slot, dtype)?;
        for view in [&self.dq, &self.dk, &self.dv] {
            v.writes("a gradient", view.slot, dtype)?;
        }
        Ok(())
    }

    fn cost(&self, slots: &[SlotDecl]) -> Cost {
        self.forward.cost_of(slots, 5, &self.views())
    }

    fn describe(&self) -> String {
        format!("gradient of {}", self.forward.describe())
    }

    fn factors(&self, slots: &[SlotDecl]) -> Factors {
        self.forward.factors(slots)
    }

    fn multiplied(&self) -> Vec<Slot> {
        self.views().into_iter().map(|v| v.slot).collect()
    }

    fn of_one_dtype(&self) -> Vec<Slot> {
        self.multiplied()
    }

    fn kept_wide(&self) -> Vec<(Slot, Wide)> {
        self.forward.kept_wide()
    }

    fn sample(seed: u32) -> Sample {
        sample::attention_grad(seed)
    }

    fn sample_large(seed: u32) -> Option<Sample> {
        Some(sample::attention_grad_large(seed))
    }

    fn narrow_sample(&self, sample: &mut Sample, r: &mut Rand) {
        sample::narrow_heads(sample, r, &self.multiplied(), |s| sums::backward(self, s));
    }

    fn spreads_nan(&self) -> bool {
        self.forward.spreads_nan()
    }
}
