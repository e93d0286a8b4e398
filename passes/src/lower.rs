//! Fused groups become kernels over buffers.
//!
//! `region` lowers a graph (a program, or the body of a repeat), `parts` finds concatenations that need no kernel, `kernel`
//! collects a kernel's slots and values, and there is one file per kind of kernel.

mod column;
mod contract;
mod kernel;
pub(crate) mod liveness;
mod opaque;
mod parts;
mod region;
mod repeat;
mod row;

use ir::artifact::{Buffer, BufferKind, Operand, Port, Program};
use ir::dim::{Dim, numel};
use ir::graph::{Graph, ValueId};
use ir::kernel::Kernel;
use ir::names::param_of_gradient;
use ir::ops::Op;
use ir::requirements;
use ir::scalar::DType;
use std::collections::{BTreeMap, HashMap};

use crate::fuse::Fused;
use crate::module::{Arena, Module, Stage, Unit};
use crate::pipeline::{CompileError, ProgramError, Settings};
use region::Region;

/// Why a graph cannot be lowered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LowerError {
    /// An op without a kernel for these types.
    #[error("`{op}` on {types}: {why}")]
    Unsupported {
        /// The op.
        op: String,
        /// Types of its operands.
        types: String,
        /// What is missing.
        why: String,
    },
    /// A parameter that the arena lacks.
    #[error("parameter `{0}` has no place in the arena")]
    UnknownParam(String),
}

/// Where values of one type lie, row-major: in a buffer from an offset on, moved on by a stride per layer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The buffer.
    pub buffer: usize,
    /// The first element.
    pub offset: Dim,
    /// Elements from one layer to the next.
    pub layer_stride: Dim,
}

impl Place {
    /// All of a buffer.
    pub fn whole(buffer: usize) -> Place {
        Place {
            buffer,
            offset: Dim::from(0),
            layer_stride: Dim::from(0),
        }
    }
    /// The place as an operand of a launch.
    pub fn operand(&self) -> Operand {
        Operand {
            buffer: self.buffer,
            offset: self.offset.clone(),
            layer_stride: self.layer_stride.clone(),
        }
    }
}

/// A place a value is also written to.
#[derive(Clone, Debug, PartialEq)]
pub struct Dest {
    /// Where.
    pub place: Place,
    /// Whether the value is added to what is there.
    pub accumulate: bool,
}

/// Kernels of an artifact, equal ones once.
#[derive(Clone, Default)]
pub struct Kernels {
    /// With names that tell them apart.
    pub list: Vec<(String, Kernel)>,
    /// What each is called without its number.
    stems: Vec<String>,
    index: HashMap<Kernel, usize>,
}

impl Kernels {
    /// Those of a list, under their names.
    pub fn of(list: Vec<(String, Kernel)>) -> Kernels {
        let numbered = list.iter().enumerate().rev();
        Kernels {
            index: numbered.map(|(i, (_, k))| (k.clone(), i)).collect(),
            stems: list.iter().map(|(name, _)| stem(name).to_string()).collect(),
            list,
        }
    }

    /// The number of a kernel, which is new or there already.
    pub fn add(&mut self, stem: &str, k: Kernel) -> usize {
        if let Some(i) = self.index.get(&k) {
            return *i;
        }
        let i = self.list.len();
        self.list.push((format!("{stem}_{i}"), k.clone()));
        self.stems.push(stem.into());
        self.index.insert(k, i);
        i
    }

    /// What a kernel is called without its number: the name for a variant of it.
    pub fn stem(&self, kernel: usize) -> &str {
        &self.stems[kernel]
    }
}

/// A name without the number that `add` gave it.
fn stem(name: &str) -> &str {
    let numbered = name
        .rsplit_once('_')
        .filter(|(_, n)| n.bytes().all(|c| c.is_ascii_digit()));
    numbered.map_or(name, |(stem, _)| stem)
}

/// State shared by the regions of one program.
pub struct Builder<'a> {
    /// The kernels of the artifact.
    pub kernels: &'a mut Kernels,
    /// The buffers of the program.
    pub buffers: Vec<Buffer>,
}

