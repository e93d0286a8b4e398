//! Tensor maps with every number known, as devices take them.

use ir::dim::Dim;
use ir::tensor_map::{MapSource, TensorMap};

/// A [`TensorMap`] for one launch.
#[derive(Clone, Debug, PartialEq)]
pub struct MapArgument {
    /// Of the first element.
    pub address: u64,
    pub bytes_per_element: u32,
    /// Elements along each axis, innermost first.
    pub extents: Vec<u64>,
    /// Bytes between neighbours along the axes after the first.
    pub strides: Vec<u64>,
    /// The box, in elements along each axis.
    pub tile: Vec<u32>,
}

impl MapArgument {
    /// `address` gives what a slot (or, for `None`, the workspace) is bound to. An axis of nothing counts as one of 1: such a
    /// launch reads no box.
    pub fn new<E>(
        map: &TensorMap,
        address: &dyn Fn(Option<usize>) -> u64,
        value: &dyn Fn(&Dim) -> Result<i64, E>,
    ) -> Result<MapArgument, E> {
        let bytes = map.dtype.bytes();
        let base = match map.source {
            MapSource::Slot(slot) => address(Some(slot)),
            MapSource::Workspace => address(None),
        };
        let extents = map.extents.iter().map(|d| Ok(value(d)?.max(1) as u64));
        let strides = map.strides.iter().map(|d| Ok((value(d)? * bytes as i64) as u64));
        Ok(MapArgument {
            address: base.wrapping_add_signed(value(&map.offset)? * bytes as i64),
            bytes_per_element: bytes as u32,
            extents: extents.collect::<Result<_, E>>()?,
            strides: strides.collect::<Result<_, E>>()?,
            tile: map.tile.clone(),
        })
    }

    /// The maps of a launch whose slots have these addresses, and its workspace the last.
    pub fn all<E>(
        maps: &[TensorMap],
        addresses: &[u64],
        value: &dyn Fn(&Dim) -> Result<i64, E>,
    ) -> Result<Vec<MapArgument>, E> {
        let address = |slot: Option<usize>| addresses[slot.unwrap_or(addresses.len() - 1)];
        maps.iter().map(|m| MapArgument::new(m, &address, value)).collect()
    }
}
