//! What the tensor memory accelerator (TMA) of Hopper reads: a part of an operand as a tensor, box by box.

use crate::dim::Dim;
use crate::scalar::DType;
use serde::{Deserialize, Serialize};

/// How TMA reads an operand tile by tile: a `CUtensorMap` (CUDA driver API, "Tensor Map Object Management") whose numbers are
/// worked out before the launch. Always with 128-byte swizzle, element strides of 1, and zeros for what is out of bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorMap {
    pub source: MapSource,
    /// Elements before the first. The address they lead to is a multiple of 16 bytes.
    pub offset: Dim,
    pub dtype: DType,
    /// Elements along each axis, innermost first; at most 5.
    pub extents: Vec<Dim>,
    /// Elements between neighbours along the axes after the first, whose neighbours are adjacent; multiples of 16 bytes. One
    /// may be less than what lies along the axis before it: rows may overlap.
    pub strides: Vec<Dim>,
    /// The box, in elements along each axis, at most 256; its first extent takes at most 128 bytes.
    pub tile: Vec<u32>,
}

/// What a map is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MapSource {
    Slot(usize),
    Workspace,
}
