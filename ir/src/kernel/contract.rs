//! Contractions: matrix products, also of operands whose rows overlap, with an epilogue.

pub(crate) mod boxed;
pub(crate) mod sample;

use super::*;
use crate::dim::numel;
use crate::kernel_cost::Walk;
use crate::kernel_sample::narrow_maps;
use crate::kernel_text::{Strides, dims, nonzero, parse_address, slot_and_address};
use crate::kernel_verify::{Scope, VerifyError};
use crate::rounding::Rounding;
use crate::types::shape_text;
use std::collections::BTreeSet;

/// acc[batch.., i, j] = sum over (o, p) of a[batch.., o, i, p] * b[batch.., o, p, j], in f32, o outer and p inner, in
/// order; then the epilogue's stores with axes numbered batch.., i, j. The slots of a and b hold f32 or bf16.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Contract {
    pub batch: Vec<Dim>,
    pub m: Dim,
    pub n: Dim,
    /// The summed axis, as `k_outer` blocks of `k`.
    pub k_outer: Dim,
    pub k: Dim,
    pub a: Strided,
    pub b: Strided,
    /// What elements of a and b become before they are multiplied. Sums are in f32; those of int8 are exact within a block.
    pub round: Rounding,
    pub values: Vec<Value>,
    pub store: Vec<Store>,
}

/// A matrix operand of a contraction; rows may overlap. `free` is the stride of i (for a) or j (for b).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Strided {
    pub slot: Slot,
    pub base: Dim,
    pub batch: Vec<Dim>,
    pub k_outer: Dim,
    pub free: Dim,
    pub k: Dim,
}

impl Strided {
    fn text(&self, free: &str) -> String {
        let batch = self.batch.iter().enumerate().map(|(n, d)| (d, format!("b{n}")));
        let inner = [(&self.k_outer, "o".into()), (&self.free, free.into()), (&self.k, "p".into())];
        format!("s{}{}", self.slot, nonzero(&self.base, batch.chain(inner)))
    }

    fn parse(s: &str, batch: usize, free: &str) -> Parsed<Strided> {
        let (slot, at) = slot_and_address(s)?;
        let (base, terms) = parse_address(at)?;
        let mut strides = Strides(terms);
        let batch = (0..batch).map(|n| strides.take(&format!("b{n}"))).collect();
        let (k_outer, free, k) = (strides.take("o"), strides.take(free), strides.take("p"));
        strides.end()?;
        Ok(Strided {
            slot,
            base,
            batch,
            k_outer,
            free,
            k,
        })
    }

    fn sizes(&self) -> impl Iterator<Item = &Dim> {
        self.batch.iter().chain([&self.base, &self.k_outer, &self.free, &self.k])
    }
}

impl Contract {
    /// Both operands, each with the extent of its own axis.
    fn sides(&self) -> [(&Strided, &Dim); 2] {
        [(&self.a, &self.m), (&self.b, &self.n)]
    }

    /// Elements that an operand reaches. Of rows that overlap, each brings a stride of new ones.
    fn elements(&self, operand: &Strided, free: &Dim) -> Dim {
        let outer = self.batch.iter().zip(&operand.batch);
        let outer: Dim = outer
            .chain([(&self.k_outer, &operand.k_outer)])
            .filter(|(_, stride)| !stride.is_zero())
            .map(|(extent, _)| extent.clone())
            .product();
        let closer = |(stride, k): (i64, i64)| stride < k;
        let overlap = operand.k.is_one() && operand.free.as_const().zip(self.k.as_const()).is_some_and(closer);
        let row = if overlap { operand.free.clone() } else { self.k.clone() };
        if operand.free.is_zero() {
            outer * row
        } else {
            outer * free.clone() * row
        }
    }
}

impl BodyDef for Contract {
    fn extents(&self) -> String {
        let round = match self.round {
            Rounding::F32 => String::new(),
            round => format!(", round {round}"),
        };
        format!(
            "batch {}, m {}, n {}, k_outer {}, k {}{round}",
            dims(&self.batch),
            self.m,
            self.n,
            self.k_outer,
            self.k
        )
    }

    fn operands(&self) -> Vec<String> {
        vec![
            format!("a = {}", self.a.text("i")),
            format!("b = {}", self.b.text("j")),
        ]
    }

