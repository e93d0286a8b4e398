//! A program at given sizes: every address, count and offset as a number.

use super::plan::{Request, layout};
use super::program::size_value as value;
use crate::error::Error;
use ir::artifact::{Artifact, BufferKind, Launch, Operand, Program, Step};
use ir::dim::{Dim, Env};

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
    /// Functions (byte offsets in the code) with their items.
    pub entries: Vec<(usize, i64)>,
    pub operands: Vec<Address>,
    /// Byte offset of the workspace among the temporaries.
    pub workspace: usize,
    pub workspace_bytes: usize,
    /// Floating-point operations, and bytes read and written at least.
    pub flops: f64,
    pub bytes: f64,
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
    pub actions: Vec<Action>,
    pub temp_bytes: usize,
    pub scratch_bytes: usize,
    pub flops: f64,
}

pub fn resolve(artifact: &Artifact, program: &Program, env: &Env) -> Result<Resolved, Error> {
    let mut env = env.clone();
    env.entry("layer".into()).or_insert(0);
    let mut r = Resolver {
        artifact,
        program,
        env: &env,
        requests: vec![],
        workspaces: vec![],
        scratch: 0,
        flops: 0.0,
        step: 0,
        times: 1.0,
    };
    let mut owners = vec![];
    for (i, b) in program
        .buffers
        .iter()
        .enumerate()
        .filter(|(_, b)| b.kind == BufferKind::Temp)
    {
        let bytes = r.size(&b.elements)? * b.dtype.bytes();
        r.requests.push(Request {
            bytes,
            first: b.live.0,
            last: b.live.1,
        });
        owners.push(i);
    }
    r.measure(&program.steps)?;
    let placed = layout(&r.requests);
    let mut offsets = vec![0; program.buffers.len()];
    for (n, i) in owners.iter().enumerate() {
        offsets[*i] = placed.offsets[n];
    }
    let spaces: Vec<(usize, usize)> = placed.offsets[owners.len()..]
        .iter()
        .zip(&r.workspaces)
        .map(|(offset, bytes)| (*offset, *bytes))
        .collect();
    let (scratch_bytes, flops) = (r.scratch, r.flops);
    let mut next = 0;
    let actions = actions(artifact, program, &env, &program.steps, &offsets, &spaces, &mut next)?;
    Ok(Resolved {
        actions,
        temp_bytes: placed.bytes,
        scratch_bytes,
        flops,
    })
}

/// First pass: what needs memory when.
struct Resolver<'a> {
    artifact: &'a Artifact,
    program: &'a Program,
    env: &'a Env,
    requests: Vec<Request>,
    workspaces: Vec<usize>,
    scratch: usize,
    flops: f64,
    step: usize,
    times: f64,
}

impl Resolver<'_> {
    fn size(&self, d: &Dim) -> Result<usize, Error> {
        Ok(value(self.program, self.env, d)?.max(0) as usize)
    }
    fn measure(&mut self, steps: &[Step]) -> Result<(), Error> {
        for step in steps {
            let number = self.step;
            self.step += 1;
            match step {
                Step::Launch(l) => {
                    let info = &self.artifact.kernels[l.kernel];
                    let bytes = self.size(&info.workspace)?;
                    self.workspaces.push(bytes);
                    self.requests.push(Request {
                        bytes,
                        first: number,
                        last: number,
                    });
                    self.scratch = self.scratch.max(self.size(&info.scratch)?);
                    self.flops += self.times * self.size(&info.flops)? as f64;
                }
                Step::Loop { count, body, .. } => {
                    self.times *= *count as f64;
                    self.measure(body)?;
                    self.times /= *count as f64;
                }
            }
        }
        Ok(())
    }
}

/// Second pass: numbers for everything.
fn actions(
    artifact: &Artifact,
    program: &Program,
    env: &Env,
    steps: &[Step],
    offsets: &[usize],
    workspaces: &[(usize, usize)],
    next: &mut usize,
) -> Result<Vec<Action>, Error> {
    let mut out = vec![];
    for step in steps {
        out.push(match step {
            Step::Launch(l) => {
                let workspace = workspaces[*next];
                *next += 1;
                Action::Run(run(artifact, program, env, l, offsets, workspace)?)
            }
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
                let keep = keep
                    .as_ref()
                    .map(|o| address(artifact, program, env, o, offsets))
                    .transpose()?;
                let body = actions(artifact, program, env, body, offsets, workspaces, next)?;
                Action::Loop { layers, keep, body }
            }
        });
    }
    Ok(out)
}

fn run(
    artifact: &Artifact,
    program: &Program,
    env: &Env,
    l: &Launch,
    offsets: &[usize],
    workspace: (usize, usize),
) -> Result<Run, Error> {
    let info = &artifact.kernels[l.kernel];
    let entries = info
        .entries
        .iter()
        .map(|e| Ok((e.code, value(program, env, &e.items)?)))
        .collect::<Result<_, Error>>()?;
    let operands = l
        .operands
        .iter()
        .map(|o| address(artifact, program, env, o, offsets))
        .collect::<Result<_, Error>>()?;
    Ok(Run {
        kernel: l.kernel,
        entries,
        operands,
        workspace: workspace.0,
        workspace_bytes: workspace.1,
        flops: value(program, env, &info.flops)?.max(0) as f64,
        bytes: value(program, env, &info.bytes)?.max(0) as f64,
    })
}

fn address(
    artifact: &Artifact,
    program: &Program,
    env: &Env,
    o: &Operand,
    offsets: &[usize],
) -> Result<Address, Error> {
    let buffer = &program.buffers[o.buffer];
    let width = buffer.dtype.bytes() as i64;
    let port = |ports: &[ir::artifact::Port]| ports.iter().position(|p| p.buffer == o.buffer);
    let missing = || Error::program(&program.name, "a buffer has no port; compile the program again");
    let memory = match buffer.kind {
        BufferKind::Temp => Memory::Temp,
        BufferKind::Params => Memory::Params,
        BufferKind::NarrowParams => Memory::NarrowParams,
        BufferKind::Grads => Memory::Grads,
        BufferKind::Moment1 => Memory::Moment1,
        BufferKind::Moment2 => Memory::Moment2,
        BufferKind::Input => Memory::Input(port(&program.inputs).ok_or_else(missing)?),
        BufferKind::Output => Memory::Output(port(&program.outputs).ok_or_else(missing)?),
    };
    let start = offsets[o.buffer] as i64;
    let elements = match memory {
        // These are one buffer, whatever part of it a program names.
        Memory::Params | Memory::NarrowParams | Memory::Grads | Memory::Moment1 | Memory::Moment2 => {
            artifact.param_elements as i64
        }
        Memory::Temp | Memory::Input(_) | Memory::Output(_) => value(program, env, &buffer.elements)?.max(0),
    };
    Ok(Address {
        memory,
        byte: value(program, env, &o.offset)? * width + start,
        layer_bytes: value(program, env, &o.layer_stride)? * width,
        end: start + elements * width,
    })
}

/// Bytes of temporaries a program needs at these sizes.
///
/// # Errors
/// Where a size has no value.
pub fn temporaries(artifact: &Artifact, program: &Program, env: &Env) -> Result<usize, Error> {
    Ok(resolve(artifact, program, env)?.temp_bytes)
}
