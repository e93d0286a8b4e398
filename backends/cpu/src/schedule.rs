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

/// By bits of a vector, chosen by measurement (docs/performance.md).
const TABLE: [(u32, Schedule); 2] = [
    (
        256,
        Schedule {
            rows: 6,
            vectors: 2,
            depth: 256,
            block_rows: 16,
            block_columns: 512,
        },
    ),
    (
        512,
        Schedule {
            rows: 14,
            vectors: 2,
            depth: 512,
            block_rows: 10,
            block_columns: 512,
        },
    ),
];

/// As above, where columns fill these panels and not those of the table.
const NARROW: [(u32, Schedule); 1] = [(
    512,
    Schedule {
        rows: 8,
        vectors: 3,
        depth: 512,
        block_rows: 16,
        block_columns: 528,
    },
)];

/// By bits of a vector, of products of bytes; that of AVX2 was chosen by measurement, that of AVX-512 by the same sizes in
/// caches. Their depth is brought to whole blocks of levels.
const BYTES: [(u32, Schedule); 2] = [
    (
        256,
        Schedule {
            rows: 3,
            vectors: 2,
            depth: 768,
            block_rows: 16,
            block_columns: 1024,
        },
    ),
    (
        512,
        Schedule {
            rows: 8,
            vectors: 2,
            depth: 768,
            block_rows: 6,
            block_columns: 1024,
        },
    ),
];

impl Schedule {
    /// That of the widest vectors that are not wider.
    pub fn for_vectors(bits: u32) -> Schedule {
        Schedule::among(&TABLE, bits)
    }

    /// Of products with so many columns: that which computes the fewest beyond the last one.
    pub fn for_columns(bits: u32, columns: i64) -> Schedule {
        let computed = |s: &Schedule| {
            let panel = (bits / 32 * s.vectors) as i64;
            (columns + panel - 1) / panel * panel
        };
        let usual = Schedule::for_vectors(bits);
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
            let chosen = Schedule::for_columns(bits, n);
            bits / 32 * chosen.vectors
        };
        assert_eq!([33, 48, 96].map(|n| columns(512, n)), [48, 48, 32]);
        assert_eq!([1, 32, 64, 768, 3072].map(|n| columns(512, n)), [32; 5]);
        assert_eq!([16, 48, 768].map(|n| columns(256, n)), [16; 3]);
    }
}
