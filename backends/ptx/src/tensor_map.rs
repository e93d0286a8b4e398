//! Tensor maps: how a bulk copy finds a box of a tensor in global memory.

use thiserror::Error;

/// Axes of a tensor, at most.
const AXES: usize = 5;
/// Bytes of a map as a kernel's parameter.
const BYTES: usize = 128;
/// What a map begins with here. A GPU's own layout is not documented.
const MAGIC: &[u8; 8] = b"w2vc-map";

/// A tensor of 16-bit elements and the boxes it is read by; elements beyond its extents read as zeros, and a box's rows lie in
/// shared memory with the 128-byte swizzle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMap {
    /// Of the first element, a multiple of 16.
    pub address: u64,
    pub bytes_per_element: u32,
    /// Elements along each axis, innermost first.
    pub extents: Vec<u64>,
    /// Bytes between neighbours along each axis but the innermost, multiples of 16.
    pub strides: Vec<u64>,
    /// Elements of a box along each axis, at most 256; a row has at most 128 bytes.
    pub tile: Vec<u32>,
}

/// A map that `cuTensorMapEncodeTiled` would refuse.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TensorMapError {
    #[error("{0} axes, {1} strides and {2} sizes of a box; 1 to 5 axes are possible, one stride less than axes")]
    Axes(usize, usize, usize),
    #[error("elements of {0} bytes; 2 are possible")]
    Element(u32),
    #[error("address {0:#x} is no multiple of 16")]
    Address(u64),
    #[error("extent {1} of axis {0}; 1 to 2^32 are possible")]
    Extent(usize, u64),
    #[error("stride of {1} bytes along axis {0}; multiples of 16 below 2^40 are possible")]
    Stride(usize, u64),
    #[error("a box of {1} along axis {0}; 1 to 256 are possible")]
    Tile(usize, u32),
    #[error("rows of {0} bytes in a box; multiples of 16 up to 128 are possible")]
    Row(u32),
}

impl TensorMap {
    /// The map as the parameter of a kernel that the emulator runs.
    ///
    /// # Errors
    /// For a map that the CUDA driver would refuse ("CUDA Driver API", `cuTensorMapEncodeTiled`).
    pub fn encode(&self) -> Result<[u8; BYTES], TensorMapError> {
        self.check()?;
        let mut out = [0; BYTES];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(MAGIC);
        put(&self.address.to_le_bytes());
        put(&[self.extents.len() as u8, self.bytes_per_element as u8]);
        // 2^32 itself is an extent, so one less is kept.
        self.extents
            .iter()
            .for_each(|extent| put(&((extent - 1) as u32).to_le_bytes()));
        self.strides.iter().for_each(|stride| put(&stride.to_le_bytes()));
        self.tile.iter().for_each(|tile| put(&(*tile as u16).to_le_bytes()));
        Ok(out)
    }

    fn check(&self) -> Result<(), TensorMapError> {
        let axes = self.extents.len();
        if !(1..=AXES).contains(&axes) || self.strides.len() + 1 != axes || self.tile.len() != axes {
            return Err(TensorMapError::Axes(axes, self.strides.len(), self.tile.len()));
        }
        if self.bytes_per_element != 2 {
            return Err(TensorMapError::Element(self.bytes_per_element));
        }
        if !self.address.is_multiple_of(16) {
            return Err(TensorMapError::Address(self.address));
        }
        let wrong = |extent: &&u64| !(1..=1 << 32).contains(*extent);
        if let Some((axis, &extent)) = self.extents.iter().enumerate().find(|(_, extent)| wrong(extent)) {
            return Err(TensorMapError::Extent(axis, extent));
        }
        let wrong = |stride: &&u64| !stride.is_multiple_of(16) || **stride >= 1 << 40;
        if let Some((i, &stride)) = self.strides.iter().enumerate().find(|(_, stride)| wrong(stride)) {
            return Err(TensorMapError::Stride(i + 1, stride));
        }
        let wrong = |tile: &&u32| !(1..=256).contains(*tile);
        if let Some((axis, &tile)) = self.tile.iter().enumerate().find(|(_, tile)| wrong(tile)) {
            return Err(TensorMapError::Tile(axis, tile));
        }
        let row = self.row_bytes();
        if !row.is_multiple_of(16) || row > 128 {
            return Err(TensorMapError::Row(row));
        }
        Ok(())
    }

    /// The map that bytes hold; `None` if they were not made by [`TensorMap::encode`].
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let mut take = |count: usize| {
            let (now, later) = rest.split_at_checked(count)?;
            rest = later;
            Some(now.iter().rev().fold(0, |bits, &b| bits << 8 | u64::from(b)))
        };
        let address = take(8)?;
        let (axes, bytes_per_element) = (take(1)? as usize, take(1)? as u32);
        let extents = (0..axes).map(|_| Some(take(4)? + 1)).collect::<Option<_>>()?;
        let strides = (1..axes).map(|_| take(8)).collect::<Option<_>>()?;
        let tile = (0..axes).map(|_| Some(take(2)? as u32)).collect::<Option<_>>()?;
        Some(Self {
            address,
            bytes_per_element,
            extents,
            strides,
            tile,
        })
    }

    /// Bytes of a row of a box.
    pub(crate) fn row_bytes(&self) -> u32 {
        self.tile[0] * self.bytes_per_element
    }

    /// Bytes of a box.
    pub(crate) fn box_bytes(&self) -> u64 {
        self.tile.iter().map(|n| u64::from(*n)).product::<u64>() * u64::from(self.bytes_per_element)
    }
}

/// Where the 128-byte swizzle puts an address of shared memory: chunks of 16 bytes change places within lines of 128, by the
/// line's number among 8.
pub(crate) fn swizzle(address: u64) -> u64 {
    address ^ (address >> 7 & 7) << 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_as_it_was_written() {
        let map = TensorMap {
            address: 0x10_0000_0040,
            bytes_per_element: 2,
            extents: vec![64, 1 << 32, 3, 1, 7],
            strides: vec![128, (1 << 40) - 16, 0, 16],
            tile: vec![64, 256, 1, 1, 2],
        };
        let bytes = map.encode().unwrap();
        assert_eq!(TensorMap::decode(&bytes), Some(map.clone()));
        assert_eq!(TensorMap::decode(&[0; BYTES]), None);
        let refused = |change: fn(&mut TensorMap)| {
            let mut map = map.clone();
            change(&mut map);
            map.encode().unwrap_err()
        };
        assert_eq!(refused(|m| m.address += 8), TensorMapError::Address(0x10_0000_0048));
        assert_eq!(refused(|m| m.extents[2] = 0), TensorMapError::Extent(2, 0));
        assert_eq!(refused(|m| m.strides[0] = 24), TensorMapError::Stride(1, 24));
        assert_eq!(refused(|m| m.strides[1] = 1 << 40), TensorMapError::Stride(2, 1 << 40));
        assert_eq!(refused(|m| m.tile[1] = 257), TensorMapError::Tile(1, 257));
        assert_eq!(refused(|m| m.tile[0] = 72), TensorMapError::Row(144));
        assert_eq!(refused(|m| m.strides.truncate(3)), TensorMapError::Axes(5, 3, 5));
    }
}
