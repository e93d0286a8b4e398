//! How TMA reads an operand, and where its boxes lie in shared memory.
//!
//! A box is 128 bytes wide, and swizzled: atoms of 8 rows of 128 bytes, in which chunks of 16 bytes are permuted by their row.
//! Whatever a box has beyond the operand is 0, so that no other check is needed.

use super::instructions::Descriptor;
use crate::builder::{Ty, V};
use crate::contract::panel::Axis;
use crate::contract::product::Product;
use crate::function::{Function, Unit, divisible};
use ir::dim::Dim;
use ir::kernel::Strided;
use ir::scalar::DType;
use ir::tensor_map::{MapSource, TensorMap};

/// Elements along the summed axis that are multiplied per step, and along the contiguous axis of a box: 128 bytes.
pub const WIDTH: u32 = 64;
/// Positions along the summed axis of one instruction.
const DEPTH: u32 = 16;
/// Elements of 16 bytes.
const CHUNK: i64 = 8;
/// Bytes of 8 rows of 128 bytes.
const ATOM: u32 = 1024;
/// Bytes of a box of 64 rows.
const SQUARE: u32 = 128 * WIDTH;
/// Axes of a tensor map, at most.
const MOST_AXES: usize = 5;

/// An axis of a tensor map.
#[derive(Clone, Copy, Debug, PartialEq)]
enum MapAxis {
    /// i or j.
    Free,
    /// The inner and the outer part of the summed axis.
    Inner,
    Outer,
    /// A batch axis of the product, by its place among them.
    Batch(usize),
}

/// An operand that TMA can read.
pub struct Operand {
    source: MapSource,
    base: Dim,
    /// Axes, innermost first, with extents and strides.
    axes: Vec<(MapAxis, Dim, Dim)>,
    /// The contiguous axis.
    order: Axis,
    /// Extent of a tile along the free axis.
    span: u32,
}

/// Where in an operand a tile is.
pub struct Place<'c> {
    /// First row or column, i32.
    pub free: V<'c>,
    /// Coordinates of the batch axes of the product, i32.
    pub batch: Vec<V<'c>>,
}

/// A step along the summed axis, i32.
#[derive(Clone, Copy)]
pub struct Step<'c> {
    pub outer: V<'c>,
    pub inner: V<'c>,
}

impl Operand {
    /// An operand in a slot, of `extent` along its free axis; `None` where TMA cannot read it.
    pub fn new(unit: &Unit, p: &Product, s: &Strided, extent: &Dim) -> Option<Operand> {
        let aligned = unit.alignment[s.slot].is_multiple_of(16);
        let stored = unit.slots[s.slot].dtype == DType::Bf16;
        (aligned && stored)
            .then(|| Operand::of(MapSource::Slot(s.slot), p, s, extent))
            .flatten()
    }

    /// The same of an operand that is packed in the workspace.
    pub fn packed(p: &Product, s: &Strided, extent: &Dim) -> Option<Operand> {
        Operand::of(MapSource::Workspace, p, s, extent)
    }

    fn of(source: MapSource, p: &Product, s: &Strided, extent: &Dim) -> Option<Operand> {
        let free = (MapAxis::Free, extent.clone(), s.free.clone());
        let inner = (MapAxis::Inner, p.k.clone(), s.k.clone());
        let (order, mut axes) = if s.k.is_one() {
            (Axis::Summed, vec![inner, free])
        } else {
            (Axis::Free, vec![free, inner])
        };
        axes.push((MapAxis::Outer, p.k_outer.clone(), s.k_outer.clone()));
        let batch = p.batch.iter().zip(&s.batch).enumerate();
        axes.extend(batch.map(|(i, ((_, extent), stride))| (MapAxis::Batch(i), extent.clone(), stride.clone())));
        // The two of the box stay, whatever their extents.
        let mut number = 0;
        axes.retain(|(_, extent, stride)| {
            number += 1;
            number <= 2 || !(extent.is_one() || stride.is_zero())
        });
        let contiguous = axes[0].2.is_one();
        let strides = axes[1..].iter().all(|(_, _, stride)| is_stride(stride));
        if !(contiguous && strides && divisible(&s.base, CHUNK) && axes.len() <= MOST_AXES) {
            return None;
        }
        Some(Operand {
            source,
            base: s.base.clone(),
            axes,
            order,
            span: 0,
        })
    }

