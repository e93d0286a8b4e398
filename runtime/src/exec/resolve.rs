//! A program at given sizes: every address, count and offset as a number.

use super::plan::{Request, layout};
use super::program::size_value as value;
use crate::error::Error;
use crate::profile::Flops;
use ir::artifact::{ALIGN, Artifact, BufferKind, Entry, Launch, Operand, Port, Program, Step};
use ir::dim::{Dim, Env};

/// Bytes of a page of memory.
pub const PAGE: usize = 4096;
/// Bytes of one array at most, so that sums of them stay far from 64 bits.
const MOST_BYTES: usize = 1 << 48;

/// A place in one of the memories a program works on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Address {
    pub memory: Memory,
    pub byte: i64,
    pub layer_bytes: i64,
    /// One past the last byte of the buffer, in the same memory.
    pub end: i64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Memory {
    Temp,
    /// What stays from one run to the next.
    Kept,
    Params,
    NarrowParams,
    Grads,
    Moment1,
    Moment2,
    /// The n-th input or output port.
    Input(usize),
    Output(usize),
}

pub struct Run {
    /// Which of the artifact's kernels.
    pub kernel: usize,
    pub calls: Vec<Call>,
    pub operands: Vec<Address>,
    pub workspace: Address,
    /// Floating-point operations, and bytes read and written at least.
    pub flops: f64,
    pub bytes: f64,
}

/// An entry of a kernel.
pub struct Call {
    /// Byte offset in the code.
    pub code: usize,
    pub items: i64,
    /// The slot of a fixed operand, all that the entry reads: what it makes is kept, and no other entry reads the slot.
    pub kept: Option<usize>,
}

pub enum Action {
    Run(Run),
    Loop {
        layers: Vec<i64>,
        keep: Option<Address>,
        body: Vec<Action>,
    },
}

pub struct Resolved {
    pub prepare: Vec<Action>,
    pub actions: Vec<Action>,
    pub temp_bytes: usize,
    pub kept: Kept,
    pub scratch_bytes: usize,
    /// Of `actions`, without `prepare`.
    pub flops: Flops,
}

/// What is kept from one run to the next; nothing where parameters may change.
#[derive(Default)]
pub struct Kept {
    /// First byte and one past the last of the buffers that `prepare` writes.
    pub buffers: Vec<(usize, usize)>,
    pub bytes: usize,
}

impl Kept {
    /// Room that begins at a page, so that it can be given back by itself.
    fn room(&mut self, bytes: usize) -> usize {
        let start = self.bytes;
        self.bytes = (start + bytes).next_multiple_of(PAGE);
        start
    }
}

/// Whether parameters can have other values in the next run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameters {
    Change,
    /// What depends on them alone is done once: `prepare`, and the entries that prepare an operand.
    Stay,
}

/// With parameters that may change.
pub fn resolve(artifact: &Artifact, program: &Program, env: &Env) -> Result<Resolved, Error> {
    resolve_with(artifact, program, env, Parameters::Change)
}

pub fn resolve_with(
    artifact: &Artifact,
    program: &Program,
    env: &Env,
    parameters: Parameters,
) -> Result<Resolved, Error> {
    let mut env = env.clone();
    env.entry(ir::names::LAYER.into()).or_insert(0);
    let mut r = Resolver {
        artifact,
        program,
        env: &env,
        parameters,
        requests: vec![],
        kept: Kept::default(),
        places: vec![Place::Elsewhere; program.buffers.len()],
        workspaces: vec![],
        scratch: 0,
        flops: Flops::default(),
        step: 0,
        times: 1.0,
    };
    r.place_buffers()?;
    r.measure(&program.prepare, None)?;
    r.flops = Flops::default();
    r.measure(&program.steps, Some(1))?;
    let planned = layout(&r.requests);
    let Resolver {
        kept,
        places,
        workspaces,
        scratch,
        flops,
        ..
    } = r;
    let mut s = Second {
        artifact,
        program,
        env: &env,
        offsets: &planned.offsets,
        places,
        workspaces: workspaces.into_iter(),
    };
    Ok(Resolved {
        prepare: s.actions(&program.prepare)?,
        actions: s.actions(&program.steps)?,
        temp_bytes: planned.bytes,
        kept,
        scratch_bytes: scratch,
        flops,
    })
}

/// Where something lies that the plan finds a place for.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// The n-th request to the plan of temporaries.
    Temp(usize),
    /// First byte of what is kept.
    Kept(usize),
    /// In an arena or a port, which are not planned.
    Elsewhere,
}

struct Workspace {
    place: Place,
    bytes: usize,
    layer_bytes: usize,
}

