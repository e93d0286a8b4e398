//! A resolved program as segments of launches with every address and size a number.

use super::device::{Launch, Region};
use super::map::MapArgument;
use crate::error::Error;
use crate::exec::program::size_value;
use crate::exec::resolve::{Action, Address, Memory, Resolved, Run};
use ir::artifact::{Artifact, Grid, Program};
use ir::dim::{Dim, Env};
use ir::optimizer::Update;

/// Addresses of everything a run touches; 0 for what it does not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bases {
    pub temp: u64,
    pub params: u64,
    pub narrow: u64,
    pub grads: u64,
    pub moments: [u64; 2],
    pub inputs: Vec<u64>,
    pub outputs: Vec<u64>,
}

/// Element `element` of the n-th input; what depends on it is done where it is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    pub input: usize,
    pub element: usize,
}

/// Launches that are done together or, where a flag is 0, not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    pub keep: Vec<Flag>,
    pub launches: Vec<Launch>,
}

/// Most blocks along y and z, and bytes of parameters, that every architecture takes.
const MOST_BLOCKS: [i64; 3] = [i32::MAX as i64, 65535, 65535];
const MOST_PARAMS: usize = 4096;
/// Bytes of an encoded tensor map.
const MAP: usize = 128;
/// What extents and strides of tensor maps stay below.
const MOST_EXTENT: u64 = 1 << 32;
const MOST_STRIDE: u64 = 1 << 40;

/// Loops are unrolled; neighbours that depend on the same flags are one segment. `grids` are those of each kernel.
pub fn schedule(
    (artifact, grids): (&Artifact, &[Vec<Grid>]),
    program: &Program,
    resolved: &Resolved,
    env: &Env,
    bases: &Bases,
) -> Result<Vec<Segment>, Error> {
    let mut s = Scheduler {
        artifact,
        grids,
        program,
        env: env.clone(),
        bases,
        keep: vec![],
        out: vec![],
    };
    s.walk(&resolved.prepare, 0)?;
    s.walk(&resolved.actions, 0)?;
    Ok(s.out)
}

struct Scheduler<'a> {
    artifact: &'a Artifact,
    grids: &'a [Vec<Grid>],
    program: &'a Program,
    env: Env,
    bases: &'a Bases,
    /// Of the loops around.
    keep: Vec<Flag>,
    out: Vec<Segment>,
}

impl Scheduler<'_> {
    fn walk(&mut self, actions: &[Action], layer: i64) -> Result<(), Error> {
        for action in actions {
            match action {
                Action::Run(run) => self.run(run, layer)?,
                Action::Loop { layers, keep, body } => {
                    for layer in layers {
                        let flag = keep.map(|k| self.flag(k, *layer)).transpose()?;
                        self.keep.extend(flag);
                        self.walk(body, *layer)?;
                        if flag.is_some() {
                            self.keep.pop();
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn flag(&self, keep: Address, layer: i64) -> Result<Flag, Error> {
        match keep.memory {
            Memory::Input(input) => Ok(Flag {
                input,
                element: (keep.byte / 4 + layer) as usize,
            }),
            other => Err(Error::program(
                &self.program.name,
                format!("which layers to keep is in {other:?} and must be an input; compile it again"),
            )),
        }
    }

    fn run(&mut self, run: &Run, layer: i64) -> Result<(), Error> {
        self.env.insert(ir::names::LAYER.into(), layer);
        let grids = &self.grids[run.kernel];
        for (grid, info) in grids.iter().enumerate() {
            if let Some(launch) = self.launch(run, grid, info, layer)? {
                match self.out.last_mut() {
                    Some(last) if last.keep == self.keep => last.launches.push(launch),
                    _ => self.out.push(Segment {
                        keep: self.keep.clone(),
                        launches: vec![launch],
                    }),
                }
            }
        }
        Ok(())
    }

    /// `None` where there is nothing to do.
    fn launch(&self, run: &Run, grid: usize, info: &Grid, layer: i64) -> Result<Option<Launch>, Error> {
        let mut blocks = [0; 3];
        for ((to, d), most) in blocks.iter_mut().zip(&info.blocks).zip(MOST_BLOCKS) {
            let n = self.value(d)?;
            if n > most {
                return Err(self.unfit(
                    run,
                    format!("wants {n} blocks along one axis, of which there can be {most}"),
                ));
            }
            *to = n.max(0) as u32;
        }
        if blocks.contains(&0) {
            return Ok(None);
        }
        let mut params: Vec<u64> = run.operands.iter().map(|o| self.address(o, layer)).collect();
        params.push(self.address(&run.workspace, layer));
        let maps = MapArgument::all(&info.maps, &params, &|d| self.value(d))?;
        for size in &info.sizes {
            params.push(self.value(size)? as u64);
        }
        let bytes = 8 * params.len() + MAP * maps.len();
        if bytes > MOST_PARAMS {
            return Err(self.unfit(run, format!("has {bytes} bytes of parameters, more than {MOST_PARAMS}")));
        }
        if maps.iter().any(too_large) {
            return Err(self.unfit(run, "has an operand too large for a tensor map".into()));
        }
        let places = run.operands.iter().chain([&run.workspace]);
        let regions = places.filter_map(|o| self.region(o, layer)).collect();
        Ok(Some(Launch {
            kernel: run.kernel,
            grid,
            blocks,
            threads: info.threads,
            shared: info.shared,
            params,
            maps,
            regions,
        }))
    }

    fn value(&self, d: &Dim) -> Result<i64, Error> {
        size_value(self.program, &self.env, d)
    }

    fn unfit(&self, run: &Run, what: String) -> Error {
        let kernel = &self.artifact.kernels[run.kernel].name;
        Error::program(
            &self.program.name,
            format!("kernel `{kernel}` {what}; give a smaller batch"),
        )
    }

    fn base(&self, memory: Memory) -> u64 {
        match memory {
            Memory::Temp => self.bases.temp,
            Memory::Kept => {
                unreachable!("a device keeps nothing: its programs are resolved with parameters that change")
            }
            Memory::Params => self.bases.params,
            Memory::NarrowParams => self.bases.narrow,
            Memory::Grads => self.bases.grads,
            Memory::Moment1 => self.bases.moments[0],
            Memory::Moment2 => self.bases.moments[1],
            Memory::Input(i) => self.bases.inputs[i],
            Memory::Output(i) => self.bases.outputs[i],
        }
    }

    fn address(&self, a: &Address, layer: i64) -> u64 {
        self.base(a.memory).wrapping_add_signed(a.byte + a.layer_bytes * layer)
    }

    /// From the operand's address to the end of its buffer. Inputs and, but for Adam, parameters are only read.
    fn region(&self, a: &Address, layer: i64) -> Option<Region> {
        let bytes = a.end - (a.byte + a.layer_bytes * layer);
        let write = match a.memory {
            Memory::Input(_) => false,
            Memory::Params => Update::of(self.program) == Some(Update::Adam),
            _ => true,
        };
        (bytes > 0).then(|| Region {
            address: self.address(a, layer),
            bytes: bytes as u64,
            write,
        })
    }
}

fn too_large(map: &MapArgument) -> bool {
    map.extents.iter().any(|n| *n >= MOST_EXTENT) || map.strides.iter().any(|n| *n >= MOST_STRIDE)
}
