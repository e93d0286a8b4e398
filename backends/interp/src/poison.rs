//! Programs run over one arena laid out by a memory plan, with everything outside live ranges filled with NaN: a plan or a
//! live range that is wrong changes the results or is an error.

use crate::Error;
use crate::memory::{Buffer, Place};
use crate::program::{Machine, address, all_steps, check_buffer, count_steps, first, kernel_of, start, walk};
use half::bf16;
use ir::artifact::{Launch, Operand, Program, Step};
use ir::dim::Env;
use ir::kernel::{Access, Kernel};
use ir::scalar::DType;
use std::collections::{BTreeMap, BTreeSet};

/// Number of steps of a program, as `Buffer::live` counts them: depth-first, a loop before its body.
pub fn step_count(program: &Program) -> usize {
    count_steps(&program.prepare) + count_steps(&program.steps)
}

/// Runs a program with its temporaries and what `prepare` writes at the byte offsets that `plan` gives (one for each buffer of the program; those of
/// other buffers are ignored). `buffers` holds all other buffers at their numbers; entries of temporaries are neither
/// read nor written.
///
/// A temporary is filled with NaN when its life begins and when it ends. Where only one end of a life lies inside a loop,
/// that end counts as that of the whole loop.
///
/// # Errors
/// As [`crate::run_program`]; two buffers that overlap while both are live; use of a buffer outside its life.
pub fn run_poisoned(
    kernels: &[Kernel],
    program: &Program,
    buffers: &mut [Buffer],
    sizes: &Env,
    plan: impl Fn(&Program, &Env) -> Vec<usize>,
) -> Result<(), Error> {
    let offsets = plan(program, sizes);
    if offsets.len() != program.buffers.len() {
        return Err(Error::PlanLength {
            expected: program.buffers.len(),
            found: offsets.len(),
        });
    }
    let steps = all_steps(program);
    let mut temps = BTreeMap::new();
    for (i, (b, offset)) in program.buffers.iter().zip(offsets).enumerate() {
        if b.kind.is_planned() {
            let len = usize::try_from(b.elements.eval(sizes)?).unwrap_or(0);
            let live = whole_loops(&steps, &mut 0, b.live);
            temps.insert(
                i,
                Temp {
                    offset,
                    len,
                    dtype: b.dtype,
                    live,
                },
            );
        } else {
            check_buffer(program, buffers, i, sizes)?;
        }
    }
    check_overlap(&temps)?;
    let end = temps.values().map(Temp::end).max().unwrap_or(0);
    let mut machine = Arena {
        kernels,
        buffers,
        temps,
        bytes: vec![0xff; end],
        born: BTreeSet::new(),
    };
    walk(&steps, &mut 0, &mut start(sizes), &mut machine)
}

/// A life with ends inside loops that do not hold it all moved to the ends of those loops.
fn whole_loops(steps: &[Step], next: &mut usize, mut live: (usize, usize)) -> (usize, usize) {
    for step in steps {
        let first = *next;
        *next += 1;
        if let Step::Loop { body, .. } = step {
            // Inner loops first: what leaves them may still lie inside the outer one.
            live = whole_loops(body, next, live);
            let range = first + 1..*next;
            match (range.contains(&live.0), range.contains(&live.1)) {
                (true, false) => live.0 = first,
                (false, true) => live.1 = *next - 1,
                _ => {}
            }
        }
    }
    live
}

struct Temp {
    offset: usize,
    len: usize,
    dtype: DType,
    live: (usize, usize),
}

impl Temp {
    fn end(&self) -> usize {
        self.offset + self.len * self.dtype.bytes()
    }
}

fn check_overlap(temps: &BTreeMap<usize, Temp>) -> Result<(), Error> {
    for (a, x) in temps {
        for (b, y) in temps.range(a + 1..) {
            let step = x.live.0.max(y.live.0);
            let in_space = x.offset.max(y.offset) < x.end().min(y.end());
            if in_space && step <= x.live.1.min(y.live.1) {
                return Err(Error::Overlap { a: *a, b: *b, step });
            }
        }
    }
    Ok(())
}

struct Arena<'a> {
    kernels: &'a [Kernel],
    buffers: &'a mut [Buffer],
    temps: BTreeMap<usize, Temp>,
    bytes: Vec<u8>,
    /// Temporaries whose life has begun. One that lives within a loop body begins again in each turn.
    born: BTreeSet<usize>,
}