impl Builder<'_> {
    /// Adds a buffer; returns its number.
    pub fn buffer(&mut self, kind: BufferKind, dtype: DType, elements: Dim) -> usize {
        self.buffers.push(Buffer {
            kind,
            dtype,
            elements,
            live: (0, 0),
        });
        self.buffers.len() - 1
    }
}

/// Makes kernels of all programs, in order.
pub(crate) fn run(m: &mut Module, _: &Settings) -> Result<(), CompileError> {
    let Stage::Fused(units) = std::mem::replace(&mut m.stage, Stage::Graphs(vec![])) else {
        unreachable!("the pass takes plans")
    };
    let mut kernels = Kernels::default();
    let mut programs = vec![];
    for (unit, plan) in &units {
        programs.push(program(unit, plan, &m.arena, &mut kernels).map_err(|e| e.of(&unit.name))?);
    }
    m.stage = Stage::Programs { programs, kernels };
    Ok(())
}

fn program(unit: &Unit, plan: &Fused, arena: &Arena, kernels: &mut Kernels) -> Result<Program, ProgramError> {
    let mut program = lower(&unit.name, &unit.graph, plan, arena, kernels)?;
    for r in &unit.requires {
        requirements::add(&mut program.requires, r.clone());
    }
    if program.has_too_large_sizes() {
        return Err(ProgramError::TooLarge);
    }
    program.reads = arena.numbers(unit.reads.iter().map(String::as_str));
    program.loss = unit.loss.clone();
    if unit.loss.is_some() {
        let gradients = unit
            .graph
            .outputs
            .iter()
            .filter_map(|(name, _)| param_of_gradient(name));
        program.trains = arena.numbers(gradients);
    }
    Ok(program)
}

/// Lowers a planned program. Outputs that are gradients of parameters are added to the gradient arena.
fn lower(name: &str, g: &Graph, plan: &Fused, arena: &Arena, kernels: &mut Kernels) -> Result<Program, LowerError> {
    let mut b = Builder {
        kernels,
        buffers: vec![],
    };
    let param_arena = b.buffer(BufferKind::Params, DType::F32, arena.elements.clone());
    let grad_arena = b.buffer(BufferKind::Grads, DType::F32, arena.elements.clone());
    let mut places = BTreeMap::new();
    let mut inputs = vec![];
    let at = |buffer: usize, name: &str| {
        let place = arena.params.get(name);
        let place = place.ok_or_else(|| LowerError::UnknownParam(name.into()))?;
        Ok(Place {
            buffer,
            offset: place.offset.clone(),
            layer_stride: Dim::from(0),
        })
    };
    for (i, node) in g.nodes.iter().enumerate() {
        match &node.op {
            Op::Input(input) => {
                let buffer = b.buffer(BufferKind::Input, input.ty.dtype, numel(&input.ty.shape));
                inputs.push(Port {
                    name: input.name.clone(),
                    dtype: input.ty.dtype,
                    shape: input.ty.shape.clone(),
                    buffer,
                });
                places.insert(ValueId(i), Place::whole(buffer));
            }
            Op::Param(p) => {
                places.insert(ValueId(i), at(param_arena, &p.name)?);
            }
            _ => {}
        }
    }
    let mut dests = vec![];
    let mut outputs = vec![];
    for (name, v) in &g.outputs {
        if let Some(param) = param_of_gradient(name) {
            dests.push((
                *v,
                Dest {
                    place: at(grad_arena, param)?,
                    accumulate: true,
                },
            ));
        } else {
            let ty = g.ty(*v);
            let buffer = b.buffer(BufferKind::Output, ty.dtype, numel(&ty.shape));
            outputs.push(Port {
                name: name.clone(),
                dtype: ty.dtype,
                shape: ty.shape.clone(),
                buffer,
            });
            dests.push((
                *v,
                Dest {
                    place: Place::whole(buffer),
                    accumulate: false,
                },
            ));
        }
    }
    let steps = Region::new(g, plan, places).lower(&mut b, dests)?;
    let mut program = Program {
        name: name.into(),
        inputs,
        outputs,
        requires: ir::requirements::of_sizes(g),
        buffers: b.buffers,
        prepare: vec![],
        steps,
        loss: None,
        reads: vec![],
        trains: vec![],
    };
    liveness::annotate(&mut program);
    Ok(program)
}