/// First pass: what needs memory when.
struct Resolver<'a> {
    artifact: &'a Artifact,
    program: &'a Program,
    env: &'a Env,
    parameters: Parameters,
    requests: Vec<Request>,
    kept: Kept,
    /// Of the program's buffers.
    places: Vec<Place>,
    /// Of the launches, depth-first.
    workspaces: Vec<Workspace>,
    scratch: usize,
    flops: Flops,
    step: usize,
    times: f64,
}

impl Resolver<'_> {
    fn size(&self, d: &Dim) -> Result<usize, Error> {
        Ok(value(self.program, self.env, d)?.max(0) as usize)
    }

    fn request(&mut self, bytes: usize, (first, last): (usize, usize)) -> Result<Place, Error> {
        self.counted(Some(bytes))?;
        self.requests.push(Request { bytes, first, last });
        Ok(Place::Temp(self.requests.len() - 1))
    }

    /// Bytes that can be counted together with those of everything else.
    fn counted(&self, bytes: Option<usize>) -> Result<usize, Error> {
        bytes.filter(|n| *n < MOST_BYTES).ok_or_else(|| {
            Error::program(
                &self.program.name,
                "its arrays are too large for any machine; give less",
            )
        })
    }

    fn place_buffers(&mut self) -> Result<(), Error> {
        for (i, b) in self.program.buffers.iter().enumerate() {
            if !b.kind.is_planned() {
                continue;
            }
            let bytes = self.counted(self.size(&b.elements)?.checked_mul(b.dtype.bytes()))?;
            self.places[i] = if b.kind == BufferKind::Prepared && self.parameters == Parameters::Stay {
                let start = self.kept.room(bytes);
                self.kept.buffers.push((start, start + bytes));
                Place::Kept(start)
            } else {
                self.request(bytes, b.live)?
            };
        }
        Ok(())
    }

    /// `layers` of the loop around can be kept; `None` where nothing can.
    fn measure(&mut self, steps: &[Step], layers: Option<i64>) -> Result<(), Error> {
        for step in steps {
            let number = self.step;
            self.step += 1;
            match step {
                Step::Launch(l) => {
                    let info = &self.artifact.kernels[l.kernel];
                    let workspace = self.workspace(l, number, layers)?;
                    self.workspaces.push(workspace);
                    self.scratch = self.scratch.max(self.counted(Some(self.size(&info.scratch)?))?);
                    let flops = self.times * self.size(&info.flops)? as f64;
                    self.flops.add(info.factors, flops);
                }
                Step::Loop { count, body, .. } => {
                    self.times *= *count as f64;
                    // A loop within a loop would need a place for every pair of layers.
                    self.measure(body, layers.filter(|n| *n == 1).map(|_| *count))?;
                    self.times /= *count as f64;
                }
            }
        }
        Ok(())
    }

    fn workspace(&mut self, l: &Launch, number: usize, layers: Option<i64>) -> Result<Workspace, Error> {
        let info = &self.artifact.kernels[l.kernel];
        let bytes = self.size(&info.workspace)?;
        let can_stay = self.parameters == Parameters::Stay && info.workspace.as_const().is_some();
        let slots = info.entries.iter().filter_map(|e| e.prepares);
        let fixed: Vec<usize> = slots.filter(|s| can_stay && is_fixed(self.program, l, *s)).collect();
        let Some(layers) = layers.filter(|_| !fixed.is_empty()) else {
            let place = self.request(bytes, (number, number))?;
            return Ok(Workspace {
                place,
                bytes,
                layer_bytes: 0,
            });
        };
        self.counted(Some(bytes))?;
        let (layers, layer_bytes) = match fixed.iter().all(|s| l.operands[*s].layer_stride.is_zero()) {
            true => (1, 0),
            false => (layers.max(0) as usize, bytes.next_multiple_of(ALIGN)),
        };
        let bytes = self.counted(bytes.next_multiple_of(ALIGN).checked_mul(layers))?;
        Ok(Workspace {
            place: Place::Kept(self.kept.room(bytes)),
            bytes,
            layer_bytes,
        })
    }
}

/// Whether an operand stays what it is as long as the parameters do.
fn is_fixed(program: &Program, l: &Launch, slot: usize) -> bool {
    let kind = program.buffers[l.operands[slot].buffer].kind;
    matches!(kind, BufferKind::Params | BufferKind::Prepared)
}

/// Second pass: numbers for everything.
struct Second<'a> {
    artifact: &'a Artifact,
    program: &'a Program,
    env: &'a Env,
    /// Of the requests.
    offsets: &'a [usize],
    places: Vec<Place>,
    workspaces: std::vec::IntoIter<Workspace>,
}

