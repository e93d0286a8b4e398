//! Inputs of the kernels in which the lanes of a warp work together.

use super::random::Random;

/// Lanes of a warp.
const LANES: usize = 32;
/// Words of a lane's record: A's registers, B's, C's.
const RECORD: usize = 10;
/// Signs of two bf16, and of singles.
pub const MMA_MAGNITUDES: [u32; RECORD] = {
    let (pair, single) = (0x7fff_7fff, 0x7fff_ffff);
    [pair, pair, pair, pair, pair, pair, single, single, single, single]
};

/// Signs of two bf16.
pub const HALF_MAGNITUDES: [u32; 1] = [0x7fff_7fff];

/// The operands of `mma.m16n8k16`; A and B are bf16.
struct Operands {
    a: [[u16; 16]; 16],
    b: [[u16; 8]; 16],
    c: [[f32; 8]; 16],
}

impl Operands {
    fn zeros() -> Operands {
        Operands {
            a: [[0; 16]; 16],
            b: [[0; 8]; 16],
            c: [[0.0; 8]; 16],
        }
    }

    /// By lane, as the figures of the PTX manual lay them out.
    fn records(&self) -> impl Iterator<Item = u32> {
        let pair = |low: u16, high: u16| u32::from(low) | u32::from(high) << 16;
        (0..LANES).flat_map(move |lane| {
            let (g, t) = (lane / 4, 2 * (lane % 4));
            let a = |r: usize| {
                let (row, column) = (&self.a[g + 8 * (r % 2)], t + 8 * (r / 2));
                pair(row[column], row[column + 1])
            };
            let b = |r: usize| pair(self.b[t + 8 * r][g], self.b[t + 8 * r + 1][g]);
            let c = |r: usize| self.c[g + 8 * (r / 2)][t + r % 2].to_bits();
            [a(0), a(1), a(2), a(3), b(0), b(1), c(0), c(1), c(2), c(3)]
        })
    }
}

/// Exact where the value has 8 bits of mantissa.
fn bf16(x: f32) -> u16 {
    (x.to_bits() >> 16) as u16
}

fn products(records: usize, random: &mut Random, fill: fn(&mut Operands, &mut Random)) -> Vec<u32> {
    let mut words = vec![];
    for _ in 0..records / LANES {
        let mut operands = Operands::zeros();
        fill(&mut operands, random);
        words.extend(operands.records());
    }
    words
}

/// Integers, all different within an operand, whose sums are exact in any order.
pub fn mma_layout(records: usize, random: &mut Random) -> Vec<u32> {
    products(records, random, |o, random| {
        let (a, b, c) = (random.shuffled(256), random.shuffled(128), random.shuffled(128));
        let mut a = a.into_iter().map(|x| bf16(x as f32));
        o.a.as_flattened_mut().fill_with(|| a.next().unwrap_or(0));
        let mut b = b.into_iter().map(|x| bf16(x as f32 - 64.0));
        o.b.as_flattened_mut().fill_with(|| b.next().unwrap_or(0));
        let mut c = c.into_iter().map(|x| x as f32 * 1000.0);
        o.c.as_flattened_mut().fill_with(|| c.next().unwrap_or(0.0));
    })
}

/// Values of either sign over a few binary orders, so that every sum rounds.
pub fn mma_rounding(records: usize, random: &mut Random) -> Vec<u32> {
    products(records, random, |o, random| {
        o.a.as_flattened_mut().fill_with(|| bf16(random.single(-4, 4)));
        o.b.as_flattened_mut().fill_with(|| bf16(random.single(-4, 4)));
        o.c.as_flattened_mut().fill_with(|| random.single(-6, 6));
    })
}

/// A row of A has one element that is not 0, so that results do not depend on orders and roundings.
pub fn mma_special(records: usize, random: &mut Random) -> Vec<u32> {
    const A: [u16; 8] = [0x3f80, 0x7f80, 0xff80, 0x7fc0, 0x7f81, 0x0001, 0x007f, 0x0080];
    const B: [u16; 4] = [0x3f80, 0x4000, 0x3f00, 0x7180];
    const C: [u32; 7] = [0, 1, 0x007f_ffff, 0x0080_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000];
    products(records, random, |o, random| {
        for row in &mut o.a {
            row[random.below(16) as usize] = random.pick(&A);
        }
        o.b.as_flattened_mut().fill_with(|| random.pick(&B));
        // The column in which 0 meets infinity.
        o.b[random.below(16) as usize][7] = 0x7f80;
        o.c.as_flattened_mut().fill_with(|| f32::from_bits(random.pick(&C)));
    })
}

