//! Scatter: adds rows into rows that an index names.

use super::*;
use crate::kernel_cost::width;
use crate::kernel_sample::{Draw, narrow_some};

/// out[r, 0..into, 0..width] = 0, then for j in order: out[r, index[r, j], :] += from[r, j, :]; an index outside
/// 0..into is skipped.
/// All operands are contiguous. One item of work is one r. `from` may hold bf16 where `out` holds f32.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scatter {
    pub rows: Dim,
    pub count: Dim,
    pub into: Dim,
    pub width: Dim,
    pub from: Slot,
    pub index: Slot,
    pub out: Slot,
}

impl BodyDef for Scatter {
    fn extents(&self) -> String {
        format!(
            "rows {}, count {}, into {}, width {}",
            self.rows, self.count, self.into, self.width
        )
    }

    fn operands(&self) -> Vec<String> {
        let slots = [("from", self.from), ("index", self.index), ("out", self.out)];
        slots.map(|(name, s)| format!("{name} = s{s}")).to_vec()
    }

    fn parse(of: Extents, lines: &mut Lines) -> Parsed<(Vec<SlotDecl>, Self)> {
        let (rows, count) = (of.dim(0, "rows")?, of.dim(1, "count")?);
        let (into, width) = (of.dim(2, "into")?, of.dim(3, "width")?);
        let slots = lines.slots()?;
        let body = Scatter {
            rows,
            count,
            into,
            width,
            from: lines.slot("from")?,
            index: lines.slot("index")?,
            out: lines.slot("out")?,
        };
        Ok((slots, body))
    }

    fn sizes(&self) -> Vec<&Dim> {
        vec![&self.rows, &self.count, &self.into, &self.width]
    }

    fn verify(&self, v: &mut Verifier) -> Checked {
        v.reads("the index", self.index, DType::I32)?;
        let dtype = v.dtype("the source", self.from)?;
        v.reads("the source", self.from, dtype)?;
        // Sums go through memory.
        v.writes("the result", self.out, dtype.loaded())
    }

    fn cost(&self, slots: &[SlotDecl]) -> Cost {
        let moved = self.rows.clone() * self.count.clone() * self.width.clone();
        let out = self.rows.clone() * self.into.clone() * self.width.clone();
        let index = self.rows.clone() * self.count.clone() * Dim::from(4);
        Cost {
            flops: moved.clone(),
            bytes: moved * width(slots, self.from) + out * width(slots, self.out) + index,
        }
    }

    fn describe(&self) -> String {
        format!("adds {} rows of {} into {}", self.count, self.width, self.into)
    }

    fn kept_wide(&self) -> Vec<(Slot, Wide)> {
        vec![(self.out, Wide::Scattered)]
    }

    fn sample(seed: u32) -> Sample {
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
        d.sample(Scatter {
            rows,
            count,
            into,
            width,
            from,
            index,
            out,
        })
    }

    fn narrow_sample(&self, sample: &mut Sample, r: &mut Rand) {
        narrow_some(sample, r, [self.from]);
    }

    fn spreads_nan(&self) -> bool {
        false
    }
}
