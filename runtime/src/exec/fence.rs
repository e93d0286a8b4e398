//! A machine in which every access outside its memory ends the process: arenas, inputs and outputs lie between guard
//! pages, with the end or the beginning right at one. Tests run programs so; what it costs is a copy of inputs and
//! outputs per run.

use super::guarded::{Edge, Guarded};
use crate::bytes;
use crate::error::Error;
use crate::session::{Data, Tensor};

/// Copies of the inputs and outputs of one run.
pub struct Ports {
    inputs: Vec<Guarded>,
    outputs: Vec<Guarded>,
}

/// Kernels take ports at the alignment of their elements.
const ALIGN: usize = 4;

fn copy(of: &[u8], edge: Edge) -> Result<Guarded, Error> {
    let memory = Guarded::aligned(of.len(), edge, ALIGN).map_err(|_| Error::Room {
        what: "an input or output between guards".into(),
        needed: of.len(),
        available: 0,
        remedy: "give smaller batches".into(),
    })?;
    // SAFETY: as many bytes as `of` has, of memory that was just made.
    unsafe { std::ptr::copy_nonoverlapping(of.as_ptr(), memory.address(), of.len()) };
    Ok(memory)
}

impl Ports {
    pub fn new(inputs: &[&Data], outputs: &[(String, Tensor)], edge: Edge) -> Result<Ports, Error> {
        let fenced = |data| copy(bytes::of_data(data), edge);
        Ok(Ports {
            inputs: inputs.iter().map(|d| fenced(d)).collect::<Result<_, _>>()?,
            outputs: outputs.iter().map(|(_, t)| fenced(&t.data)).collect::<Result<_, _>>()?,
        })
    }

    pub fn inputs(&self) -> Vec<*mut u8> {
        self.inputs.iter().map(Guarded::address).collect()
    }

    pub fn outputs(&self) -> Vec<*mut u8> {
        self.outputs.iter().map(Guarded::address).collect()
    }

    /// Brings the outputs to where they belong.
    pub fn give(&self, outputs: &mut [(String, Tensor)]) {
        for (memory, (_, tensor)) in self.outputs.iter().zip(outputs) {
            let to = bytes::of_data_mut(&mut tensor.data);
            // SAFETY: `memory` was made with as many bytes as `to` has, and no kernel runs any more.
            to.copy_from_slice(unsafe { std::slice::from_raw_parts(memory.address(), to.len()) });
        }
    }
}
