//! How matrix products are cut, as data: what `examples/gemm` tries and measures.

use std::fmt;

/// Sizes of one product, from registers outwards, as in BLIS (Van Zee & van de Geijn 2015).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Accumulators of the micro-kernel: rows, and vectors of columns.
    pub rows: u32,
    pub vectors: u32,
    /// Steps of the summed axis per pass. A chunk of a panel of the right operand then stays in L1, or
    /// in L2 where vectors are wide.
    pub depth: i64,
    /// Micro-kernels along the rows of a block. The block of the result and its rows of the left operand stay in L2.
    pub block_rows: i64,
    /// Columns of a block, at most; the more, the fewer times rows of the left operand are copied.
    pub block_columns: i64,
}

/// What a product is like, as far as its best schedule depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Rows of the left operand are contiguous along the summed axis.
    Rows,
    /// They lie side by side: a transposed operand, as in gradients of weights.
    Columns,
    /// Outputs of a convolution in fewer products of parts. Rows of a block are those of one part.
    Outputs,
    /// The gradient of its taps, likewise.
    Taps,
}

/// By bits of a vector, chosen by measurement (docs/notebook/cpu-kernels.md); that of taps with AVX2 by the sizes of the other.
const TABLE: [(u32, Shape, Schedule); 8] = [
    (256, Shape::Rows, schedule([6, 2, 256, 16, 512])),
    (256, Shape::Columns, schedule([6, 2, 256, 16, 512])),
    (256, Shape::Outputs, schedule([6, 2, 256, 8, 512])),
    (256, Shape::Taps, schedule([6, 2, 256, 30, 256])),
    (512, Shape::Rows, schedule([14, 2, 768, 8, 512])),
    (512, Shape::Columns, schedule([14, 2, 1024, 6, 512])),
    (512, Shape::Outputs, schedule([14, 2, 512, 4, 512])),
    (512, Shape::Taps, schedule([14, 2, 512, 13, 256])),
];

/// Rows, vectors, depth, rows and columns of a block.
const fn schedule([rows, vectors, depth, block_rows, block_columns]: [i64; 5]) -> Schedule {
    Schedule {
        rows: rows as u32,
        vectors: vectors as u32,
        depth,
        block_rows,
        block_columns,
    }
}

/// Where columns fill these panels and not those of the table.
const NARROW: [(u32, Schedule); 1] = [(512, schedule([8, 3, 512, 16, 528]))];

/// Of products of bytes; that of AVX2 was chosen by measurement, that of AVX-512 by the same sizes in caches. Their depth is
/// brought to whole blocks of levels.
const BYTES: [(u32, Schedule); 2] = [
    (256, schedule([3, 2, 768, 16, 1024])),
    (512, schedule([8, 2, 768, 6, 1024])),
];

impl Schedule {
    /// That of the widest vectors that are not wider.
    pub fn for_vectors(bits: u32, shape: Shape) -> Schedule {
        let table = TABLE.iter().filter(|(_, of, _)| *of == shape);
        let table: Vec<_> = table.map(|(bits, _, schedule)| (*bits, *schedule)).collect();
        Schedule::among(&table, bits)
    }

    /// Of products with so many columns: that which computes the fewest beyond the last one.
    pub fn for_columns(bits: u32, shape: Shape, columns: i64) -> Schedule {
        let computed = |s: &Schedule| {
            let panel = (bits / 32 * s.vectors) as i64;
            (columns + panel - 1) / panel * panel
        };
        let usual = Schedule::for_vectors(bits, shape);
        let narrow = NARROW.iter().find(|(known, _)| *known == bits).map(|(_, s)| *s);
        narrow.filter(|s| computed(s) < computed(&usual)).unwrap_or(usual)
    }

    /// Of products of bytes.
    pub fn for_bytes(bits: u32) -> Schedule {
        Schedule::among(&BYTES, bits)
    }

    fn among(table: &[(u32, Schedule)], bits: u32) -> Schedule {
        let known = table.iter().rev().find(|(known, _)| *known <= bits);
        known.unwrap_or(&table[0]).1
    }
}

/// The fields in order, separated by commas.
impl std::str::FromStr for Schedule {
    type Err = String;

    fn from_str(s: &str) -> Result<Schedule, String> {
        let fields: Result<Vec<i64>, _> = s.split(',').map(str::parse).collect();
        let wrong = || format!("`{s}`: want ROWS,VECTORS,DEPTH,BLOCK_ROWS,BLOCK_COLUMNS, each at least 1");
        match fields.map_err(|_| wrong())?[..] {
            [rows, vectors, depth, block_rows, block_columns]
                if [rows, vectors, depth, block_rows, block_columns]
                    .iter()
                    .all(|v| (1..1 << 20).contains(v)) =>
            {
                Ok(Schedule {
                    rows: rows as u32,
                    vectors: vectors as u32,
                    depth,
                    block_rows,
                    block_columns,
                })
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let rows = self.rows as i64 * self.block_rows;
        write!(
            f,
            "{} rows x {} vectors in registers, {} steps a pass, blocks of {rows} rows x up to {} columns",
            self.rows, self.vectors, self.depth, self.block_columns
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_choose_the_panels_that_they_fill() {
        let columns = |bits, n| {
            let chosen = Schedule::for_columns(bits, Shape::Rows, n);
            bits / 32 * chosen.vectors
        };
        assert_eq!([33, 48, 96].map(|n| columns(512, n)), [48, 48, 32]);
        assert_eq!([1, 32, 64, 768, 3072].map(|n| columns(512, n)), [32; 5]);
        assert_eq!([16, 48, 768].map(|n| columns(256, n)), [16; 3]);
    }
}