    fn parse(of: Extents, lines: &mut Lines) -> Parsed<(Vec<SlotDecl>, Self)> {
        let (batch, m, n) = (of.list(0, "batch")?, of.dim(1, "m")?, of.dim(2, "n")?);
        let (k_outer, k) = (of.dim(3, "k_outer")?, of.dim(4, "k")?);
        let round = if of.len() > 5 {
            of.text(5, "round")?.parse()?
        } else {
            Rounding::F32
        };
        let slots = lines.slots()?;
        let a = Strided::parse(lines.field("a")?, batch.len(), "i")?;
        let b = Strided::parse(lines.field("b")?, batch.len(), "j")?;
        let values = lines.values()?;
        lines.heading("store")?;
        let store = lines.stores()?;
        let body = Contract {
            batch,
            m,
            n,
            k_outer,
            k,
            a,
            b,
            round,
            values,
            store,
        };
        Ok((slots, body))
    }

    fn values(&self) -> &[Value] {
        &self.values
    }

    fn blocks(&self) -> Vec<Block<'_>> {
        vec![Block {
            name: "store",
            reduce: &[],
            store: &self.store,
        }]
    }

    fn sizes(&self) -> Vec<&Dim> {
        let extents = [&self.m, &self.n, &self.k_outer, &self.k];
        let strides = self.a.sizes().chain(self.b.sizes());
        self.batch.iter().chain(extents).chain(strides).collect()
    }

    fn verify(&self, v: &mut Verifier) -> Checked {
        for (at, operand) in [("operand a", &self.a), ("operand b", &self.b)] {
            let dtype = v.float_storage(at, operand.slot)?;
            v.reads(at, operand.slot, dtype)?;
            let (found, expected) = (operand.batch.len(), self.batch.len());
            if found != expected {
                return Err(VerifyError::Strides {
                    at: at.into(),
                    found,
                    expected,
                });
            }
        }
        if let Rounding::Int8(levels) = self.round
            && !levels.is_valid()
        {
            return Err(VerifyError::BadLevels { levels });
        }
        let count = self.batch.len() + 2;
        v.axes(count)?;
        let stored = BTreeSet::new();
        let scope = Scope {
            at: "the epilogue".into(),
            hidden: 0..0,
            reduced: 0,
            acc: true,
            stored: &stored,
        };
        v.store(&self.store, count, &scope)
    }

    fn cost(&self, slots: &[SlotDecl]) -> Cost {
        let axes: Vec<Dim> = self.batch.iter().chain([&self.m, &self.n]).cloned().collect();
        let depth = self.k_outer.clone() * self.k.clone();
        let mut walk = Walk::new(slots, &self.values);
        walk.work(&axes, [], &self.store);
        walk.operations(Dim::from(2) * numel(&axes) * depth);
        for (operand, free) in self.sides() {
            walk.elements(operand.slot, self.elements(operand, free));
        }
        walk.cost()
    }

    fn describe(&self) -> String {
        let depth = self.k_outer.clone() * self.k.clone();
        let factors = match self.round {
            Rounding::F32 => "",
            Rounding::Bf16 => " of bf16",
            Rounding::Int8(_) => " of int8",
        };
        let batch = shape_text(&self.batch);
        format!("product{factors} {batch} of {} x {} over {depth}", self.m, self.n)
    }

    fn factors(&self, _slots: &[SlotDecl]) -> Factors {
        match self.round {
            Rounding::F32 => Factors::F32,
            Rounding::Bf16 => Factors::Bf16,
            Rounding::Int8(_) => Factors::Int8,
        }
    }

    fn multiplied(&self) -> Vec<Slot> {
        vec![self.a.slot, self.b.slot]
    }

    fn kept_wide(&self) -> Vec<(Slot, Wide)> {
        vec![]
    }

    fn sample(seed: u32) -> Sample {
        sample::contract(seed)
    }

    fn sample_large(seed: u32) -> Option<Sample> {
        Some(sample::contract_large(seed))
    }

    fn narrow_sample(&self, sample: &mut Sample, r: &mut Rand) {
        narrow_maps(sample, r);
        if r.flag() {
            sample::round_product(sample, r);
        }
    }

    fn spreads_nan(&self) -> bool {
        true
    }
}
