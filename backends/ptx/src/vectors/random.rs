//! Numbers that are the same on every machine.

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub fn word(&mut self) -> u32 {
        (self.bits() >> 32) as u32
    }

    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// The numbers below `n` in random order.
    pub fn shuffled(&mut self, n: u32) -> Vec<u32> {
        let mut numbers: Vec<u32> = (0..n).collect();
        for i in (1..numbers.len()).rev() {
            numbers.swap(i, self.below(i as u64 + 1) as usize);
        }
        numbers
    }

    /// A single of either sign with a binary exponent from `low` to `high`.
    pub fn single(&mut self, low: i32, high: i32) -> f32 {
        let exponent = low + self.below((high - low + 1) as u64) as i32;
        let bits = self.word() & 0x807f_ffff | ((exponent + 127) as u32) << 23;
        f32::from_bits(bits)
    }

    /// A double of either sign with a binary exponent from `low` to `high`.
    pub fn double(&mut self, low: i64, high: i64) -> f64 {
        let exponent = low + self.below((high - low + 1) as u64) as i64;
        let bits = self.bits() & 0x800f_ffff_ffff_ffff | ((exponent + 1023) as u64) << 52;
        f64::from_bits(bits)
    }
}
