//! Separates work on parameters: launches of fixed sizes that read only parameters, or results of such launches,
//! become the program's `prepare`. If parameters do not change, it runs once.
//!
//! What is moved out of a loop over layers becomes a separate loop, which keeps its results for every layer.

mod sizes;

use crate::lower::{Kernels, liveness};
use crate::module::Module;
use crate::pipeline::{CompileError, Settings};
use ir::artifact::{BufferKind, Launch, Operand, Program, Step};
use ir::dim::Dim;
use ir::kernel::Access;
use std::collections::BTreeMap;

/// Layers of a buffer start at multiples of this many bytes, as buffers do.
const LINE: i64 = ir::artifact::ALIGN as i64;

pub(crate) fn run(m: &mut Module, _: &Settings) -> Result<(), CompileError> {
    let (programs, kernels) = m.stage.programs();
    let fixed = programs.iter_mut().filter(|p| m.fixed.contains(&p.name));
    fixed.for_each(|p| prepare(p, kernels));
    Ok(())
}

/// Fills `prepare`. To be used on programs for inference: in training, parameters change before every run.
pub fn prepare(program: &mut Program, kernels: &Kernels) {
    let moved = movable(program, kernels);
    let made = made(program, kernels, &moved);
    let mut number = 0;
    let mut rest = vec![];
    for step in std::mem::take(&mut program.steps) {
        split(step, &moved, &mut number, program, &mut rest);
    }
    program.steps = rest;
    for (buffer, layers) in made {
        keep(program, buffer, layers);
    }
    liveness::annotate(program);
}

/// Where a launch is.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Top,
    /// In the n-th step, a loop.
    Loop(usize),
    /// In a loop within a loop.
    Deeper,
}

/// An operand of a launch, the number of which is that of its place in the order of the program.
struct Use<'a> {
    launch: usize,
    operand: &'a Operand,
    access: Access,
}

/// All launches with their places, and all uses of each buffer.
struct Uses<'a> {
    launches: Vec<(&'a Launch, Place)>,
    of: BTreeMap<usize, Vec<Use<'a>>>,
}