    /// The same for tiles of this extent along the free axis.
    pub fn sized(self, span: u32) -> Operand {
        Operand { span, ..self }
    }

    /// Boxes of one step.
    fn boxes(&self) -> u32 {
        match self.order {
            Axis::Summed => 1,
            Axis::Free => self.span.div_ceil(WIDTH),
        }
    }

    /// Bytes of one step.
    pub fn bytes(&self) -> u32 {
        match self.order {
            Axis::Summed => 128 * self.span,
            Axis::Free => SQUARE * self.boxes(),
        }
    }

    pub fn map(&self) -> TensorMap {
        let rows = match self.order {
            Axis::Summed => self.span,
            Axis::Free => WIDTH,
        };
        let mut tile = vec![1; self.axes.len()];
        tile[..2].copy_from_slice(&[WIDTH, rows]);
        TensorMap {
            source: self.source,
            offset: self.base.clone(),
            dtype: DType::Bf16,
            extents: self.axes.iter().map(|a| a.1.clone()).collect(),
            strides: self.axes[1..].iter().map(|a| a.2.clone()).collect(),
            tile,
        }
    }

    /// Begins to copy a step to shared memory (i32); its bytes count for the barrier.
    pub fn copy<'c>(
        &self,
        f: &Function<'_, 'c>,
        (map, to, barrier): (V<'c>, V<'c>, V<'c>),
        place: &Place<'c>,
        step: Step<'c>,
    ) {
        for number in 0..self.boxes() {
            let coordinate = |(axis, ..): &(MapAxis, Dim, Dim)| match axis {
                MapAxis::Free => f.add(place.free, f.i32((number * WIDTH) as i32)),
                MapAxis::Inner => step.inner,
                MapAxis::Outer => step.outer,
                MapAxis::Batch(i) => place.batch[*i],
            };
            let coordinates: Vec<V> = self.axes.iter().map(coordinate).collect();
            let to = f.add(to, f.i32((number * SQUARE) as i32));
            f.copy_box(to, map, &coordinates, barrier);
        }
    }

    /// The descriptor of the part of a step, at an address (i32) in shared memory, that begins at `first` (i32) along the free
    /// axis, which is a multiple of 64 where that axis is contiguous, otherwise of 8.
    ///
    /// The fields are those of "Matrix Descriptor Format" in NVIDIA's PTX manual.
    pub fn descriptor<'c>(&self, f: &Function<'_, 'c>, at: V<'c>, first: V<'c>) -> Descriptor<'c> {
        let units = |bytes: u32| i64::from(bytes / 16);
        // From one group of 8 rows to the next; where rows lie along m or n, also from one box to the next.
        let (step, leading) = match self.order {
            Axis::Summed => (2 * DEPTH, 0),
            Axis::Free => (DEPTH / 8 * ATOM, SQUARE),
        };
        let swizzled = 1 << 62;
        let fields = swizzled | units(ATOM) << 32 | units(leading) << 16;
        // Either way, an element along the free axis is 128 bytes on: one row, or one of the 64 of a box.
        let at = f.add(at, f.shl(first, 7));
        let at = f.and(f.lshr(at, 4), f.i32(0x3fff));
        Descriptor {
            first: f.or(f.widen(at, Ty::I64), f.i64(fields)),
            step: units(step),
            transposed: self.order == Axis::Free,
        }
    }
}

/// Whether a dim is a stride that TMA takes: a multiple of 16 bytes, and not one that leads backwards.
fn is_stride(d: &Dim) -> bool {
    divisible(d, CHUNK) && d.terms().any(|(c, _)| c > 0)
}