impl Arena<'_> {
    fn poison(&mut self, temp: usize) {
        let t = &self.temps[&temp];
        self.bytes[t.offset..t.end()].fill(0xff);
    }

    /// A copy of a buffer, for use at a step.
    fn get(&self, buffer: usize, step: usize) -> Result<Buffer, Error> {
        let Some(t) = self.temps.get(&buffer) else {
            let count = self.buffers.len();
            return self
                .buffers
                .get(buffer)
                .cloned()
                .ok_or(Error::NoBuffer { buffer, count });
        };
        if step < t.live.0 || step > t.live.1 {
            return Err(Error::NotLive {
                buffer,
                step,
                live: t.live,
            });
        }
        let bytes = &self.bytes[t.offset..t.end()];
        Ok(match t.dtype {
            DType::F32 => Buffer::F32(bytes.as_chunks().0.iter().map(|c| f32::from_ne_bytes(*c)).collect()),
            DType::F64 => Buffer::F64(bytes.as_chunks().0.iter().map(|c| f64::from_ne_bytes(*c)).collect()),
            DType::I32 => Buffer::I32(bytes.as_chunks().0.iter().map(|c| i32::from_ne_bytes(*c)).collect()),
            DType::Bf16 => Buffer::Bf16(bytes.as_chunks().0.iter().map(|c| bf16::from_ne_bytes(*c)).collect()),
        })
    }

    fn put(&mut self, buffer: usize, contents: Buffer) {
        let Some(t) = self.temps.get(&buffer) else {
            self.buffers[buffer] = contents;
            return;
        };
        let bytes: Vec<u8> = match contents {
            Buffer::F32(v) => v.iter().flat_map(|x| x.to_ne_bytes()).collect(),
            Buffer::F64(v) => v.iter().flat_map(|x| x.to_ne_bytes()).collect(),
            Buffer::I32(v) => v.iter().flat_map(|x| x.to_ne_bytes()).collect(),
            Buffer::Bf16(v) => v.iter().flat_map(|x| x.to_ne_bytes()).collect(),
        };
        self.bytes[t.offset..t.end()].copy_from_slice(&bytes);
    }
}

impl Machine for Arena<'_> {
    fn launch(&mut self, step: usize, launch: &Launch, sizes: &Env) -> Result<(), Error> {
        let kernel = kernel_of(self.kernels, launch)?;
        // Operands in one buffer stay in one buffer.
        let used: Vec<usize> = launch
            .operands
            .iter()
            .map(|o| o.buffer)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let mut copies = used.iter().map(|b| self.get(*b, step)).collect::<Result<Vec<_>, _>>()?;
        let mut places = Vec::new();
        for operand in &launch.operands {
            let buffer = used.partition_point(|b| *b < operand.buffer);
            places.push(Place {
                buffer,
                offset: address(operand, sizes, copies[buffer].len())?,
            });
        }
        crate::run(kernel, &mut copies, &places, sizes)?;
        for (buffer, contents) in used.into_iter().zip(copies) {
            let written = |(o, d): (&Operand, &ir::kernel::SlotDecl)| o.buffer == buffer && d.access != Access::Read;
            if launch.operands.iter().zip(&kernel.slots).any(written) {
                self.put(buffer, contents);
            }
        }
        Ok(())
    }

    fn read(&mut self, step: usize, operand: &Operand, sizes: &Env) -> Result<f64, Error> {
        let buffer = self.get(operand.buffer, step)?;
        first(&buffer, address(operand, sizes, buffer.len())?)
    }

    fn enter(&mut self, step: usize) {
        let begins = |(i, t): (&usize, &Temp)| (t.live.0 == step && !self.born.contains(i)).then_some(*i);
        for i in self.temps.iter().filter_map(begins).collect::<Vec<_>>() {
            self.poison(i);
            self.born.insert(i);
        }
    }

    fn leave(&mut self, body: usize, first: usize, last: usize) {
        // Inside a loop this happens in each turn, and so only to what lives within the loop's body.
        let ends = |(i, t): (&usize, &Temp)| (t.live.0 >= body && (first..=last).contains(&t.live.1)).then_some(*i);
        for i in self.temps.iter().filter_map(ends).collect::<Vec<_>>() {
            if self.born.remove(&i) {
                self.poison(i);
            }
        }
    }
}
