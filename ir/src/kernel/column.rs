//! Column kernels: reductions over leading axes, for every column.

pub(crate) mod sample;

use super::*;
use crate::dim::numel;
use crate::kernel_cost::Walk;
use crate::kernel_sample::narrow_maps;
use crate::kernel_text::dims;
use crate::kernel_values::name_of;
use crate::kernel_verify::{Scope, VerifyError};
use crate::types::shape_text;
use std::collections::BTreeSet;

/// Reduces over leading axes, keeping columns: for every outer position and column, the reductions run over `reduced` in
/// row-major order, then `store` writes. Axes are numbered outer, then reduced, then the column axis.
/// One item of work is one outer position and one block of columns (block size is the backend's).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ColumnKernel {
    pub outer: Vec<Dim>,
    pub reduced: Vec<Dim>,
    pub columns: Dim,
    pub values: Vec<Value>,
    /// Sum or Max.
    pub reduce: Vec<(Reduction, ValId)>,
    /// May use `Reduced`, outer axes and the column axis.
    pub store: Vec<Store>,
}

impl BodyDef for ColumnKernel {
    fn extents(&self) -> String {
        let (outer, reduced) = (dims(&self.outer), dims(&self.reduced));
        format!("outer {outer}, reduced {reduced}, columns {}", self.columns)
    }

    fn parse(of: Extents, lines: &mut Lines) -> Parsed<(Vec<SlotDecl>, Self)> {
        let (outer, reduced, columns) = (of.list(0, "outer")?, of.list(1, "reduced")?, of.dim(2, "columns")?);
        let (slots, values) = (lines.slots()?, lines.values()?);
        lines.heading("reduce")?;
        let reduce = lines.reduce(0)?;
        lines.heading("store")?;
        let store = lines.stores()?;
        let body = ColumnKernel {
            outer,
            reduced,
            columns,
            values,
            reduce,
            store,
        };
        Ok((slots, body))
    }

    fn values(&self) -> &[Value] {
        &self.values
    }

    fn blocks(&self) -> Vec<Block<'_>> {
        vec![
            Block {
                name: "reduce",
                reduce: &self.reduce,
                store: &[],
            },
            Block {
                name: "store",
                reduce: &[],
                store: &self.store,
            },
        ]
    }

    fn sizes(&self) -> Vec<&Dim> {
        self.outer.iter().chain(&self.reduced).chain([&self.columns]).collect()
    }

    fn verify(&self, v: &mut Verifier) -> Checked {
        let (outer, count) = (self.outer.len(), self.outer.len() + self.reduced.len() + 1);
        v.axes(count)?;
        let stored = BTreeSet::new();
        let mut scope = Scope {
            at: "the reduction".into(),
            hidden: 0..0,
            reduced: 0,
            acc: false,
            stored: &stored,
        };
        if self.reduce.iter().any(|(how, _)| *how == Reduction::ArgMax) {
            return Err(VerifyError::ArgMaxOverRows { at: scope.at });
        }
        v.reduce(&self.reduce, &scope)?;
        scope = Scope {
            at: "the epilogue".into(),
            hidden: outer..count - 1,
            reduced: self.reduce.len(),
            ..scope
        };
        v.store(&self.store, count, &scope)
    }

    fn cost(&self, slots: &[SlotDecl]) -> Cost {
        let axes = [&self.outer[..], &self.reduced, std::slice::from_ref(&self.columns)].concat();
        let mut walk = Walk::new(slots, &self.values);
        walk.work(&axes, self.reduce.iter().map(|r| r.1), &[]);
        walk.operations(numel(&axes) * Dim::from(self.reduce.len() as i64));
        let mut stored = axes;
        stored[self.outer.len()..][..self.reduced.len()].fill(Dim::from(1));
        walk.work(&stored, [], &self.store);
        walk.cost()
    }

    fn describe(&self) -> String {
        let reductions: Vec<&str> = self.reduce.iter().map(|(r, _)| name_of(*r)).collect();
        let (over, columns) = (shape_text(&self.reduced), &self.columns);
        format!("columns: {} over {over} of {columns}", reductions.join(", "))
    }

    fn kept_wide(&self) -> Vec<(Slot, Wide)> {
        self.store.iter().map(|s| (s.slot, Wide::Statistic)).collect()
    }

    fn sample(seed: u32) -> Sample {
        sample::column(seed)
    }

    fn narrow_sample(&self, sample: &mut Sample, r: &mut Rand) {
        narrow_maps(sample, r);
    }

    fn spreads_nan(&self) -> bool {
        true
    }
}
