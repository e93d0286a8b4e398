//! Row kernels: maps, and reductions along the last axis.

pub(crate) mod sample;

use super::*;
use crate::dim::numel;
use crate::kernel_cost::Walk;
use crate::kernel_sample::narrow_maps;
use crate::kernel_text::{dims, parse_dims};
use crate::kernel_values::{name_of, needed, store_roots};
use crate::kernel_verify::{Scope, VerifyError};
use crate::types::shape_text;

/// For every row (all axes but the last) the phases run in order; a phase walks the columns (the last axis) once.
/// A store of an earlier phase is visible to loads of a later phase of the same row.
/// One item of work is one row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RowKernel {
    /// Extents; the last is the column axis. Never empty.
    pub axes: Vec<Dim>,
    pub values: Vec<Value>,
    pub phases: Vec<Phase>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// For every column: add to reductions, write stores.
    Columns {
        reduce: Vec<(Reduction, ValId)>,
        store: Vec<Store>,
    },
    /// Once per row; values may use reductions of earlier phases but not the column axis.
    Row { store: Vec<Store> },
}

impl Phase {
    fn reduce(&self) -> &[(Reduction, ValId)] {
        match self {
            Phase::Columns { reduce, .. } => reduce,
            Phase::Row { .. } => &[],
        }
    }

    fn store(&self) -> &[Store] {
        match self {
            Phase::Columns { store, .. } | Phase::Row { store } => store,
        }
    }
}

impl BodyDef for RowKernel {
    fn extents(&self) -> String {
        dims(&self.axes)
    }

    fn parse(of: Extents, lines: &mut Lines) -> Parsed<(Vec<SlotDecl>, Self)> {
        let axes = parse_dims(of.only()?)?;
        let (slots, values) = (lines.slots()?, lines.values()?);
        let (mut phases, mut reduced) = (vec![], 0);
        while let Some(name) = lines.next_if(|l| l == "columns" || l == "row") {
            if name == "row" {
                phases.push(Phase::Row { store: lines.stores()? });
                continue;
            }
            let reduce = lines.reduce(reduced)?;
            reduced += reduce.len();
            let store = lines.stores()?;
            phases.push(Phase::Columns { reduce, store });
        }
        Ok((slots, RowKernel { axes, values, phases }))
    }

    fn values(&self) -> &[Value] {
        &self.values
    }

    fn blocks(&self) -> Vec<Block<'_>> {
        fn block(p: &Phase) -> Block<'_> {
            Block {
                name: match p {
                    Phase::Columns { .. } => "columns",
                    Phase::Row { .. } => "row",
                },
                reduce: p.reduce(),
                store: p.store(),
            }
        }
        self.phases.iter().map(block).collect()
    }

    fn sizes(&self) -> Vec<&Dim> {
        self.axes.iter().collect()
    }

    fn verify(&self, v: &mut Verifier) -> Checked {
        let columns = self.axes.len().checked_sub(1).ok_or(VerifyError::NoColumns)?;
        v.axes(self.axes.len())?;
        let mut reduced = 0;
        for (p, phase) in self.phases.iter().enumerate() {
            let stored = v.written.clone();
            let scope = Scope {
                at: format!("phase {p}"),
                hidden: match phase {
                    Phase::Columns { .. } => 0..0,
                    Phase::Row { .. } => columns..columns + 1,
                },
                reduced,
                acc: false,
                stored: &stored,
            };
            v.reduce(phase.reduce(), &scope)?;
            v.store(phase.store(), self.axes.len(), &scope)?;
            reduced += phase.reduce().len();
        }
        Ok(())
    }

    fn cost(&self, slots: &[SlotDecl]) -> Cost {
        let (columns, outer) = self.axes.split_last().expect("a row kernel has a column axis");
        let mut walk = Walk::new(slots, &self.values);
        for phase in &self.phases {
            match phase {
                Phase::Columns { reduce, store } => {
                    walk.work(&self.axes, reduce.iter().map(|r| r.1), store);
                    walk.operations(numel(&self.axes) * Dim::from(reduce.len() as i64));
                }
                Phase::Row { store } => walk.work(&[outer, std::slice::from_ref(columns)].concat(), [], store),
            }
        }
        walk.cost()
    }

    fn describe(&self) -> String {
        let reductions: Vec<&str> = self.reductions().iter().map(|(r, _)| name_of(*r)).collect();
        let space = shape_text(&self.axes);
        if reductions.is_empty() {
            format!("elements of {space}")
        } else {
            format!("rows of {space}: {}", reductions.join(", "))
        }
    }

    fn kept_wide(&self) -> Vec<(Slot, Wide)> {
        let per_row = self.phases.iter().filter(|p| matches!(p, Phase::Row { .. }));
        let stores = per_row.flat_map(Phase::store);
        stores.map(|s| (s.slot, Wide::Statistic)).collect()
    }

    fn stores_before_loading(&self, slot: Slot) -> bool {
        let mut written = false;
        for phase in &self.phases {
            let roots = store_roots(phase.store()).chain(phase.reduce().iter().map(|(_, v)| *v));
            let loads = |v: usize| matches!(&self.values[v], Value::Load { slot: s, .. } if *s == slot);
            if !written && needed(&self.values, roots).into_iter().any(loads) {
                return false;
            }
            let mut own = phase.store().iter().filter(|s| s.slot == slot);
            if own.clone().any(|s| s.accumulate) {
                return false;
            }
            written |= own.next().is_some();
        }
        written
    }

    fn sample(seed: u32) -> Sample {
        sample::row(seed)
    }

    fn sample_large(seed: u32) -> Option<Sample> {
        Some(sample::row_large(seed))
    }

    fn narrow_sample(&self, sample: &mut Sample, r: &mut Rand) {
        narrow_maps(sample, r);
    }

    fn spreads_nan(&self) -> bool {
        true
    }
}