impl<'a> Uses<'a> {
    fn new(program: &'a Program, kernels: &Kernels) -> Uses<'a> {
        let mut launches = vec![];
        for (i, step) in program.steps.iter().enumerate() {
            match step {
                Step::Launch(l) => launches.push((l, Place::Top)),
                Step::Loop { body, .. } => collect(body, Place::Loop(i), &mut launches),
            }
        }
        let mut of: BTreeMap<usize, Vec<Use>> = BTreeMap::new();
        for (launch, (l, _)) in launches.iter().enumerate() {
            for (operand, slot) in l.operands.iter().zip(&kernels.list[l.kernel].1.slots) {
                let access = slot.access;
                of.entry(operand.buffer).or_default().push(Use {
                    launch,
                    operand,
                    access,
                });
            }
        }
        Uses { launches, of }
    }

    /// The one launch that writes a buffer.
    fn writer(&self, buffer: usize) -> Option<usize> {
        let mut writers = self.of[&buffer]
            .iter()
            .filter(|u| u.access != Access::Read)
            .map(|u| u.launch);
        let first = writers.next()?;
        writers.all(|w| w == first).then_some(first)
    }

    /// Whether what launch `i` writes to a buffer can be kept: nothing else writes there, and what it makes of one layer is
    /// not read in another.
    fn can_be_kept(&self, i: usize, buffer: usize) -> bool {
        let place = self.launches[i].1;
        let uses = &self.of[&buffer];
        let own = |u: &&Use| u.launch == i;
        let over_layers = |u: &Use| !u.operand.layer_stride.is_zero();
        let per_layer = match place {
            Place::Top => true,
            Place::Deeper => false,
            Place::Loop(_) if uses.iter().filter(own).all(over_layers) => true,
            Place::Loop(_) => uses
                .iter()
                .all(|u| !over_layers(u) && self.launches[u.launch].1 == place && u.launch >= i),
        };
        per_layer && self.writer(buffer) == Some(i)
    }
}

fn collect<'a>(body: &'a [Step], place: Place, launches: &mut Vec<(&'a Launch, Place)>) {
    for step in body {
        match step {
            Step::Launch(l) => launches.push((l, place)),
            Step::Loop { body, .. } => collect(body, Place::Deeper, launches),
        }
    }
}

/// By launch, whether it depends on parameters alone.
fn movable(program: &Program, kernels: &Kernels) -> Vec<bool> {
    let uses = Uses::new(program, kernels);
    let candidate = |l: &Launch| {
        let fixed = |o: &Operand| o.offset.as_const().is_some() && o.layer_stride.as_const().is_some();
        sizes::are_constant(&kernels.list[l.kernel].1) && l.operands.iter().all(fixed)
    };
    let mut moved: Vec<bool> = uses.launches.iter().map(|(l, _)| candidate(l)).collect();
    // Whatever turns out to depend on more takes those with it that depend on it.
    loop {
        let stays = (0..moved.len()).find(|i| moved[*i] && !depends_on_parameters(program, kernels, &uses, &moved, *i));
        match stays {
            Some(i) => moved[i] = false,
            None => return moved,
        }
    }
}

fn depends_on_parameters(program: &Program, kernels: &Kernels, uses: &Uses, moved: &[bool], i: usize) -> bool {
    let launch = uses.launches[i].0;
    let slots = &kernels.list[launch.kernel].1.slots;
    launch.operands.iter().zip(slots).all(|(o, slot)| {
        let buffer = &program.buffers[o.buffer];
        match (buffer.kind, slot.access) {
            (BufferKind::Params, Access::Read) => true,
            (BufferKind::Temp, Access::Read) => uses.writer(o.buffer).is_some_and(|w| moved[w] && w < i),
            (BufferKind::Temp, _) => buffer.elements.as_const().is_some() && uses.can_be_kept(i, o.buffer),
            _ => false,
        }
    })
}

/// The buffers that moved launches write; where one holds a single layer so far, how many there are.
fn made(program: &Program, kernels: &Kernels, moved: &[bool]) -> BTreeMap<usize, Option<i64>> {
    let uses = Uses::new(program, kernels);
    let mut made = BTreeMap::new();
    for (buffer, all) in &uses.of {
        let Some(writer) = uses.writer(*buffer).filter(|w| moved[*w]) else {
            continue;
        };
        let stacked = || all.iter().any(|u| !u.operand.layer_stride.is_zero());
        let layers = match uses.launches[writer].1 {
            Place::Loop(at) if !stacked() => match &program.steps[at] {
                Step::Loop { count, .. } => Some(*count),
                Step::Launch(_) => None,
            },
            _ => None,
        };
        made.insert(*buffer, layers);
    }
    made
}

/// Puts a step, or a loop's part of it, into `prepare` and what is left into `rest`. `number` is that of the next launch.
fn split(step: Step, moved: &[bool], number: &mut usize, program: &mut Program, rest: &mut Vec<Step>) {
    match step {
        Step::Launch(_) => {
            let to = if moved[*number] { &mut program.prepare } else { rest };
            to.push(step);
            *number += 1;
        }
        Step::Loop {
            count,
            reverse,
            keep,
            body,
        } => {
            let (mut once, mut each) = (vec![], vec![]);
            for step in body {
                let launches = count_launches(&step);
                let to = if launches == 1 && moved[*number] {
                    &mut once
                } else {
                    &mut each
                };
                to.push(step);
                *number += launches;
            }
            if !once.is_empty() {
                program.prepare.push(Step::Loop {
                    count,
                    reverse,
                    keep: None,
                    body: once,
                });
            }
            if !each.is_empty() {
                rest.push(Step::Loop {
                    count,
                    reverse,
                    keep,
                    body: each,
                });
            }
        }
    }
}

fn count_launches(step: &Step) -> usize {
    match step {
        Step::Launch(_) => 1,
        Step::Loop { body, .. } => body.iter().map(count_launches).sum(),
    }
}

/// Makes a buffer one that is prepared, with room for `layers` where it held one.
fn keep(program: &mut Program, buffer: usize, layers: Option<i64>) {
    let b = &mut program.buffers[buffer];
    b.kind = BufferKind::Prepared;
    let (Some(layers), Some(elements)) = (layers, b.elements.as_const()) else {
        return;
    };
    let line = LINE / b.dtype.bytes() as i64;
    let slice = (elements + line - 1) / line * line;
    b.elements = Dim::from(slice * layers);
    for steps in [&mut program.prepare, &mut program.steps] {
        spread(steps, buffer, slice);
    }
}

/// Gives every layer its own slice of a buffer.
fn spread(steps: &mut [Step], buffer: usize, slice: i64) {
    for step in steps {
        match step {
            Step::Launch(l) => {
                let own = l.operands.iter_mut().filter(|o| o.buffer == buffer);
                own.for_each(|o| o.layer_stride = Dim::from(slice));
            }
            Step::Loop { body, .. } => spread(body, buffer, slice),
        }
    }
}

#[cfg(test)]
mod tests;