impl Second<'_> {
    fn actions(&mut self, steps: &[Step]) -> Result<Vec<Action>, Error> {
        let mut out = vec![];
        for step in steps {
            out.push(match step {
                Step::Launch(l) => Action::Run(self.run(l)?),
                Step::Loop {
                    count,
                    reverse,
                    keep,
                    body,
                } => {
                    let layers = if *reverse {
                        (0..*count).rev().collect()
                    } else {
                        (0..*count).collect()
                    };
                    let keep = keep.as_ref().map(|o| self.address(o)).transpose()?;
                    let body = self.actions(body)?;
                    Action::Loop { layers, keep, body }
                }
            });
        }
        Ok(out)
    }

    fn value(&self, d: &Dim) -> Result<i64, Error> {
        value(self.program, self.env, d)
    }

    fn run(&mut self, l: &Launch) -> Result<Run, Error> {
        let info = &self.artifact.kernels[l.kernel];
        let own = self.workspaces.next().expect("the first pass met the same launches");
        let (memory, start) = self.start(own.place);
        let is_kept = |slot: &usize| memory == Memory::Kept && is_fixed(self.program, l, *slot);
        let call = |e: &Entry| {
            Ok(Call {
                code: e.code,
                items: self.value(&e.items)?,
                kept: e.prepares.filter(is_kept),
            })
        };
        Ok(Run {
            kernel: l.kernel,
            calls: info.entries.iter().map(call).collect::<Result<_, Error>>()?,
            operands: l.operands.iter().map(|o| self.address(o)).collect::<Result<_, _>>()?,
            workspace: Address {
                memory,
                byte: start,
                layer_bytes: own.layer_bytes as i64,
                end: start + own.bytes as i64,
            },
            flops: self.value(&info.flops)?.max(0) as f64,
            bytes: self.value(&info.bytes)?.max(0) as f64,
        })
    }

    fn start(&self, place: Place) -> (Memory, i64) {
        match place {
            Place::Temp(request) => (Memory::Temp, self.offsets[request] as i64),
            Place::Kept(byte) => (Memory::Kept, byte as i64),
            Place::Elsewhere => (Memory::Temp, 0),
        }
    }

    fn address(&self, o: &Operand) -> Result<Address, Error> {
        let (program, buffer) = (self.program, &self.program.buffers[o.buffer]);
        let width = buffer.dtype.bytes() as i64;
        let port = |ports: &[Port]| ports.iter().position(|p| p.buffer == o.buffer);
        let missing = || Error::program(&program.name, "a buffer has no port; compile the program again");
        let (planned, start) = self.start(self.places[o.buffer]);
        let memory = match buffer.kind {
            BufferKind::Temp | BufferKind::Prepared => planned,
            BufferKind::Params => Memory::Params,
            BufferKind::NarrowParams => Memory::NarrowParams,
            BufferKind::Grads => Memory::Grads,
            BufferKind::Moment1 => Memory::Moment1,
            BufferKind::Moment2 => Memory::Moment2,
            BufferKind::Input => Memory::Input(port(&program.inputs).ok_or_else(missing)?),
            BufferKind::Output => Memory::Output(port(&program.outputs).ok_or_else(missing)?),
        };
        let elements = match memory {
            // These are one buffer, whatever part of it a program names.
            Memory::Params | Memory::NarrowParams | Memory::Grads | Memory::Moment1 | Memory::Moment2 => {
                self.artifact.param_elements as i64
            }
            Memory::Temp | Memory::Kept | Memory::Input(_) | Memory::Output(_) => self.value(&buffer.elements)?.max(0),
        };
        let bytes = |n: i64| n.checked_mul(width).filter(|n| n.unsigned_abs() < MOST_BYTES as u64);
        let too_large = || Error::program(&program.name, "its arrays are too large for any machine; give less");
        let address = Address {
            memory,
            byte: bytes(self.value(&o.offset)?).ok_or_else(too_large)? + start,
            layer_bytes: bytes(self.value(&o.layer_stride)?).ok_or_else(too_large)?,
            end: start + bytes(elements).ok_or_else(too_large)?,
        };
        // A place outside its buffer would be a mistake of the compiler; nothing is run with it.
        if !(start..=address.end).contains(&address.byte) {
            return Err(Error::program(
                &program.name,
                "a place lies outside its buffer; compile the program again",
            ));
        }
        Ok(address)
    }
}

/// Bytes of temporaries a program needs at these sizes while parameters may change.
///
/// # Errors
/// Where a size has no value.
pub fn temporaries(artifact: &Artifact, program: &Program, env: &Env) -> Result<usize, Error> {
    Ok(resolve(artifact, program, env)?.temp_bytes)
}
