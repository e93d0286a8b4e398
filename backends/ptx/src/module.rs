//! A PTX text made ready to run.

use crate::fault::ParseError;
use crate::kernel::Kernel;
use crate::memory::Image;
use crate::names::Symbol;
use crate::parse::parse;
use crate::syntax::{Param, Space, Variable};
use std::collections::HashMap;
use std::sync::atomic::AtomicU32;

/// Module data starts here, below all allocations.
const DATA: u64 = 0x4_0000_0000;

/// The kernels of one PTX text.
pub struct Module {
    target: String,
    pub(crate) kernels: Vec<Kernel>,
    pub(crate) images: Vec<Image>,
    pub(crate) lines: Vec<String>,
}

impl Module {
    /// Parses and prepares all entries of a PTX text.
    ///
    /// Fails, naming the line, where the text is no PTX or has an instruction that is not covered.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let parsed = parse(text)?;
        let lines: Vec<String> = text.lines().map(str::to_string).collect();
        let mut symbols = HashMap::new();
        let mut images = Vec::new();
        let mut at = DATA;
        for variable in parsed.variables.iter().filter(|v| v.space != Space::Shared) {
            let image = image(variable, at.next_multiple_of(variable.align.max(256)));
            at = image.address + 4 * image.words.len() as u64 + 256;
            symbols.insert(
                variable.name.clone(),
                Symbol {
                    space: variable.space,
                    address: image.address,
                },
            );
            images.push(image);
        }
        let shared: Vec<_> = parsed
            .variables
            .iter()
            .filter(|v| v.space == Space::Shared)
            .cloned()
            .collect();
        let kernels = parsed
            .entries
            .iter()
            .map(|entry| Kernel::prepare(entry, &symbols, &shared, &lines));
        Ok(Self {
            target: parsed.target,
            kernels: kernels.collect::<Result<_, _>>()?,
            images,
            lines,
        })
    }

    /// The architecture the text was made for, for example `sm_80`.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The kernels' names, in order of the text.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.kernels.iter().map(|kernel| kernel.name.as_str())
    }

    /// A kernel's parameters with their offsets in the packed bytes of a launch.
    pub fn params(&self, kernel: &str) -> Option<Vec<(Param, usize)>> {
        let kernel = self.kernels.iter().find(|k| k.name == kernel)?;
        Some(
            kernel
                .params
                .iter()
                .cloned()
                .zip(kernel.param_offsets.iter().copied())
                .collect(),
        )
    }
}

fn image(variable: &Variable, address: u64) -> Image {
    let mut bytes = variable.init.clone();
    let size = variable.bytes.unwrap_or(0).max(bytes.len() as u64).next_multiple_of(4);
    bytes.resize(size as usize, 0);
    let word = |chunk: &[u8]| chunk.iter().rev().fold(0, |bits, &b| bits << 8 | u32::from(b));
    Image {
        address,
        words: bytes.chunks(4).map(|chunk| AtomicU32::new(word(chunk))).collect(),
    }
}
