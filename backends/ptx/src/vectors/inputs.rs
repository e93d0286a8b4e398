//! What the micro-kernels are fed: edges of each type in all pairs, then random values.

use super::random::Random;

/// How a kernel's inputs are made.
#[derive(Clone, Copy, Debug)]
pub enum Inputs {
    /// A record has an operand of each column.
    Columns(&'static [Column]),
    /// A record has so many words, and its maker makes all records.
    Made {
        words: usize,
        make: fn(usize, &mut Random) -> Vec<u32>,
        /// By word of the record: without the bits of signs.
        magnitudes: &'static [u32],
    },
}

/// Values of one type.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// 1 or 2.
    words: usize,
    edges: &'static [u64],
    random: fn(&mut Random) -> u64,
}

impl Inputs {
    pub fn make(&self, records: usize, random: &mut Random) -> Vec<u32> {
        match self {
            Inputs::Columns(columns) => table(columns, records, random),
            Inputs::Made { words, make, .. } => {
                let made = make(records, random);
                assert_eq!(made.len(), records * words, "a maker makes whole records");
                made
            }
        }
    }

    /// What to keep of each word of a record for all to be positive. Columns are singles where this is asked for.
    pub fn magnitude_masks(&self) -> Vec<u32> {
        match self {
            Inputs::Columns(columns) => vec![0x7fff_ffff; columns.len()],
            Inputs::Made { magnitudes, .. } => magnitudes.to_vec(),
        }
    }
}

/// All combinations of edges if they take at most three quarters of the records, else random ones in half of them.
fn table(columns: &[Column], records: usize, random: &mut Random) -> Vec<u32> {
    let combinations: usize = columns.iter().map(|c| c.edges.len()).product();
    let every = combinations <= records / 4 * 3;
    let edges = if every { combinations } else { records / 2 };
    let mut words = vec![];
    for record in 0..records {
        let mut digits = record;
        for column in columns {
            let value = if record < edges && every {
                let edge = column.edges[digits % column.edges.len()];
                digits /= column.edges.len();
                edge
            } else if record < edges || (random.below(8) == 0 && !column.edges.is_empty()) {
                random.pick(column.edges)
            } else {
                (column.random)(random)
            };
            words.push(value as u32);
            if column.words == 2 {
                words.push((value >> 32) as u32);
            }
        }
    }
    words
}

fn any_single(random: &mut Random) -> u64 {
    match random.below(3) {
        0 => random.bits() >> 32,
        1 => u64::from(random.single(-8, 8).to_bits()),
        _ => u64::from(random.single(-126, 127).to_bits()),
    }
}

fn any_double(random: &mut Random) -> u64 {
    match random.below(3) {
        0 => random.bits(),
        1 => random.double(-8, 8).to_bits(),
        _ => random.double(-1022, 1023).to_bits(),
    }
}

/// Integers of all sizes.
fn any_int(random: &mut Random) -> u64 {
    let shift = random.below(64);
    random.bits() >> shift
}

pub const SINGLE: Column = Column {
    words: 1,
    edges: &[
        0,
        0x8000_0000,
        1,
        0x8000_0001,
        0x007f_ffff,
        0x0080_0000,
        0x8080_0000,
        0x00ff_ffff,
        0x3f80_0000,
        0xbf80_0000,
        0x3f7f_ffff,
        0x3f80_0001,
        0x3f00_0000,
        0x4000_0000,
        0x4040_0000,
        0x7e80_0000,
        0x7f00_0000,
        0x7f7f_ffff,
        0xff7f_ffff,
        0x7f80_0000,
        0xff80_0000,
        0x7fc0_0000,
        0xffc0_0001,
        0x7f80_0001,
        0x7fff_ffff,
    ],
    random: any_single,
};

pub const DOUBLE: Column = Column {
    words: 2,
    edges: &[
        0,
        1 << 63,
        1,
        0x000f_ffff_ffff_ffff,
        0x0010_0000_0000_0000,
        0x3ff0_0000_0000_0000,
        0xbff0_0000_0000_0000,
        0x3fef_ffff_ffff_ffff,
        0x3ff0_0000_0000_0001,
        0x4008_0000_0000_0000,
        // Half of the least single, the tie below 1 + 2^-23, and the tie at the greatest single.
        0x3690_0000_0000_0000,
        0x3ff0_0000_1000_0000,
        0x47ef_ffff_f000_0000,
        0x380f_ffff_e000_0000,
        0x7fe0_0000_0000_0000,
        0x7fef_ffff_ffff_ffff,
        0xffef_ffff_ffff_ffff,
        0x7ff0_0000_0000_0000,
        0xfff0_0000_0000_0000,
        0x7ff8_0000_0000_0000,
        0xfff8_0000_0000_0001,
        0x7ff0_0000_0000_0001,
    ],
    random: any_double,
};

/// Singles whose sums and products neither overflow nor underflow.
pub const MODERATE: Column = Column {
    words: 1,
    edges: &[],
    random: |random| u64::from(random.single(-6, 6).to_bits()),
};

/// Singles near the ties of bf16, and those that leave its range.
pub const NEAR_BF16: Column = Column {
    words: 1,
    edges: &[
        0,
        0x8000_0000,
        0x0000_7fff,
        0x0000_8000,
        0x0000_8001,
        0x0001_8000,
        0x007f_8000,
        0x3f80_8000,
        0x3f81_8000,
        0xbf80_8000,
        0xbf81_8000,
        0x3f80_7fff,
        0x3f80_8001,
        0x7f7f_7fff,
        0x7f7f_8000,
        0xff7f_8000,
        0x7f7f_ffff,
        0x7f80_0000,
        0xff80_0000,
        0x7f80_0001,
        0xff80_0001,
        0x7fff_ffff,
        0x7fc0_0000,
    ],
    random: |random| {
        let low = random.pick(&[0, 1, 0x7fff, 0x8000, 0x8001, 0xffff]);
        random.bits() >> 32 & 0xffff_0000 | low
    },
};

