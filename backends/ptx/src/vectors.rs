//! Micro-kernels that pin down what instructions do: the emulator's results are held against those recorded on a GPU.
//!
//! Each is a PTX text with one entry of its own name and two parameters, the addresses of its inputs and of its results.
//! Thread `i` of the whole grid reads the `i`-th record of the inputs and writes the `i`-th record of the results. Inputs
//! are made here from the kernel's name, so a recording holds results alone; `tests/recorded/README.md` gives its format.

mod fragments;
mod inputs;
mod kernels;
mod random;

pub use kernels::KERNELS;

use inputs::Inputs;
use random::Random;

/// A kernel that shows what one instruction, or a few of a kind, do.
#[derive(Clone, Copy, Debug)]
pub struct MicroKernel {
    /// Of the entry and of the files.
    pub name: &'static str,
    pub ptx: &'static str,
    pub blocks: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Words of a record of the results.
    pub results: usize,
    pub compare: Compare,
    inputs: Inputs,
}

/// When a result agrees with a recorded one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Compare {
    /// The same bits.
    Bits,
    /// Singles: the same bits, or both NaN.
    Singles,
    /// Doubles, low word first: the same bits, or both NaN.
    Doubles,
    /// Singles that an instruction approximates: apart by at most the greater of `relative * |result|` and `absolute`,
    /// which are the bounds of the PTX manual, plus one unit in the last place for the emulator's own rounding.
    Near { relative: f64, absolute: f64 },
    /// Singles that are sums whose roundings are left open: apart by at most `roundings * 2^-23` of what the sum would be if
    /// all terms were positive; the emulator tells by computing on the inputs of [`MicroKernel::magnitudes`].
    Sums { roundings: u32 },
}

impl MicroKernel {
    /// The oldest architecture that has its instructions: `sm_80`, `sm_90`.
    pub fn target(&self) -> &'static str {
        let line = self.ptx.lines().find_map(|line| line.strip_prefix(".target "));
        line.unwrap_or_default().trim()
    }

    /// Threads of the grid, each with a record.
    pub fn records(&self) -> usize {
        (self.blocks * self.threads) as usize
    }

    /// The same on every machine.
    pub fn inputs(&self) -> Vec<u32> {
        let mut random = Random::new(hash(self.name.bytes()));
        self.inputs.make(self.records(), &mut random)
    }

    /// The inputs with all signs positive.
    pub fn magnitudes(&self) -> Vec<u32> {
        let masks = self.inputs.magnitude_masks();
        self.inputs()
            .iter()
            .zip(masks.iter().cycle())
            .map(|(word, mask)| word & mask)
            .collect()
    }

    /// Words of all results.
    pub fn result_words(&self) -> usize {
        self.records() * self.results
    }

    /// Changes with the text, the grid and the inputs: a recording of another kernel of this name is told by it.
    pub fn digest(&self) -> u64 {
        let grid = [self.blocks, self.threads, self.results as u32];
        let words = grid.into_iter().chain(self.inputs()).flat_map(u32::to_le_bytes);
        hash(self.ptx.bytes().chain(words))
    }

    /// The bytes of a recording: the digest, then the results, all little-endian.
    pub fn encode(&self, results: &[u32]) -> Vec<u8> {
        let digest = self.digest().to_le_bytes();
        digest
            .into_iter()
            .chain(results.iter().flat_map(|w| w.to_le_bytes()))
            .collect()
    }

    /// The results in a recording; `None` if it is not one of this kernel as it is now.
    pub fn decode(&self, bytes: &[u8]) -> Option<Vec<u32>> {
        let (digest, results) = bytes.split_first_chunk::<8>()?;
        if u64::from_le_bytes(*digest) != self.digest() || results.len() != 4 * self.result_words() {
            return None;
        }
        let (words, _) = results.as_chunks::<4>();
        Some(words.iter().map(|w| u32::from_le_bytes(*w)).collect())
    }
}

/// FNV-1a.
fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, step)
}
