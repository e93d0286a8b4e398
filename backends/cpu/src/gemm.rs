//! Generated matrix products: packing, micro-kernels of one generator, and the loops around them.
//!
//! The product's right operand is packed into *panels* of `Tile::columns` columns: panel `j` holds, for every step of the
//! summed axis, its columns side by side. The left operand is read in place by broadcasts, so it needs unit stride along
//! the summed axis (`Layout::Rows`) or along its rows (`Layout::Columns`). In bf16 a step is two elements, side by side in
//! both ([`Factors::Pairs`]); all else is the same. Every element of the result sums its products
//! one after the other with fused multiply-adds, whatever tile it falls into: results do not depend on blocking, edges
//! or threads. With [`Sink::Targets`] sums begin anew with every pass; they still depend on nothing but sizes.
//!
//! Blocking follows BLIS (Van Zee & van de Geijn 2015): a chunk of a panel stays in L1 while rows pass by it, a block of
//! rows stays in L2.

use crate::{Schedule, Target};

pub(crate) mod bytes;
pub(crate) mod code;
mod forms;
mod integers;
mod micro;
mod pack;
mod pairs;

pub(crate) use forms::{form_along_depth, form_along_rows, pack_form};
pub(crate) use micro::{FACTOR_AT, Layout, Sink, TARGET_BYTES, multiply_block, product};
pub(crate) use pack::{
    copy_along_depth, copy_along_rows, copy_strided, pack_along_columns, pack_along_depth, pack_strided,
};
pub(crate) use pairs::{Order, copy_pairs, copy_widened, pack_pairs};

/// What a step of the summed axis is: 4 bytes of each row and each column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Factors {
    /// An f32.
    F32,
    /// Two bf16, whose products are added up. Where there is an odd one left, the second is 0.
    Pairs,
}

impl Factors {
    /// Elements in a step.
    pub(crate) fn count(self) -> i64 {
        match self {
            Factors::F32 => 1,
            Factors::Pairs => 2,
        }
    }
}

/// The shape of a micro-kernel: `rows` x `vectors` accumulators stay in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// f32 elements of a vector.
    pub(crate) lanes: u32,
    pub(crate) rows: u32,
    pub(crate) vectors: u32,
    pub(crate) factors: Factors,
}

impl Tile {
    pub(crate) fn of(target: &Target, schedule: Schedule) -> Tile {
        Tile {
            lanes: target.lanes(),
            rows: schedule.rows,
            vectors: schedule.vectors,
            factors: Factors::F32,
        }
    }

    /// For names of functions.
    fn name(self) -> String {
        let factors = match self.factors {
            Factors::F32 => "",
            Factors::Pairs => "_pairs",
        };
        format!("{}x{}{factors}", self.rows, self.columns())
    }

    pub(crate) fn columns(self) -> i64 {
        (self.lanes * self.vectors) as i64
    }

    /// Bytes of one step of the summed axis in a panel.
    pub(crate) fn step_bytes(self) -> i64 {
        4 * self.columns()
    }
}