/// Singles around the bounds of integer types, and halves.
pub const NEAR_INT: Column = Column {
    words: 1,
    edges: &[
        0,
        0x8000_0000,
        1,
        0x3f00_0000,
        0x3f00_0001,
        0x3eff_ffff,
        0xbf00_0000,
        0x3fc0_0000,
        0xbfc0_0000,
        0x4020_0000,
        0x4b00_0001,
        0x4eff_ffff,
        0x4f00_0000,
        0xcf00_0000,
        0xcf00_0001,
        0x4f7f_ffff,
        0x4f80_0000,
        0x5eff_ffff,
        0x5f00_0000,
        0xdf00_0000,
        0xdf00_0001,
        0x5f7f_ffff,
        0x5f80_0000,
        0x7f80_0000,
        0xff80_0000,
        0x7fc0_0000,
        0xffc0_0000,
    ],
    random: |random| u64::from(random.single(-3, 66).to_bits()),
};

/// Doubles around the bounds of integer types, and halves.
pub const NEAR_INT_DOUBLE: Column = Column {
    words: 2,
    edges: &[
        0,
        1 << 63,
        0x3fe0_0000_0000_0000,
        0xbff8_0000_0000_0000,
        0x41df_ffff_ffc0_0000,
        0x41df_ffff_ffe0_0000,
        0x41e0_0000_0000_0000,
        0xc1e0_0000_0000_0000,
        0xc1e0_0000_0020_0000,
        0x41ef_ffff_ffe0_0000,
        0x41f0_0000_0000_0000,
        0x43df_ffff_ffff_ffff,
        0x43e0_0000_0000_0000,
        0xc3e0_0000_0000_0000,
        0xc3e0_0000_0000_0001,
        0x43ef_ffff_ffff_ffff,
        0x43f0_0000_0000_0000,
        0x7ff0_0000_0000_0000,
        0xfff0_0000_0000_0000,
        0x7ff8_0000_0000_0000,
        0xfff8_0000_0000_0000,
    ],
    random: |random| random.double(-3, 66).to_bits(),
};

/// Exponents of powers of two, to beyond what singles hold.
pub const EXPONENT: Column = Column {
    words: 1,
    edges: SINGLE.edges,
    random: |random| match random.below(4) {
        0 => u64::from(random.single(-30, -1).to_bits()),
        _ => u64::from(random.single(-1, 7).to_bits()),
    },
};

/// Positive singles, of which many are near 1.
pub const POSITIVE: Column = Column {
    words: 1,
    edges: SINGLE.edges,
    random: |random| match random.below(2) {
        0 => u64::from(random.single(-1, 1).to_bits() & 0x7fff_ffff),
        _ => u64::from(random.single(-126, 127).to_bits() & 0x7fff_ffff),
    },
};

pub const INT32: Column = Column {
    words: 1,
    edges: &[
        0,
        1,
        2,
        7,
        31,
        32,
        0xffff,
        0x1_0000,
        0x7fff_ffff,
        0x8000_0000,
        0x8000_0001,
        0xffff_fff9,
        0xffff_fffe,
        0xffff_ffff,
    ],
    random: any_int,
};

/// As [`INT32`] and without 0.
pub const DIVISOR32: Column = Column {
    words: 1,
    edges: &[1, 2, 3, 7, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_fff9, 0xffff_ffff],
    random: |random| u64::from(any_int(random) as u32).max(1),
};

pub const INT64: Column = Column {
    words: 2,
    edges: &[
        0,
        1,
        7,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x1_0000_0000,
        0x7fff_ffff_ffff_ffff,
        1 << 63,
        0xffff_ffff_ffff_fff9,
        u64::MAX,
    ],
    random: any_int,
};

/// As [`INT64`] and without 0.
pub const DIVISOR64: Column = Column {
    words: 2,
    edges: &[
        1,
        7,
        0xffff_ffff,
        0x1_0000_0000,
        0x7fff_ffff_ffff_ffff,
        1 << 63,
        0xffff_ffff_ffff_fff9,
        u64::MAX,
    ],
    random: |random| any_int(random).max(1),
};

/// Integers on both sides of the ties of singles and doubles.
pub const ROUNDED_INT: Column = Column {
    words: 2,
    edges: &[
        0,
        1,
        0x0100_0001,
        0x0100_0003,
        0x7fff_ffff,
        0x8000_0000,
        0x8000_0080,
        0xffff_ff7f,
        0xffff_ff80,
        0xffff_ffff,
        0x0020_0000_0000_0001,
        0x0020_0000_0000_0003,
        0x7fff_ffff_ffff_ffff,
        1 << 63,
        0x8000_0000_0000_0400,
        0xffff_ffff_ffff_fbff,
        0xffff_ffff_ffff_fc00,
        u64::MAX,
    ],
    random: any_int,
};

/// Amounts of shifts.
pub const AMOUNT: Column = Column {
    words: 1,
    edges: &[0, 1, 15, 16, 31, 32, 33, 63, 64, 65, 255, 256, 0x8000_0000, 0xffff_ffff],
    random: |random| random.below(66),
};

/// Positions and lengths of bit fields, which the manual restricts to 8 bits.
pub const BYTE: Column = Column {
    words: 1,
    edges: &[0, 1, 8, 15, 31, 32, 33, 63, 64, 255],
    random: |random| random.below(66),
};