/// Pairs of bf16 that are integers of either sign, whose products have sums that are exact in any order.
pub fn whole_halves<const WORDS: usize>(records: usize, random: &mut Random) -> Vec<u32> {
    let mut half = || u32::from(bf16(random.below(511) as f32 - 255.0));
    (0..records * WORDS).map(|_| half() | half() << 16).collect()
}

/// Pairs of bf16 of either sign over a few binary orders.
pub fn halves<const WORDS: usize>(records: usize, random: &mut Random) -> Vec<u32> {
    let mut half = || u32::from(bf16(random.single(-4, 4)));
    (0..records * WORDS).map(|_| half() | half() << 16).collect()
}

pub fn words<const WORDS: usize>(records: usize, random: &mut Random) -> Vec<u32> {
    (0..records * WORDS).map(|_| random.word()).collect()
}

/// Sizes of copies of 16, 8 and 4 bytes, a word that is not used, and what is copied.
pub fn cp_async(records: usize, random: &mut Random) -> Vec<u32> {
    let record = |i: usize| {
        let sizes = [i % 17, i % 9, i % 5, 0].map(|size| size as u32);
        [sizes, [(); 4].map(|()| random.word())].concat()
    };
    (0..records).flat_map(record).collect()
}

/// A value, the lane or distance, and the clamps of `idx`, `bfly` and `down`, and of `up`; clamps are one for a warp.
pub fn shuffle(records: usize, random: &mut Random) -> Vec<u32> {
    let mut words = vec![];
    for warp in 0..records / LANES {
        let segment = (LANES as u32 - (1 << (warp % 6))) << 8;
        let (clamp, clamp_up) = match random.below(3) {
            0 => (random.below(32) as u32, random.below(32) as u32),
            _ => (31, 0),
        };
        for _ in 0..LANES {
            words.extend([
                random.word(),
                random.below(32) as u32,
                segment | clamp,
                segment | clamp_up,
            ]);
        }
    }
    words
}

/// Warps of words that are all odd, all even, or mixed.
pub fn vote(records: usize, random: &mut Random) -> Vec<u32> {
    let lane = |i: usize| match i / LANES % 4 {
        0 => random.word() | 1,
        1 => random.word() & !1,
        _ => random.word(),
    };
    (0..records).map(lane).collect()
}

/// Three factors of a fused product, of which many cancel to its rounding error.
pub fn fused_singles(records: usize, random: &mut Random) -> Vec<u32> {
    let edges = [
        0.0,
        -0.0,
        1.0,
        f32::MIN_POSITIVE,
        f32::from_bits(1),
        f32::MAX,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    let record = |i: usize| {
        let (a, b) = (random.single(-20, 20), random.single(-20, 20));
        let [a, b, c] = match i % 4 {
            0 => [a, b, -(a * b)],
            1 => [a, b, random.single(-40, 40)],
            2 => [(); 3].map(|()| random.pick(&edges)),
            _ => [
                random.single(-126, 127),
                random.single(-126, 127),
                random.single(-126, 127),
            ],
        };
        [a, b, c].map(f32::to_bits)
    };
    (0..records).flat_map(record).collect()
}

/// As [`fused_singles`].
pub fn fused_doubles(records: usize, random: &mut Random) -> Vec<u32> {
    let edges = [
        0.0,
        -0.0,
        1.0,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        f64::MAX,
        f64::INFINITY,
        f64::NAN,
    ];
    let record = |i: usize| {
        let (a, b) = (random.double(-20, 20), random.double(-20, 20));
        let values = match i % 4 {
            0 => [a, b, -(a * b)],
            1 => [a, b, random.double(-40, 40)],
            2 => [(); 3].map(|()| random.pick(&edges)),
            _ => [(); 3].map(|()| random.double(-1022, 1023)),
        };
        values
            .map(|x| [x.to_bits() as u32, (x.to_bits() >> 32) as u32])
            .concat()
    };
    (0..records).flat_map(record).collect()
}
