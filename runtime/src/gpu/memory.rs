//! How much memory a program takes on a device, known before anything is allocated.

use super::device::DeviceMemory;
use crate::error::{Error, Shortage};
use crate::exec::program::{size_value, symbol, touches};
use crate::exec::resolve::{Resolved, resolve};
use ir::artifact::{Artifact, BufferKind, Port, Program};
use ir::dim::Env;
use std::sync::Arc;

const ALIGN: usize = 256;

/// Where the inputs, the outputs and the temporaries of a program lie in one stretch of memory, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct AreaLayout {
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
    pub temp: usize,
    pub bytes: usize,
}

impl AreaLayout {
    pub fn new(program: &Program, env: &Env, resolved: &Resolved) -> Result<AreaLayout, Error> {
        let mut at = 0;
        let mut place = |port: &Port| -> Result<usize, Error> {
            let start = at;
            let mut bytes = port.dtype.bytes();
            for d in &port.shape {
                bytes *= size_value(program, env, d)?.max(0) as usize;
            }
            at = (at + bytes).next_multiple_of(ALIGN);
            Ok(start)
        };
        let inputs = program.inputs.iter().map(&mut place).collect::<Result<_, _>>()?;
        let outputs = program.outputs.iter().map(&mut place).collect::<Result<_, _>>()?;
        Ok(AreaLayout {
            inputs,
            outputs,
            temp: at,
            bytes: at + resolved.temp_bytes,
        })
    }
}

/// Which arenas as large as the parameters have to be on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Arenas {
    pub narrow: bool,
    pub grads: bool,
    pub moments: bool,
}

impl Arenas {
    /// A program that trains will be followed by the optimizer, which needs all of them.
    pub fn of(program: &Program) -> Arenas {
        let trains = !program.trains.is_empty();
        Arenas {
            narrow: touches(program, BufferKind::NarrowParams),
            grads: trains || touches(program, BufferKind::Grads),
            moments: trains || touches(program, BufferKind::Moment1),
        }
    }

    pub fn and(self, other: Arenas) -> Arenas {
        Arenas {
            narrow: self.narrow || other.narrow,
            grads: self.grads || other.grads,
            moments: self.moments || other.moments,
        }
    }

    /// Bytes of these and the parameters.
    pub fn bytes(self, elements: usize) -> usize {
        let per_element = 4 + 2 * self.narrow as usize + 4 * self.grads as usize + 8 * self.moments as usize;
        elements * per_element
    }
}

/// A run about to happen, and what it takes.
pub struct Claim<'a> {
    pub artifact: &'a Artifact,
    pub program: &'a Program,
    pub env: &'a Env,
    /// Bytes of the area of inputs, outputs and temporaries.
    pub area: usize,
    /// Bytes of the arenas.
    pub arenas: usize,
    /// Bytes of either that the device holds already and that serve this run.
    pub held: usize,
}

impl Claim<'_> {
    /// Fails where the run needs more than the device has.
    pub fn check(&self, memory: DeviceMemory, remedy: &str) -> Result<(), Error> {
        let (needed, available) = (self.area + self.arenas, memory.free + self.held);
        if needed <= available {
            return Ok(());
        }
        let batch = self.batch();
        Err(Error::DeviceMemory(Box::new(Shortage {
            program: self.program.name.clone(),
            needed,
            available,
            batch: batch.as_ref().map(|(_, n)| *n),
            largest: batch.and_then(|(symbol, n)| self.largest(symbol, n, available)),
            remedy: remedy.into(),
        })))
    }

    /// The size that counts clips, which is the first axis of the wave, and its value.
    fn batch(&self) -> Option<(Arc<str>, i64)> {
        let wave = self.program.inputs.iter().find(|p| p.name == "wave")?;
        let name = symbol(wave.shape.first()?)?;
        let value = *self.env.get(&name)?;
        Some((name, value))
    }

    /// The most clips for which a run would fit, all other sizes being as they are.
    fn largest(&self, symbol: Arc<str>, batch: i64, available: usize) -> Option<i64> {
        let fits = |n: i64| {
            let mut env = self.env.clone();
            env.insert(symbol.clone(), n);
            let bytes = resolve(self.artifact, self.program, &env)
                .and_then(|r| AreaLayout::new(self.program, &env, &r))
                .map(|l| l.bytes);
            bytes.is_ok_and(|area| area + self.arenas <= available)
        };
        let (mut fitting, mut too_many) = (0, batch);
        while too_many - fitting > 1 {
            let middle = fitting + (too_many - fitting) / 2;
            if fits(middle) {
                fitting = middle;
            } else {
                too_many = middle;
            }
        }
        (fitting > 0).then_some(fitting)
    }
}

/// Bytes for people: MiB below one GiB.
pub fn size_text(bytes: usize) -> String {
    let mib = bytes as f64 / (1 << 20) as f64;
    if mib < 1024.0 {
        format!("{mib:.1} MiB")
    } else {
        format!("{:.1} GiB", mib / 1024.0)
    }
}
