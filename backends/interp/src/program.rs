//! Whole programs: launches and loops over layers.

use crate::memory::{Buffer, Place};
use crate::{Error, run};
use ir::artifact::{Launch, Operand, Program, Step};
use ir::dim::Env;
use ir::kernel::Kernel;

/// Runs a program, `prepare` first, with every buffer on its own. `buffers[i]` is buffer `i` of the program with exactly its dtype and number
/// of elements; what is passed in for temporaries and outputs does not matter to a correct program, so
/// [`Buffer::poison`] is a good choice. Outside loops the size `layer` is that of `sizes`, or 0.
///
/// # Errors
/// As [`run`], and where buffers do not fit the program.
pub fn run_program(kernels: &[Kernel], program: &Program, buffers: &mut [Buffer], sizes: &Env) -> Result<(), Error> {
    for i in 0..program.buffers.len() {
        check_buffer(program, buffers, i, sizes)?;
    }
    walk(
        &all_steps(program),
        &mut 0,
        &mut start(sizes),
        &mut Separate { kernels, buffers },
    )
}

/// Buffer `i` is what the program says it is.
pub fn check_buffer(program: &Program, buffers: &[Buffer], i: usize, sizes: &Env) -> Result<(), Error> {
    let want = &program.buffers[i];
    let expected = usize::try_from(want.elements.eval(sizes)?).unwrap_or(0);
    let found = buffers.get(i).ok_or(Error::NoBuffer {
        buffer: i,
        count: buffers.len(),
    })?;
    if (found.len(), found.dtype()) == (expected, want.dtype) {
        return Ok(());
    }
    let (expected_dtype, found_dtype) = (want.dtype.name(), found.dtype().name());
    Err(Error::Buffer {
        buffer: i,
        expected,
        expected_dtype,
        found: found.len(),
        found_dtype,
    })
}

/// The sizes at the first step.
pub fn start(sizes: &Env) -> Env {
    let mut env = sizes.clone();
    env.entry(ir::names::LAYER.into()).or_insert(0);
    env
}

/// All steps in the order in which they are numbered, as one list.
pub fn all_steps(program: &Program) -> Vec<Step> {
    program.all_steps().cloned().collect()
}

/// Where a program's steps take effect. Steps are numbered depth-first, a loop before its body, each taking one number.
pub trait Machine {
    fn launch(&mut self, step: usize, launch: &Launch, sizes: &Env) -> Result<(), Error>;
    /// The first element of an operand.
    fn read(&mut self, step: usize, operand: &Operand, sizes: &Env) -> Result<f64, Error>;
    /// A step begins: a launch, or a loop as a whole.
    fn enter(&mut self, _step: usize) {}
    /// All steps from `first` to `last`, a launch or a whole loop, are over; `body` is the first step of the body they are in.
    fn leave(&mut self, _body: usize, _first: usize, _last: usize) {}
}

/// Executes steps; `next` is the number of the first and becomes that of the step after them.
pub fn walk(steps: &[Step], next: &mut usize, sizes: &mut Env, machine: &mut impl Machine) -> Result<(), Error> {
    let body_start = *next;
    for step in steps {
        let number = *next;
        *next += 1;
        machine.enter(number);
        match step {
            Step::Launch(l) => machine.launch(number, l, sizes)?,
            Step::Loop {
                count,
                reverse,
                keep,
                body,
            } => {
                let end = number + 1 + count_steps(body);
                let outside = sizes.clone();
                for n in 0..*count {
                    sizes.insert(ir::names::LAYER.into(), if *reverse { count - 1 - n } else { n });
                    let kept = match keep {
                        Some(operand) => machine.read(number, operand, sizes)? != 0.0,
                        None => true,
                    };
                    if kept {
                        walk(body, &mut (number + 1), sizes, machine)?;
                    }
                }
                *sizes = outside;
                *next = end;
            }
        }
        machine.leave(body_start, number, *next - 1);
    }
    Ok(())
}

/// Number of steps, those inside loops included and each loop counted once itself.
pub fn count_steps(steps: &[Step]) -> usize {
    let one = |s: &Step| {
        1 + if let Step::Loop { body, .. } = s {
            count_steps(body)
        } else {
            0
        }
    };
    steps.iter().map(one).sum()
}

/// First element of an operand in a buffer of `len` elements.
pub fn address(operand: &Operand, sizes: &Env, len: usize) -> Result<usize, Error> {
    let at =
        (operand.offset.clone() + operand.layer_stride.clone() * ir::dim::Dim::sym(ir::names::LAYER)).eval(sizes)?;
    let limit = len as i64 + 1;
    usize::try_from(at).ok().filter(|a| *a <= len).ok_or(Error::BadData {
        what: "operand offset",
        value: at,
        limit,
    })
}

/// The kernel of a launch.
pub fn kernel_of<'a>(kernels: &'a [Kernel], launch: &Launch) -> Result<&'a Kernel, Error> {
    kernels.get(launch.kernel).ok_or(Error::NoKernel {
        kernel: launch.kernel,
        count: kernels.len(),
    })
}

struct Separate<'a> {
    kernels: &'a [Kernel],
    buffers: &'a mut [Buffer],
}

impl Separate<'_> {
    fn place(&self, operand: &Operand, sizes: &Env) -> Result<Place, Error> {
        let (buffer, count) = (operand.buffer, self.buffers.len());
        let len = self.buffers.get(buffer).ok_or(Error::NoBuffer { buffer, count })?.len();
        Ok(Place {
            buffer,
            offset: address(operand, sizes, len)?,
        })
    }
}

impl Machine for Separate<'_> {
    fn launch(&mut self, _step: usize, launch: &Launch, sizes: &Env) -> Result<(), Error> {
        let places = launch
            .operands
            .iter()
            .map(|o| self.place(o, sizes))
            .collect::<Result<Vec<_>, _>>()?;
        run(kernel_of(self.kernels, launch)?, self.buffers, &places, sizes)
    }

    fn read(&mut self, _step: usize, operand: &Operand, sizes: &Env) -> Result<f64, Error> {
        let place = self.place(operand, sizes)?;
        first(&self.buffers[place.buffer], place.offset)
    }
}

/// Element `at` of a buffer, where there is one.
pub fn first(buffer: &Buffer, at: usize) -> Result<f64, Error> {
    let limit = buffer.len();
    if at < limit {
        Ok(buffer.get(at))
    } else {
        Err(Error::BadData {
            what: "operand offset",
            value: at as i64,
            limit: limit as i64,
        })
    }
}
